/* How a text becomes the value of a field, by the option's type. */
#pragma once

#include "config/config.h"

/*
 * Sets the field of `option` in `owner`, the struct that the option's scope says, from text, which must
 * outlive it. Returns 0, or -EINVAL with `fault`, and then the field is what it was; the caller names the option in `fault`.
 */
int config_field_set(void *owner, const struct option_spec *option, const char *text,
		     struct fault *fault);

/* Reads yes, true, on or 1, or no, false, off or 0, in any case. False: it is none of these, and `flag` is as it was. */
bool config_field_read_flag(const char *text, bool *flag);
