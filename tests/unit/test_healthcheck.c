/* SPDX-License-Identifier: MIT */
#include "command/healthcheck.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(healthcheck, .fini = support_check_leaks);

struct parse_row {
	const char *text;
	bool http;
	unsigned status;
	const char *line;
};

Test(healthcheck, answers)
{
	static const struct parse_row rows[] = {
		{"HTTP/1.1 200 OK\r\nA: b\r\n\r\nready\n", true, 200, "ready"},
		{"HTTP/1.0 200 OK\r\n\r\nlive", true, 200, "live"},
		{"HTTP/1.1 503 Service Unavailable\r\n\r\ndraining\nmore\n", true, 503, "draining"},
		{"HTTP/1.1 204\r\n\r\n", true, 204, ""},
		{"HTTP/1.1 200 OK\r\nA: b", true, 200, ""}, /* cut off in the head */
		{"HTTP/1.1 200 OK\r\n\r\nr\x1b[31m\xff\n", true, 200, "r?[31m?"},
		{"", false, 0, ""},
		{"HTTP/1.1", false, 0, ""},
		{"HTTP/1.1 20", false, 0, ""},
		{"HTTP/1.1 20 OK\r\n\r\n", false, 0, ""},
		{"HTTP/1.1 2000 OK\r\n\r\n", false, 0, ""},
		{"HTTP/1.1  200 OK\r\n\r\n", false, 0, ""},
		{"HTTP/1.1 -20 OK\r\n\r\n", false, 0, ""},
		{"HTTP/2 200\r\n\r\n", false, 0, ""},
		{"SSH-2.0-OpenSSH_9.2\r\n", false, 0, ""},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct healthcheck_answer answer;
		bool http = healthcheck_parse(rows[i].text, &answer);

		cr_expect_eq(http, rows[i].http, "row %zu", i);
		if (!http)
			continue;
		cr_expect_eq(answer.status, rows[i].status, "row %zu: %u", i, answer.status);
		cr_expect_str_eq(answer.line, rows[i].line, "row %zu: '%s'", i, answer.line);
	}
}

Test(healthcheck, a_long_line_is_cut_off)
{
	struct healthcheck_answer answer;
	char text[1024];

	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n\r\n%0900d", 7);
	cr_assert(healthcheck_parse(text, &answer));
	cr_expect_eq(strlen(answer.line), sizeof(answer.line) - 1);
}
