/* SPDX-License-Identifier: MIT */
/* admin_request.h: whatever line is accepted is printed as it was, and can be read back. */
#include "admin/admin_request.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	char *text = fuzz_text(bytes, count);
	struct admin_request request, again;
	char line[ADMIN_REQUEST_BYTES];

	if (!admin_request_parse(text, &request)) {
		admin_request_print(&request, line);
		line[strlen(line) - 1] = '\0';
		CHECK(!admin_request_parse(line, &again));
		CHECK(again.verb == request.verb && again.for_ms == request.for_ms);
		CHECK(again.json == request.json && again.who.port == request.who.port);
		CHECK(!strcmp(again.given, request.given) && again.action == request.action);
		CHECK(!strcmp(again.backend, request.backend) && again.value == request.value);
		CHECK(!strcmp(again.forward, request.forward) && again.limit == request.limit);
		CHECK(again.boot_id == request.boot_id && again.id == request.id);
		CHECK(request.who.block.bits <= 128 && request.who.port <= 65535);
	}
	free(text);
	return 0;
}
