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

/*
 * What sets and checks names an option as on the command line, at the beginning of `error`. This writes
 * there what it is called where the value came from: "FILE:LINE: maxconn" or "SIXPIPE_MAXCONN".
 */
void config_origin_rename(const struct config *config, const struct config_value *value,
			  char error[CONFIG_ERROR_BYTES]);

/*
 * The same for the option that `error` begins with, whichever it is: one of `forward`, which may be NULL,
 * or one of the process. What begins with no option, or with one of a forward where none is given, stays.
 */
void config_origin_rename_of(const struct config *config, const struct config_forward *forward,
			     char error[CONFIG_ERROR_BYTES]);

/*
 * For what is wrong with something else, such as a line of a file: says behind it which option named that,
 * " (given by FILE:8: deny-file)".
 */
void config_origin_append(const struct config *config, const struct config_value *value,
			  char error[CONFIG_ERROR_BYTES]);

/*
 * The same for the value of option `name` that `forward` has, or with NULL the process; but not for one of the
 * command line, which is before one's eyes.
 */
void config_origin_append_of(const struct config *config, const struct config_forward *forward,
			     const char *name, char error[CONFIG_ERROR_BYTES]);

/* Adds `error`, renamed so, to the configuration's own errors: for config/, until config_check() has ended. */
void config_origin_add_error(struct config *config, const struct config_forward *forward,
			     char error[CONFIG_ERROR_BYTES]);

/* The same for a list of the caller's: errors of the host, which are not the configuration's. */
void config_origin_add_to(struct config_errors *errors, const struct config *config,
			  const struct config_forward *forward, char error[CONFIG_ERROR_BYTES]);
