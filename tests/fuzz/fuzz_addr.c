/* SPDX-License-Identifier: MIT */
/* addr.h: whatever is accepted is printed in the room promised, and read back as itself. */
#include "base/addr.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	char *text = fuzz_text(bytes, count);
	char printed[ADDR_TEXT_BYTES], again[ADDR_TEXT_BYTES];
	struct addr address, back;
	const char *problem = addr_parse(text, &address);

	if (problem) {
		CHECK(*problem);
	} else {
		CHECK(addr_port(&address) <= 65535);
		CHECK(strlen(addr_print(&address, printed)) < ADDR_TEXT_BYTES - 1);
		CHECK(!addr_parse(printed, &back) && addr_equal(&address, &back));
		CHECK(!strcmp(addr_print(&back, again), printed));
		problem = addr_why_not_endpoint(&address);
		CHECK(!problem || *problem);
	}
	free(text);
	return 0;
}
