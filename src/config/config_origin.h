/* SPDX-License-Identifier: MIT */
/* The origin of a value: file and line, environment variable, command line or default. */
#pragma once

#include "config/config.h"

#define CONFIG_VARIABLE_PREFIX	"SIXPIPE_"
#define CONFIG_VARIABLE_FORWARD CONFIG_VARIABLE_PREFIX "FORWARD_"
#define CONFIG_VARIABLE_BYTES	64 /* of a variable that stands for an option */

/* Room for the beginning of a file's name, a line and more. */
#define CONFIG_ORIGIN_BYTES 240

/*
 * Prints the name of an option's environment variable: SIXPIPE_BACKLOG or, with the number of a
 * forward, SIXPIPE_FORWARD_1_BACKLOG. Returns `name`.
 */
const char *config_origin_variable(const struct option_spec *option, unsigned number,
				   char name[CONFIG_VARIABLE_BYTES]);

/* Prints "default", "FILE:LINE", the variable, or "command line"; returns `text`. */
const char *config_origin_print(const struct config *config, const struct config_value *value,
				char text[CONFIG_ORIGIN_BYTES]);

/* The first value of an option in `values`; if there is none, a value with `origin` and no text. */
struct config_value config_origin_of(const struct config_values *values,
				     const struct option_spec *option, struct config_origin origin);

/*
 * Sets fault->option, and fault->name as the origin of `value` says: "FILE:8: deny", "SIXPIPE_DENY"
 * or "--deny".
 */
void config_origin_name(const struct config *config, const struct config_value *value,
			struct fault *fault);

/*
 * The same for a fault without a name: looks for the option's value in `forward` or, with NULL, in
 * the process's values. FAULT_OF_OBJECT gets no name if the option was given on the command line,
 * which the user sees.
 */
void config_origin_find_name(const struct config *config, const struct config_forward *forward,
			     struct fault *fault);

/*
 * Adds `fault` to `errors`, after config_origin_find_name(). `errors` is config->errors during
 * config_check(); afterwards a list of the caller, as for faults of the host.
 */
void config_origin_add_to(struct config_errors *errors, const struct config *config,
			  const struct config_forward *forward, struct fault *fault);
