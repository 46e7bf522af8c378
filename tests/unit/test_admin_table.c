/* SPDX-License-Identifier: MIT */
#include "admin/admin_table.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "admin/backend_name.h"
#include "admin/runtime_changes.h"
#include "base/log.h"
#include "base/util.h"
#include "support.h"

TestSuite(admin_table, .fini = support_check_leaks);

Test(admin_table, text_and_json)
{
	static const char *const keys[] = {"name", "count"};
	static const struct {
		bool json;
		const char *wanted;
	} rows[] = {
		{false, "NAME  COUNT\na_b   7\n-     12345678\n"},
		{true, "[{\"name\":\"a b\",\"count\":7},{\"name\":null,\"count\":12345678}]"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct admin_text text = {.json = rows[i].json};
		struct admin_table table;
		char *printed;
		size_t bytes;

		text.out = open_memstream(&printed, &bytes);
		admin_table_begin(&table, &text, keys, ARRAY_COUNT(keys));
		admin_table_text(&table, "a b");
		admin_table_number(&table, 7);
		admin_table_text(&table, "");
		admin_table_number(&table, 12345678);
		admin_table_end(&table);
		fclose(text.out);
		cr_expect_str_eq(printed, rows[i].wanted, "%s", printed);
		free(printed);
	}
}

Test(admin_table, names_of_backends)
{
	static const struct {
		const char *given;
		const char *forward;
		const char *text;
		bool has_address;
	} rows[] = {
		{"192.0.2.1:80", "", "192.0.2.1:80", true},
		{"web/192.0.2.1:80", "web", "192.0.2.1:80", true},
		{"[2001:db8::1]:80", "", "[2001:db8::1]:80", true},
		{"1/[2001:db8::1]:80", "1", "[2001:db8::1]:80", true},
		{"unix:/run/a/b", "", "unix:/run/a/b", true},
		{"web/unix:/run/a/b", "web", "unix:/run/a/b", true},
		{"web.example:80", "", "web.example:80", false},
		{"web/web.example:80", "web", "web.example:80", false},
		{"", "", "", false},
		{"/", "", "/", false},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct backend_name name;

		backend_name_read(&name, rows[i].given);
		cr_expect_str_eq(name.forward, rows[i].forward, "%s", rows[i].given);
		cr_expect_str_eq(name.text, rows[i].text, "%s", rows[i].given);
		cr_expect_eq(name.address.length_bytes != 0, rows[i].has_address, "%s",
			     rows[i].given);
	}
}

Test(admin_table, the_oldest_changes_are_forgotten)
{
	static struct runtime_changes changes;
	struct runtime_change change = {.uid = 7};

	for (unsigned i = 0; i < RUNTIME_CHANGES_LIMIT + 3; i++) {
		snprintf(change.command, sizeof(change.command), "drain %u", i);
		change.unix_ms = i;
		/* the first to be forgotten, because it travels with its backend */
		change.is_of_member = i == 1;
		runtime_changes_add(&changes, &change);
	}
	cr_expect_eq(changes.count, RUNTIME_CHANGES_LIMIT);
	cr_expect_str_eq(changes.list[0].command, "drain 3");
	cr_expect_eq(changes.list[RUNTIME_CHANGES_LIMIT - 1].unix_ms, RUNTIME_CHANGES_LIMIT + 2);
	log_init(LOG_ERROR, LOG_LOGFMT); /* without the lines, of level warn */
	runtime_changes_log_undone(&changes);
	cr_expect_eq(changes.count, 0);
}
