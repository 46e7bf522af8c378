/* SPDX-License-Identifier: MIT */
/* config.h: what config_check() makes of the options together. test_config.c has the rest. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "config/config.h"
#include "support.h"

TestSuite(config_check, .fini = support_check_leaks);

struct words {
	const char *words[10][2]; /* option and value, up to NULL */
};

static int check(struct config *config, const struct words *row, struct fault *fault)
{
	config_init(config);
	for (size_t i = 0; i < ARRAY_COUNT(row->words) && row->words[i][0]; i++)
		cr_assert_eq(support_set(config, row->words[i][0], row->words[i][1], fault), 0,
			     "%s", support_text(fault));
	return support_check(config, fault);
}

/* What is not given depends on how many backends are in use. */
Test(config_check, max_fails_by_default)
{
	static const struct {
		struct words words;
		unsigned max_fails;
	} rows[] = {
		{{{{"listen", "[::]:1"}, {"backend", "192.0.2.1:1"}}}, 0},
		{{{{"listen", "[::]:1"}, {"backend", "192.0.2.1:1"}, {"backend", "192.0.2.2:1"}}},
		 1},
		{{{{"listen", "[::]:1"},
		   {"backend", "192.0.2.1:1"},
		   {"backend", "192.0.2.2:1 backup"}}},
		 1},
		{{{{"listen", "[::]:1"},
		   {"backend", "192.0.2.1:1"},
		   {"backend", "192.0.2.2:1 down"}}},
		 0},
		{{{{"listen", "[::]:1"},
		   {"backend", "192.0.2.1:1"},
		   {"backend", "192.0.2.2:1 weight=0"}}},
		 0},
		{{{{"max-fails", "3"}, {"listen", "[::]:1"}, {"backend", "192.0.2.1:1"}}}, 3},
		{{{{"listen", "[::]:1"},
		   {"backend", "192.0.2.1:1"},
		   {"backend", "192.0.2.2:1"},
		   {"max-fails", "0"}}},
		 0},
	};
	struct fault fault = {0};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct config config;

		cr_assert_eq(check(&config, &rows[i].words, &fault), 0, "%s", support_text(&fault));
		cr_expect_eq(config.forwards[0].options.max_fails, rows[i].max_fails, "row %zu", i);
		config_finish(&config);
	}
}

Test(config_check, pools_that_make_no_sense)
{
	static const struct {
		struct words words;
		const char *told; /* NULL: accepted */
	} rows[] = {
		{{{{"listen", "[::]:1"}, {"backend", "192.0.2.1:1"}, {"fail-timeout", "0"}}}, NULL},
		{{{{"listen", "[::]:1"},
		   {"backend", "192.0.2.1:1"},
		   {"fail-timeout", "0"},
		   {"max-fails", "1"}}},
		 "--fail-timeout 0"},
		{{{{"listen", "[::]:1"}, {"backend", "192.0.2.1:1"}, {"check-interval", "0"}}},
		 NULL},
		{{{{"listen", "[::]:1"},
		   {"backend", "192.0.2.1:1 check"},
		   {"check-interval", "0"}}},
		 "--check-interval"},
		{{{{"listen", "[::]:1"}, {"backend", "192.0.2.1:1 check"}, {"check-timeout", "0"}}},
		 "--check-timeout"},
		{{{{"listen", "[::]:1"}, {"backend", "192.0.2.1:1"}, {"check-send", "x"}}},
		 "--check-backends"},
		{{{{"check-expect", "x"}, {"listen", "[::]:1"}, {"backend", "192.0.2.1:1"}}},
		 "--check-backends"},
		{{{{"check-expect", "x"},
		   {"listen", "[::]:1"},
		   {"backend", "192.0.2.1:1"},
		   {"listen", "[::]:2"},
		   {"backend", "192.0.2.1:1"},
		   {"check-backends", NULL}}},
		 NULL},
		{{{{"ready", "backends"},
		   {"metrics", "[::1]:9"},
		   {"listen", "[::]:1"},
		   {"backend", "192.0.2.1:1 check"},
		   {"backend", "192.0.2.2:1 down"}}},
		 NULL},
		{{{{"ready", "backends"},
		   {"metrics", "[::1]:9"},
		   {"listen", "[::]:1"},
		   {"backend", "192.0.2.1:1 check"},
		   {"backend", "192.0.2.2:1"}}},
		 "and 192.0.2.2:1 has none"},
		{{{{"ready", "backends"}, {"listen", "[::]:1"}, {"backend", "192.0.2.1:1 check"}}},
		 "add --metrics ADDRESS"},
		{{{{"log-file", "/var/log/x"},
		   {"log-target", "stderr"},
		   {"listen", "[::]:1"},
		   {"backend", "192.0.2.1:1"}}},
		 NULL},
		{{{{"log-target", "syslog"}, {"listen", "[::]:1"}, {"backend", "192.0.2.1:1"}}},
		 NULL},
		{{{{"log-file", "/var/log/x"},
		   {"log-target", "syslog"},
		   {"listen", "[::]:1"},
		   {"backend", "192.0.2.1:1"}}},
		 "leave one of the two out"},
	};
	struct fault fault = {0};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct config config;
		int result = check(&config, &rows[i].words, &fault);

		cr_expect_eq(result, rows[i].told ? -EINVAL : 0, "row %zu", i);
		if (rows[i].told)
			cr_expect_not_null(strstr(support_text(&fault), rows[i].told),
					   "row %zu: %s", i, support_text(&fault));
		config_finish(&config);
	}
}

struct range_row {
	const char *listen, *backend, *error;
	unsigned count, first_port, last_port, first_backend, last_backend;
};

/* A port of a range is a listener of its own, whose backend has the same place in its range. */
Test(config_check, ranges_of_ports)
{
	static const struct range_row rows[] = {
		{"[::]:8000-8010", "192.0.2.1:8000-8010", NULL, 11, 8000, 8010, 8000, 8010},
		{"[::]:8000-8010", "192.0.2.1:9000-9010", NULL, 11, 8000, 8010, 9000, 9010},
		{"[::]:8000-8010", "192.0.2.1:80", NULL, 11, 8000, 8010, 80, 80},
		{"[::]:1-256", "192.0.2.1:80", NULL, 256, 1, 256, 80, 80},
		{"[::]:8000-8000", "192.0.2.1:80-80", NULL, 1, 8000, 8000, 80, 80},
		{"[::]:8000-8010", "192.0.2.1:9000-9009", "has 10 ports for the listener's 11", 0,
		 0, 0, 0, 0},
		{"[::]:80", "192.0.2.1:9000-9001", "has 2 ports for the listener's 1", 0, 0, 0, 0,
		 0},
		{"[::]:1-257", "192.0.2.1:80", "one too many", 0, 0, 0, 0, 0},
		{"[::]:9-8", "192.0.2.1:80", "ends before it begins", 0, 0, 0, 0, 0},
		{"[::]:8000-8010", "[::]:8005", "backend of its own", 0, 0, 0, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct range_row *row = &rows[i];
		struct fault fault = {0};
		struct config config;
		int result;

		config_init(&config);
		result = support_set(&config, "listen", row->listen, &fault);
		if (!result)
			result = support_set(&config, "backend", row->backend, &fault);
		if (!result)
			result = support_set(&config, "timeout-idle", "7s", &fault);
		if (!result)
			result = support_check(&config, &fault);
		cr_expect_eq(result, row->error ? -EINVAL : 0, "row %zu: %s", i,
			     support_text(&fault));
		if (row->error) {
			cr_expect_not_null(strstr(support_text(&fault), row->error), "row %zu: %s",
					   i, support_text(&fault));
		} else {
			const struct config_forward *first = &config.forwards[0];
			const struct config_forward *last = &config.forwards[row->count - 1];

			cr_assert_eq(config.forward_count, row->count, "row %zu", i);
			cr_expect_eq(addr_port(&first->listen), row->first_port, "row %zu", i);
			cr_expect_eq(addr_port(&last->listen), row->last_port, "row %zu", i);
			cr_expect_eq(addr_port(&first->backends[0].addr), row->first_backend);
			cr_expect_eq(addr_port(&last->backends[0].addr), row->last_backend);
			cr_expect_eq(first->options.timeout_idle_ms, 7000, "row %zu", i);
			cr_expect_eq(last->options.timeout_idle_ms, 7000, "row %zu", i);
			cr_expect_eq(support_check(&config, &fault), 0, "row %zu: %s", i,
				     support_text(&fault));
		}
		config_finish(&config);
	}
}

Test(config_check, an_option_behind_a_range_is_not_the_next_listeners)
{
	struct fault fault = {0};
	struct config config;

	config_init(&config);
	cr_assert(!support_set(&config, "listen", "[::]:80", &fault));
	cr_assert(!support_set(&config, "backend", "127.0.0.1:9", &fault));
	cr_assert(!support_set(&config, "listen", "[::]:81-82", &fault));
	cr_assert(!support_set(&config, "backlog", "7", &fault));
	cr_assert(!support_set(&config, "backend", "127.0.0.1:9", &fault));
	cr_assert(!support_set(&config, "listen", "[::]:83", &fault));
	cr_assert(!support_set(&config, "backend", "127.0.0.1:9", &fault));
	cr_assert(!support_check(&config, &fault), "%s", support_text(&fault));
	cr_assert_eq(config.forward_count, 4);
	cr_expect_eq(config.forwards[0].options.backlog, 1024);
	cr_expect_eq(config.forwards[1].options.backlog, 7);
	cr_expect_eq(config.forwards[2].options.backlog, 7);
	cr_expect_eq(config.forwards[3].options.backlog, 1024);
	cr_expect_eq(config_largest_backlog(&config), 1024);
	config_finish(&config);
}

struct dual_row {
	const char *listen;
	bool fine;
};

Test(config_check, dual_stack_needs_the_ipv6_wildcard)
{
	static const struct dual_row rows[] = {
		{"[::]:80", true}, {"[::1]:80", false}, {"0.0.0.0:80", false}};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct fault fault = {0};
		struct config config;

		config_init(&config);
		cr_assert(!support_set(&config, "dual-stack", NULL, &fault));
		cr_assert(!support_set(&config, "listen", rows[i].listen, &fault));
		cr_assert(!support_set(&config, "backend", "127.0.0.1:9", &fault));
		cr_expect_eq(support_check(&config, &fault), rows[i].fine ? 0 : -EINVAL, "%s",
			     rows[i].listen);
		config_finish(&config);
	}
}
