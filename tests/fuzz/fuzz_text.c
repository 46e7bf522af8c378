/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "fuzz.h"

char *fuzz_text(const uint8_t *bytes, size_t count)
{
	char *text = strndup((const char *)bytes, count);

	CHECK(text);
	return text;
}
