/* SPDX-License-Identifier: MIT */
#include "base/fault.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(fault, print)
{
	static const struct {
		struct fault fault;
		const char *text, *reason;
	} rows[] = {
		{{.reason = "out of memory", .remedy = "lower --maxconn"},
		 "out of memory; lower --maxconn",
		 "out of memory"},
		{{.option = "user", .reason = "bad", .remedy = "give another"},
		 "--user: bad; give another",
		 "--user: bad"},
		{{.option = "user", .kind = FAULT_OF_VALUE, .value = "x", .reason = "bad"},
		 "--user 'x': bad",
		 "--user 'x': bad"},
		{{.option = "user",
		  .kind = FAULT_OF_VALUE,
		  .reason = "empty",
		  .remedy = "give one"},
		 "--user '': empty; give one",
		 "--user '': empty"},
		{{.option = "user",
		  .kind = FAULT_OF_VALUE,
		  .name = "f:3: user",
		  .value = "x",
		  .reason = "bad",
		  .remedy = "give another"},
		 "f:3: user 'x': bad; give another",
		 "f:3: user 'x': bad"},
		{{.option = "user", .name = "SIXPIPE_USER", .reason = "bad"},
		 "SIXPIPE_USER: bad",
		 "SIXPIPE_USER: bad"},
		{{.option = "deny-file", .kind = FAULT_OF_OBJECT, .value = "g:1", .reason = "bad"},
		 "g:1: bad",
		 "g:1: bad"},
		{{.option = "deny-file",
		  .kind = FAULT_OF_OBJECT,
		  .name = "f:3: deny-file",
		  .value = "g:1",
		  .reason = "bad",
		  .remedy = "correct it"},
		 "g:1: bad; correct it (given by f:3: deny-file)",
		 "g:1: bad"},
	};
	char text[FAULT_TEXT_BYTES];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_expect_str_eq(fault_print(&rows[i].fault, text), rows[i].text, "%s", text);
		cr_expect_str_eq(fault_print_reason(&rows[i].fault, text), rows[i].reason, "%s",
				 text);
	}
}

/* Only the format says where the remedy begins: a value may hold anything. */
Test(fault, set)
{
	struct fault fault;

	cr_expect_eq(fault_set(&fault, "user", "a; b", "no; %s of %d; give %s", "x; y", 7, "p; q"),
		     -EINVAL);
	cr_expect_str_eq(fault.option, "user");
	cr_expect_eq(fault.kind, FAULT_OF_VALUE);
	cr_expect_str_eq(fault.value, "a; b");
	cr_expect_str_eq(fault.reason, "no; x; y of 7");
	cr_expect_str_eq(fault.remedy, "give p; q");

	fault_set_object(&fault, NULL, "f:3", "cannot read: %s", "a; b");
	cr_expect_null(fault.option);
	cr_expect_eq(fault.kind, FAULT_OF_OBJECT);
	cr_expect_str_eq(fault.value, "f:3");
	cr_expect_str_eq(fault.reason, "cannot read: a; b");
	cr_expect_str_eq(fault.remedy, "");

	fault_set_words(&fault, "listen", NULL, "is 5%s of it; write 6%s");
	cr_expect_eq(fault.kind, FAULT_OF_OPTION);
	cr_expect_str_eq(fault.reason, "is 5%s of it");
	cr_expect_str_eq(fault.remedy, "write 6%s");
}

Test(fault, what_is_too_long_is_cut)
{
	char value[4096], text[FAULT_TEXT_BYTES];
	struct fault fault;

	memset(value, 'x', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	fault_set(&fault, "user", value, "no %s; give %s", value, value);
	cr_expect_eq(strlen(fault.value), FAULT_VALUE_BYTES - 1);
	cr_expect_str_eq(fault.value + strlen(fault.value) - 4, "x...");
	cr_expect_eq(strlen(fault.reason), FAULT_REASON_BYTES - 1);
	cr_expect_str_eq(fault.remedy, "");
	cr_expect_lt(strlen(fault_print(&fault, text)), FAULT_TEXT_BYTES);
}
