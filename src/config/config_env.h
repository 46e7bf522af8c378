/*
 * Options from the environment.
 *
 * - SIXPIPE_TIMEOUT_IDLE is --timeout-idle. Every option has such a variable, except those of one
 *   call, such as --help.
 * - A flag is 1, yes, true, on or 0, no, false, off.
 * - An empty variable counts as unset.
 * - SIXPIPE_LISTEN and SIXPIPE_BACKEND are one forward. SIXPIPE_BACKEND has one address, or several
 *   with blanks between them, each with its parameters.
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

/* Sets every option that has a variable, except the forward. Adds faults to config->errors. */
void config_env_set_options(struct config *config, char *const *environment);

/*
 * Adds the forward of SIXPIPE_LISTEN and SIXPIPE_BACKEND, if they are set, to a configuration
 * without forwards. A listener without a backend is a fault unless `backend_optional`. Returns 0,
 * or -EINVAL with `fault`.
 */
int config_env_add_forward(struct config *config, char *const *environment, bool backend_optional,
			   struct fault *fault);
