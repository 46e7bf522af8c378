/* SPDX-License-Identifier: MIT */
#include "base/addr_set.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(addr_set, .fini = support_check_leaks);

static void insert(struct addr_set *set, const char *text)
{
	struct addr address;

	cr_assert_null(addr_parse(text, &address));
	addr_set_insert(set, &address);
}

Test(addr_set, order)
{
	static const char *const ordered[] = {"9.0.0.1:80",  "10.0.0.1:80",	"10.0.0.1:443",
					      "200.0.0.1:1", "[2001:db8::1]:1", "[2001:db8::2]:1"};
	static const unsigned orders[][ARRAY_COUNT(ordered)] = {
		{0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {3, 0, 5, 2, 4, 1}};
	char text[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(orders); i++) {
		struct addr_set set = {0};

		for (size_t j = 0; j < 2 * ARRAY_COUNT(ordered); j++)
			insert(&set, ordered[orders[i][j % ARRAY_COUNT(ordered)]]);
		cr_assert_eq(set.count, ARRAY_COUNT(ordered));
		cr_expect_eq(set.dropped_count, 0);
		for (size_t j = 0; j < set.count; j++)
			cr_expect_str_eq(addr_print(&set.list[j], text), ordered[j]);
	}
}

/* The endpoints that are kept do not depend on the order of insertion. */
Test(addr_set, full)
{
	struct addr_set up = {0}, down = {0};
	struct addr address;

	cr_assert_null(addr_parse("10.0.0.1:0", &address));
	for (unsigned i = 1; i <= ADDR_SET_MOST + 10; i++) {
		addr_set_port(&address, i);
		addr_set_insert(&up, &address);
		addr_set_port(&address, ADDR_SET_MOST + 11 - i);
		addr_set_insert(&down, &address);
	}
	cr_expect_eq(up.count, ADDR_SET_MOST);
	cr_expect_eq(up.dropped_count, 10);
	cr_expect_eq(down.dropped_count, 10);
	cr_expect(addr_set_equal(&up, &down));
	cr_expect_eq(addr_port(&up.list[ADDR_SET_MOST - 1]), ADDR_SET_MOST);
	addr_set_insert(&up, &up.list[0]);
	cr_expect_eq(up.dropped_count, 10, "one that is there already");
}

Test(addr_set, equal)
{
	struct addr_set a = {0}, b = {0};

	cr_expect(addr_set_equal(&a, &b));
	insert(&a, "10.0.0.1:80");
	cr_expect(!addr_set_equal(&a, &b));
	insert(&b, "10.0.0.1:81");
	cr_expect(!addr_set_equal(&a, &b));
	insert(&a, "10.0.0.1:81");
	insert(&b, "10.0.0.1:80");
	b.dropped_count = 3;
	cr_expect(addr_set_equal(&a, &b));
}
