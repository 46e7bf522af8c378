/*
 * --allow, --deny and their files: the lists of who may connect, as the options give them.
 * admission.h makes use of them.
 */
#pragma once

#include "config/config.h"

/* Whether the option is one of those four. */
bool config_rules_hold(const struct option_spec *option);

/*
 * Adds what one of the four options gives, and checks the blocks; files are not opened. `text` must
 * outlive the configuration. Returns 0, or -EINVAL with `fault`.
 */
int config_rules_add(struct config_forward_options *options, const struct option_spec *option,
		     const char *text, struct fault *fault);
