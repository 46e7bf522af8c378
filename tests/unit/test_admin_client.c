/* SPDX-License-Identifier: MIT */
#include "command/admin_client.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "command/client.h"
#include "support.h"

TestSuite(admin_client, .fini = support_check_leaks);

Test(admin_client, answers)
{
	static const struct {
		const char *text;
		int code;
		const char *message;
		const char *output;
	} rows[] = {
		{"0\n", 0, "", ""},
		{"0\nclient=x\nclient=y\n", 0, "", "client=x\nclient=y\n"},
		{"1 nobody\n", 1, "nobody", ""},
		{"1 nobody\n{}\n", 1, "nobody", "{}\n"},
		{"2 a bad request\n", 2, "a bad request", ""},
		{"", -EPROTO, NULL, NULL},
		{"0", -EPROTO, NULL, NULL},
		{"\n", -EPROTO, NULL, NULL},
		{"3 what\n", -EPROTO, NULL, NULL},
		{"00\n", -EPROTO, NULL, NULL},
		{"HTTP/1.1 200\n", -EPROTO, NULL, NULL},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const char *message = NULL, *output = NULL;
		char text[64];
		int code;

		strcpy(text, rows[i].text);
		code = admin_client_split(text, strlen(text), &message, &output);
		cr_expect_eq(code, rows[i].code, "row %zu: %d", i, code);
		if (code < 0)
			continue;
		cr_expect_str_eq(message, rows[i].message);
		cr_expect_str_eq(output, rows[i].output);
	}
}

Test(admin_client, options_with_values)
{
	static const struct {
		const char *words[3];
		bool is_option;
		const char *value;
		int last;
	} rows[] = {
		{{"--admin", "x", NULL}, true, "x", 1},	   {{"--admin=x", "y", NULL}, true, "x", 0},
		{{"--admin=", "y", NULL}, true, "", 0},	   {{"--admin", NULL}, true, NULL, 1},
		{{"--admins", "x", NULL}, false, NULL, 0}, {{"--adm", "x", NULL}, false, NULL, 0},
		{{"admin", "x", NULL}, false, NULL, 0},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const char *value = NULL;
		int at = 0;

		cr_expect_eq(client_take_value((char **)(uintptr_t)rows[i].words, &at, "--admin",
					       &value),
			     rows[i].is_option, "row %zu", i);
		cr_expect_eq(at, rows[i].last, "row %zu", i);
		cr_expect(value == rows[i].value || (value && !strcmp(value, rows[i].value)),
			  "row %zu", i);
	}
}
