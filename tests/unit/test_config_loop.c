/* SPDX-License-Identifier: MIT */
#include "config/config_loop.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "config/config_conflict.h"
#include "support.h"

TestSuite(config_loop, .fini = support_check_leaks);

struct row {
	/* listeners and, behind a '+', backends of the one before, up to NULL */
	const char *words[12];
	const char *told; /* NULL: no loop */
};

static void make(struct config *config, const struct row *row)
{
	config_init(config);
	for (size_t i = 0; row->words[i]; i++) {
		bool is_backend = *row->words[i] == '+';

		support_must_set(config, is_backend ? "backend" : "listen",
				 row->words[i] + is_backend);
	}
}

/* Of addresses alone, as config_check() sees it; nothing is asked of the kernel. */
Test(config_loop, of_addresses)
{
	static const struct row rows[] = {
		{{"[::1]:1", "+192.0.2.1:1"}, NULL},
		{{"[::1]:1", "+[::1]:2", "[::1]:2", "+[::1]:1"},
		 "--listen '[::1]:1': its backend leads back to it, so one client would "
		 "take all sessions; the way: [::1]:2, then [::1]:1; give the service's own "
		 "address as the backend, or listen elsewhere"},
		{{"[::1]:1", "+[::1]:2", "[::1]:2", "+[::1]:3", "[::1]:3", "+[::1]:1"},
		 "the way: [::1]:2, then [::1]:3, then [::1]:1;"},
		/* a way into a loop is none */
		{{"[::1]:1", "+[::1]:2", "[::1]:2", "+[::1]:3", "[::1]:3", "+[::1]:2"},
		 "--listen '[::1]:2': its backend leads back to it, so one client would "
		 "take all sessions; the way: [::1]:3, then [::1]:2;"},
		{{"[::1]:1", "+[::1]:2", "[::1]:2", "+[::1]:3", "[::1]:3", "+192.0.2.1:1"}, NULL},
		{{"[::]:1", "+127.0.0.1:2", "0.0.0.0:2", "+192.0.2.1:1", "+[::1]:1 backup"}, NULL},
		{{"[::]:1", "+127.0.0.1:2", "0.0.0.0:2", "+192.0.2.1:1", "+[::1]:1 down"}, NULL},
		{{"[::]:1", "+127.0.0.1:2", "0.0.0.0:2", "+192.0.2.1:1", "+[::1]:1"},
		 "the way: 127.0.0.1:2, then [::1]:1;"},
		{{"[::]:1", "+192.0.2.7:2", "192.0.2.7:2", "+[::]:1"},
		 "the way: 192.0.2.7:2, then [::]:1;"},
		/* of this host or another one: not known here */
		{{"[::]:1", "+192.0.2.7:2", "0.0.0.0:2", "+[::1]:1"}, NULL},
		{{"[::]:1", "+web.example:2", "0.0.0.0:2", "+[::1]:1"}, NULL},
		{{"unix:@a", "+unix:@b", "unix:@b", "+unix:@a"}, "the way: unix:@b, then unix:@a;"},
		{{"unix:@a", "+[::1]:1", "[::1]:1", "+unix:@a"}, "the way: [::1]:1, then unix:@a;"},
		/* once for a range of ports */
		{{"[::1]:1-9", "+127.0.0.1:11-19", "127.0.0.1:11-19", "+[::1]:1-9"},
		 "--listen '[::1]:1': its backend leads back to it, so one client would "
		 "take all sessions; the way: 127.0.0.1:11, then [::1]:1;"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct fault fault = {0};
		struct config config;

		make(&config, &rows[i]);
		cr_expect_eq(support_check(&config, &fault), rows[i].told ? -EINVAL : 0,
			     "row %zu: %s", i, support_text(&fault));
		cr_expect_eq(config.errors.count, !!rows[i].told, "row %zu", i);
		if (rows[i].told)
			cr_expect_not_null(strstr(support_text(&fault), rows[i].told),
					   "row %zu: %s", i, support_text(&fault));
		config_finish(&config);
	}
}

/* The largest configuration: a way through all listeners, which the last one closes. */
Test(config_loop, of_all_listeners)
{
	struct fault fault = {0};
	char listen[64], backend[64];
	struct config config;

	config_init(&config);
	for (unsigned i = 0; i < CONFIG_FORWARD_LIMIT; i++) {
		snprintf(listen, sizeof(listen), "[::1]:%u", 1000 + i);
		snprintf(backend, sizeof(backend), "[::1]:%u",
			 1000 + (i + 1) % CONFIG_FORWARD_LIMIT);
		support_must_set(&config, "listen", listen);
		support_must_set(&config, "backend", backend);
	}
	cr_expect_eq(support_check(&config, &fault), -EINVAL);
	cr_expect_eq(config.errors.count, 1);
	cr_expect_not_null(
		strstr(support_text(&fault), "--listen '[::1]:1000': its backend leads back"), "%s",
		support_text(&fault));
	config_finish(&config);
}

Test(config_loop, reach)
{
	static const struct {
		const char *listen, *to, *option;
		enum config_reach reach;
	} rows[] = {
		{"[::]:1", "[::1]:1", NULL, CONFIG_REACH_SURE},
		{"[::]:1", "[2001:db8::1]:1", NULL, CONFIG_REACH_IF_OWN},
		{"[::]:1", "[2001:db8::1]:2", NULL, CONFIG_REACH_NONE},
		{"[::]:1", "192.0.2.1:1", NULL, CONFIG_REACH_NONE},
		{"[::]:1", "192.0.2.1:1", "dual-stack", CONFIG_REACH_IF_OWN},
		{"[::]:1", "127.0.0.1:1", "dual-stack", CONFIG_REACH_SURE},
		{"0.0.0.0:1", "192.0.2.1:1", NULL, CONFIG_REACH_IF_OWN},
		{"192.0.2.1:1", "192.0.2.1:1", NULL, CONFIG_REACH_SURE},
		{"192.0.2.1:1", "192.0.2.2:1", NULL, CONFIG_REACH_NONE},
		{"0.0.0.0:0", "192.0.2.1:1", NULL, CONFIG_REACH_NONE},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct config config;
		struct addr to;

		config_init(&config);
		support_must_set(&config, "listen", rows[i].listen);
		if (rows[i].option)
			support_must_set(&config, rows[i].option, NULL);
		cr_assert_null(addr_parse(rows[i].to, &to));
		cr_expect_eq(
			config_conflict_reach(&config.forwards[0], &config.forwards[0].listen, &to),
			rows[i].reach, "row %zu", i);
		config_finish(&config);
	}
}

/* 192.0.2.0/24 is nobody's (RFC 5737), 127.0.0.0/8 every host's, without an interface that has all of it. */
Test(config_loop, who_has_the_address_is_asked)
{
	static const struct {
		const char *listen, *to;
		bool reaches;
	} rows[] = {
		{"0.0.0.0:1", "127.9.9.9:1", true},
		{"0.0.0.0:1", "192.0.2.1:1", false},
		{"[::]:1", "[::1]:1", true},
		{"[::]:1", "[2001:db8::1]:1", false},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct config config;
		struct addr to;

		config_init(&config);
		support_must_set(&config, "listen", rows[i].listen);
		cr_assert_null(addr_parse(rows[i].to, &to));
		cr_expect_eq(
			config_loop_reaches(&config.forwards[0], &config.forwards[0].listen, &to),
			rows[i].reaches, "row %zu", i);
		config_finish(&config);
	}
}
