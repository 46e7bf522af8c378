/*
 * The environment as configuration: SIXPIPE_TIMEOUT_IDLE stands for --timeout-idle, and so on for
 * every option of the table but those that say what to do instead of forwarding (--help and the
 * like). A flag takes 1, yes, true, on or 0, no, false, off. An empty value is as good as none.
 *
 * SIXPIPE_LISTEN and SIXPIPE_BACKEND, the latter with one address or several between blanks, each with its
 * parameters if it has any, are one forward. What Kubernetes sets for a Service called sixpipe or sixpipe-ANYTHING is passed over:
 * SIXPIPE_SERVICE_HOST, SIXPIPE_PORT_2000_TCP_ADDR and their like. Any other SIXPIPE_ variable is an
 * fault, as an unknown option is.
 *
 * Each function takes an environ(7), or NULL for an empty one. An error names the variable, the value, the reason
 * and the remedy.
 */
#pragma once

#include "config/config.h"

/* The value of an option's variable, or NULL where it is unset or empty. */
const char *config_env_find(char *const *environment, const struct option_spec *option);

/* Sets every option that has a variable, but for the forward; what is wrong is added to config->errors. */
void config_env_set_options(struct config *config, char *const *environment);

/*
 * Adds the forward of SIXPIPE_LISTEN and SIXPIPE_BACKEND, if they are there, to a configuration that
 * has none. A listener without a backend is an error unless `backend_optional`. Returns 0, or -EINVAL with `fault`.
 */
int config_env_add_forward(struct config *config, char *const *environment, bool backend_optional,
			   struct fault *fault);
