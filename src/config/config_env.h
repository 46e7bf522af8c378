/* SPDX-License-Identifier: MIT */
/*
 * Options from the environment.
 *
 * - SIXPIPE_TIMEOUT_IDLE is --timeout-idle. Every option has such a variable, except those of one
 *   call, such as --help.
 * - A flag is 1, yes, true, on or 0, no, false, off.
 * - An empty variable counts as unset.
 * - SIXPIPE_FORWARD_1_LISTEN, SIXPIPE_FORWARD_1_BACKEND and any option of forwards with this
 *   number are one forward. Its name is the number, or SIXPIPE_FORWARD_1_NAME. Numbers are 1 to
 *   65535, and may have gaps.
 * - SIXPIPE_LISTEN and SIXPIPE_BACKEND are short for those of forward 1.
 * - A variable of backends has one address, or several with blanks between them, each with its
 *   parameters.
 * - Kubernetes sets variables for a Service called sixpipe or sixpipe-ANYTHING, such as
 *   SIXPIPE_SERVICE_HOST or SIXPIPE_PORT_2000_TCP_ADDR. They are ignored.
 * - Any other SIXPIPE_ variable is a fault, as an unknown option is.
 *
 * Each function takes an environ(7), or NULL for an empty environment.
 */
#pragma once

#include "config/config.h"

/* The value of an option's variable, or NULL where it is unset or empty. */
const char *config_env_find(char *const *environment, const struct option_spec *option);

/*
 * Sets every option of the process or of all forwards, and checks the names of all variables. Adds
 * faults to config->errors.
 */
void config_env_set_options(struct config *config, char *const *environment);

/*
 * Adds the forwards of the environment, by their numbers, to a configuration without forwards. Adds
 * faults to config->errors; that each forward has backends is left to config_check().
 */
void config_env_add_forwards(struct config *config, char *const *environment);
