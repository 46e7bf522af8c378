/* How a text becomes the value of a field, by the option's type. */
#pragma once

#include "config/config.h"

/*
 * Sets the field of `option` in `owner`, the struct that the option's scope says, from text, which must
 * outlive it. Returns 0, or -EINVAL with `error` as config_set() has it, and then the field is what it was.
 */
int config_field_set(void *owner, const struct option_spec *option, const char *text,
		     char error[CONFIG_ERROR_BYTES]);
