/* SPDX-License-Identifier: MIT */
/* units.h: no text is misread, and what is printed is read back. */
#include "base/units.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "fuzz.h"

typedef int parser(const char *text, uint64_t *value);
typedef const char *printer(uint64_t value, char text[UNITS_TEXT_BYTES]);

static void check(const char *text, parser *parse, printer *print)
{
	uint64_t value = 0, back = 0;
	char printed[UNITS_TEXT_BYTES];

	if (parse(text, &value))
		return;
	CHECK(strlen(print(value, printed)) < UNITS_TEXT_BYTES);
	CHECK(!parse(printed, &back) && back == value);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	char *text = fuzz_text(bytes, count);
	uint64_t number;

	check(text, units_parse_size, units_print_size);
	check(text, units_parse_duration, units_print_duration);
	/* a count is a size without a unit */
	if (!units_parse_count(text, &number)) {
		uint64_t size = number + 1;

		CHECK(!units_parse_size(text, &size) && size == number);
	}
	free(text);
	return 0;
}
