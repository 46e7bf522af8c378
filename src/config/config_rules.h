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
 * outlive the configuration. Returns 0, or -EINVAL with `error`.
 */
int config_rules_add(struct config_forward_options *options, const struct option_spec *option,
		     const char *text, char error[CONFIG_ERROR_BYTES]);

/*
 * Takes the next block out of a list as units_next_item() does. Returns NULL, or what is wrong with
 * the block; `word` is its text, cut where it is overlong.
 */
const char *config_rules_next(const char **at, struct cidr *cidr, char word[CIDR_TEXT_BYTES]);

/* What gave a forward the rule. */
const struct config_value *config_rules_value(const struct config_forward *forward,
					      const struct config_rule *rule);

/* Whether two forwards were given the same list. */
bool config_rules_are_same(const struct config_forward_options *a,
			   const struct config_forward_options *b);
