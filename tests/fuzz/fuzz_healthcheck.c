/* SPDX-License-Identifier: MIT */
/* healthcheck.h: whatever a server answers, what is shown of it is printable and fits. */
#include "command/healthcheck.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	char *text = fuzz_text(bytes, count);
	struct healthcheck_answer answer;

	if (healthcheck_parse(text, &answer)) {
		CHECK(!strncmp(text, "HTTP/1.", 7) && answer.status <= 999);
		CHECK(strnlen(answer.line, sizeof(answer.line)) < sizeof(answer.line));
		for (const char *at = answer.line; *at; at++)
			CHECK(*at >= ' ' && *at <= '~');
	}
	free(text);
	return 0;
}
