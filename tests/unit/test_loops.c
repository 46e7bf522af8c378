/* SPDX-License-Identifier: MIT */
#include "forward/loops.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "base/util.h"
#include "support.h"

TestSuite(loops, .fini = support_check_leaks);

enum { FORWARDS = 4, START_MS = 1000000 };

/* Listeners on [::1]:1, [::1]:2 ...; where their backends are, each test says. */
static void make(struct config *config, struct loops **loops)
{
	char listen[64];

	config_init(config);
	for (unsigned i = 0; i < FORWARDS; i++) {
		snprintf(listen, sizeof(listen), "[::1]:%u", i + 1);
		support_must_set(config, "listen", listen);
	}
	support_must_set(config, "listen", "0.0.0.0:7");
	cr_assert_eq(loops_create(loops, config), 0);
}

/* Whether a session of `from` may not go to the listener of `to`. */
static bool is_closed(struct loops *loops, unsigned from, unsigned to, uint64_t now_ms)
{
	char text[64];
	struct addr backend;

	snprintf(text, sizeof(text), "[::1]:%u", to + 1);
	cr_assert_null(addr_parse(text, &backend));
	return loops_would_close(loops, from, &backend, now_ms);
}

Test(loops, own_listener)
{
	struct config config;
	struct loops *loops;

	make(&config, &loops);
	for (unsigned i = 0; i < 3; i++)
		cr_expect(is_closed(loops, 0, 0, START_MS + i));
	loops_destroy(loops);
	config_finish(&config);
}

Test(loops, chain_and_its_end)
{
	struct config config;
	struct loops *loops;

	make(&config, &loops);
	for (unsigned i = 0; i < 3; i++) {
		cr_expect_not(is_closed(loops, 0, 1, START_MS));
		cr_expect_not(is_closed(loops, 1, 2, START_MS));
		cr_expect_not(is_closed(loops, 3, 2, START_MS), "another way to the same");
		cr_expect(is_closed(loops, 2, 0, START_MS), "two steps lead back");
		cr_expect(is_closed(loops, 2, 1, START_MS));
		cr_expect(is_closed(loops, 2, 3, START_MS));
		cr_expect_not(is_closed(loops, 2, 6, START_MS), "nobody of ours listens there");
	}
	loops_destroy(loops);
	config_finish(&config);
}

/* What was refused is no step; what sessions no longer do is forgotten. */
Test(loops, steps_are_forgotten)
{
	struct config config;
	struct loops *loops;

	make(&config, &loops);
	cr_expect_not(is_closed(loops, 0, 1, START_MS));
	cr_expect(is_closed(loops, 1, 0, START_MS + 9999));
	cr_expect_not(is_closed(loops, 1, 0, START_MS + 10000));
	cr_expect(is_closed(loops, 0, 1, START_MS + 10001));
	loops_destroy(loops);
	config_finish(&config);
}

/* The kernel says who has an address: 192.0.2.0/24 is nobody's, RFC 5737. */
Test(loops, addresses)
{
	static const struct {
		const char *backend;
		bool closes;
	} rows[] = {
		{"127.0.0.1:7", true},	{"127.9.9.9:7", true},	{"0.0.0.0:7", true},
		{"192.0.2.1:7", false}, {"127.0.0.1:8", false}, {"[::1]:7", false},
	};
	struct config config;
	struct loops *loops;

	make(&config, &loops);
	for (size_t i = 0; i < 2 * ARRAY_COUNT(rows); i++) {
		struct addr backend;
		size_t row = i / 2;

		cr_assert_null(addr_parse(rows[row].backend, &backend));
		cr_expect_eq(loops_would_close(loops, FORWARDS, &backend, START_MS),
			     rows[row].closes, "%s", rows[row].backend);
	}
	loops_destroy(loops);
	config_finish(&config);
}

Test(loops, none)
{
	loops_destroy(NULL);
}
