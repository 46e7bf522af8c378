/* Where a value came from, and what an option is called there. */
#pragma once

#include "config/config.h"

#define CONFIG_VARIABLE_PREFIX "SIXPIPE_"
#define CONFIG_VARIABLE_BYTES  64 /* of a variable that stands for an option */

/* Room for the beginning of a file's name, a line and more. */
#define CONFIG_ORIGIN_BYTES 240

/* Prints the name of an option's environment variable; returns `name`. */
const char *config_origin_variable(const struct option_spec *option,
				   char name[CONFIG_VARIABLE_BYTES]);

/* Prints "default", "FILE:LINE", the variable, or "command line"; returns `text`. */
const char *config_origin_print(const struct config *config, const struct config_value *value,
				char text[CONFIG_ORIGIN_BYTES]);

/* The first value that `values` have of an option; where there is none, no more than `origin`. */
struct config_value config_origin_of(const struct config_values *values,
				     const struct option_spec *option, struct config_origin origin);

/* Sets the option of `fault`, and its name where `value` came from: "FILE:8: deny", "SIXPIPE_DENY" or "--deny". */
void config_origin_name(const struct config *config, const struct config_value *value,
			struct fault *fault);

/*
 * The same, where no name was set, for the value that `forward` has of the option, or with NULL the process. An object
 * whose giver is on the command line gets none: the user sees both.
 */
void config_origin_find_name(const struct config *config, const struct config_forward *forward,
			     struct fault *fault);

/*
 * Adds `fault` to `errors`, with the name that config_origin_find_name() gives. `errors` is config->errors until
 * config_check() has ended; then the caller's own list, as for faults of the host.
 */
void config_origin_add_to(struct config_errors *errors, const struct config *config,
			  const struct config_forward *forward, struct fault *fault);
