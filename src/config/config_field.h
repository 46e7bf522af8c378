/* SPDX-License-Identifier: MIT */
/* Reads the text of an option, by the option's type, into the option's field. */
#pragma once

#include "config/config.h"

/*
 * Sets the field of `option` in `owner`, the struct that option->scope says, from `text`, which
 * must exist as long as the owner. Returns 0, or -EINVAL with `fault`; then the field is unchanged,
 * and the caller names the option in `fault`.
 */
int config_field_set(void *owner, const struct option_spec *option, const char *text,
		     struct fault *fault);

/*
 * Reads yes, true, on, 1 or no, false, off, 0 in any case. Returns false for any other text; `flag`
 * is unchanged.
 */
bool config_field_read_flag(const char *text, bool *flag);
