/* SPDX-License-Identifier: MIT */
#include "config/tuning_check.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_file.h"
#include "support.h"

TestSuite(tuning_check, .fini = support_check_leaks);

#define SYSCTLS "/proc/sys/net/ipv4"

static const char *const files[] = {SYSCTLS "/tcp_allowed_congestion_control",
				    SYSCTLS "/tcp_fastopen", SYSCTLS "/ip_local_port_range"};

struct host_row {
	const char *option, *value;
	const char *contents[ARRAY_COUNT(files)]; /* NULL: no such file */
	const char *error;			  /* a part of it; NULL: none */
};

static void check_row(const struct host_row *row)
{
	char root[] = "/tmp/test_tuning_check.XXXXXX";
	struct config config;

	cr_assert_not_null(mkdtemp(root));
	for (size_t i = 0; i < ARRAY_COUNT(files); i++)
		if (row->contents[i])
			support_put_file(root, files[i], row->contents[i]);
	config_init(&config);
	support_must_set(&config, "listen", "[::1]:80");
	support_must_set(&config, row->option, row->value);
	cr_expect_eq(tuning_check(&config, root, &config.errors), row->error ? -EINVAL : 0, "%s %s",
		     row->option, row->value);
	cr_assert_eq(config.errors.count, row->error != NULL);
	if (row->error) {
		const char *error = support_text(&config.errors.list[0]);

		cr_expect_not_null(strstr(error, row->error), "%s", error);
		cr_expect_not_null(strstr(error, row->option), "%s", error);
	}
	config_finish(&config);
	support_remove_tree(root);
}

Test(tuning_check, hosts)
{
	static const struct host_row rows[] = {
		{"congestion", "reno", {"reno cubic\n"}, NULL},
		{"congestion", "cubic", {"reno cubic\n"}, NULL},
		{"congestion", "bbr", {"reno cubic\n"}, "give one of: reno cubic, or"},
		{"congestion", "cub", {"reno cubic\n"}, "not allowed"},
		{"congestion", "renocubic", {"reno cubic\n"}, "not allowed"},
		{"congestion", "bbr", {NULL}, NULL},
		{"fastopen", "16", {NULL, "3\n"}, NULL},
		{"fastopen", "16", {NULL, "2\n"}, NULL},
		{"fastopen", "16", {NULL, "1\n"}, "net.ipv4.tcp_fastopen=3"},
		{"fastopen", "16", {NULL, "0\n"}, "net.ipv4.tcp_fastopen=2"},
		{"fastopen", "16", {NULL, NULL}, NULL},
		{"backend", "192.0.2.1:80 fastopen", {NULL, "1\n"}, NULL},
		{"backend", "192.0.2.1:80 fastopen", {NULL, "2\n"}, "net.ipv4.tcp_fastopen=3"},
		{"backend", "192.0.2.1:80 fastopen", {NULL, "0\n"}, "net.ipv4.tcp_fastopen=1"},
		{"backend", "192.0.2.1:80", {NULL, "0\n"}, NULL},
		{"source-port-range", "40000-40010", {NULL, NULL, "32768\t60999\n"}, NULL},
		{"source-port-range", "32768-60999", {NULL, NULL, "32768\t60999\n"}, NULL},
		{"source-port-range", "32767-40000", {NULL, NULL, "32768\t60999\n"}, "32768-60999"},
		{"source-port-range", "40000-61000", {NULL, NULL, "32768\t60999\n"}, "32768-60999"},
		{"sndbuf", "1GiB", {NULL}, "net.core.wmem_max=1073741824"},
		{"rcvbuf", "1GiB", {NULL}, "net.core.rmem_max=1073741824"},
		{"sndbuf", "8KiB", {NULL}, NULL},
		{"rcvbuf", "8KiB", {NULL}, NULL},
		{"bind-device", "lo", {NULL}, NULL},
		{"bind-device", "no-such-if", {NULL}, "no such interface"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		check_row(&rows[i]);
}

/* Which of many forwards it is about: the line says it, also for those that a range made. */
Test(tuning_check, the_place_is_named)
{
	static const char text[] = "[forward a]\nlisten=[::1]:1\nbackend=127.0.0.1:1\n"
				   "[forward b]\nlisten=[::1]:2-3\nbackend=127.0.0.1:1\n"
				   "bind-device=no-such-if\n";
	struct fault fault = {0};
	struct config config;

	config_init(&config);
	config_file_parse(&config, "f", text, strlen(text));
	cr_assert(!support_check(&config, &fault), "%s", support_text(&fault));
	for (unsigned i = 0; i < 2; i++) {
		cr_expect_eq(tuning_check(&config, "", &config.errors), -EINVAL);
		cr_assert_eq(config.errors.count, 1, "once for the whole range");
		cr_expect_str_eq(support_text(&config.errors.list[0]),
				 "f:7: bind-device 'no-such-if': this host has no such interface; "
				 "'ip link' lists them",
				 "%s", support_text(&config.errors.list[0]));
		config_errors_finish(&config.errors);
		config.forwards[1].options.tuning.device = NULL;
	}
	config_finish(&config);
}
