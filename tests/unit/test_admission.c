/* SPDX-License-Identifier: MIT */
#include "forward/forward.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

TestSuite(admission, .fini = support_check_leaks);

#define MAXCONN 100

static void listen_on(struct config *config, const char *address)
{
	support_must_set(config, "listen", address);
	support_must_set(config, "backend", "192.0.2.1:80");
}

static struct forwards *create(struct config *config)
{
	struct forwards *forwards;
	struct fault fault = {0};

	cr_assert_eq(support_check(config, &fault), 0, "%s", support_text(&fault));
	cr_assert_eq(forwards_create(&forwards, config, &config->errors), 0);
	cr_assert_eq(forwards_make_admission(forwards, MAXCONN, &config->errors), 0);
	return forwards;
}

/* The admission of a forward. */
static struct admission *of(const struct forwards *forwards, unsigned forward)
{
	return forwards->list[forward].admission;
}

static enum admission_verdict enter(struct forwards *forwards, unsigned forward, const char *client,
				    client_ticket *ticket)
{
	struct addr address;

	cr_assert_null(addr_parse(client, &address));
	return admission_enter(of(forwards, forward), &address, 1000000, ticket);
}

struct verdict_row {
	const char *options[4][2]; /* names and values, up to NULL */
	const char *client;
	enum admission_verdict verdict;
};

Test(admission, the_first_rule_decides)
{
	static const struct verdict_row rows[] = {
		{{{0}}, "192.0.2.7:1", ADMISSION_OK},
		{{{"allow", "192.0.2.0/24"}}, "192.0.2.7:1", ADMISSION_OK},
		{{{"allow", "192.0.2.0/24"}}, "198.51.100.7:1", ADMISSION_DENIED},
		{{{"allow", "192.0.2.0/24"}}, "[::1]:1", ADMISSION_DENIED},
		{{{"deny", "192.0.2.0/24"}}, "192.0.2.7:1", ADMISSION_DENIED},
		{{{"deny", "192.0.2.0/24"}}, "[::ffff:192.0.2.7]:1", ADMISSION_DENIED},
		{{{"deny", "192.0.2.0/24"}}, "198.51.100.7:1", ADMISSION_OK},
		{{{"deny", "192.0.2.7"}, {"allow", "192.0.2.0/24"}},
		 "192.0.2.7:1",
		 ADMISSION_DENIED},
		{{{"allow", "192.0.2.0/24"}, {"deny", "192.0.2.7"}}, "192.0.2.7:1", ADMISSION_OK},
		{{{"deny", "::1,192.0.2.7"}, {"allow", "::/0"}}, "[::1]:1", ADMISSION_DENIED},
		{{{"deny", "::1,192.0.2.7"}, {"allow", "::/0"}}, "[::2]:1", ADMISSION_OK},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct forwards *forwards;
		struct config config;
		client_ticket ticket = 7;

		config_init(&config);
		listen_on(&config, "[::1]:2000");
		for (size_t j = 0; j < 4 && rows[i].options[j][0]; j++)
			support_must_set(&config, rows[i].options[j][0], rows[i].options[j][1]);
		forwards = create(&config);
		cr_expect_eq(enter(forwards, 0, rows[i].client, &ticket), rows[i].verdict,
			     "row %zu", i);
		cr_expect_eq(ticket, CLIENT_UNCOUNTED);
		admission_leave(of(forwards, 0), ticket);
		forwards_destroy(forwards);
		config_finish(&config);
	}
}

Test(admission, files_are_read_where_they_stand)
{
	char path[] = "/tmp/test_admission.XXXXXX";
	int fd = mkstemp(path);
	struct forwards *forwards;
	struct config config;
	client_ticket ticket;

	cr_assert_geq(fd, 0);
	dprintf(fd, "# those\n192.0.2.0/24\n\n 2001:db8::/32 # and these\n");
	config_init(&config);
	support_must_set(&config, "deny", "192.0.2.7");
	support_must_set(&config, "allow-file", path);
	/* both forwards have the same list, and share the rules */
	listen_on(&config, "[::1]:2000");
	listen_on(&config, "[::1]:2001");
	forwards = create(&config);
	for (unsigned i = 0; i < 2; i++) {
		cr_expect_eq(enter(forwards, i, "192.0.2.7:1", &ticket), ADMISSION_DENIED);
		cr_expect_eq(enter(forwards, i, "192.0.2.8:1", &ticket), ADMISSION_OK);
		cr_expect_eq(enter(forwards, i, "[2001:db8::8]:1", &ticket), ADMISSION_OK);
		cr_expect_eq(enter(forwards, i, "[2001:db9::8]:1", &ticket), ADMISSION_DENIED);
	}
	forwards_destroy(forwards);
	config_finish(&config);
	close(fd);
	unlink(path);
}

/* A fault names the line of the file and its option; without a line, the option comes first. */
Test(admission, a_bad_file_is_named_with_its_line)
{
	char path[] = "/tmp/test_admission.XXXXXX", begin[128];
	const char *error;
	int fd = mkstemp(path);
	struct forwards *forwards;
	struct config config;

	cr_assert_geq(fd, 0);
	dprintf(fd, "192.0.2.0/24\n192.0.2.0/240\n");
	config_init(&config);
	listen_on(&config, "[::1]:2000");
	config.file = "f";
	config.origin = (struct config_origin){.kind = CONFIG_ORIGIN_FILE, .line = 7};
	support_must_set(&config, "deny", "192.0.2.9");
	config.origin.line = 8;
	support_must_set(&config, "deny-file", path);
	snprintf(begin, sizeof(begin), "%s:2: ", path);
	cr_assert_eq(forwards_create(&forwards, &config, &config.errors), 0);
	cr_expect_eq(forwards_make_admission(forwards, MAXCONN, &config.errors), -EINVAL);
	forwards_destroy(forwards);
	cr_assert_eq(config.errors.count, 1);
	error = support_text(&config.errors.list[0]);
	cr_expect_eq(strncmp(error, begin, strlen(begin)), 0, "%s", error);
	cr_expect_not_null(strstr(error, " (given by f:8: deny-file)"), "%s", error);
	config_errors_finish(&config.errors);
	unlink(path);
	cr_assert_eq(forwards_create(&forwards, &config, &config.errors), 0);
	cr_expect_eq(forwards_make_admission(forwards, MAXCONN, &config.errors), -ENOENT);
	forwards_destroy(forwards);
	cr_assert_eq(config.errors.count, 1);
	error = support_text(&config.errors.list[0]);
	snprintf(begin, sizeof(begin),
		 "f:8: deny-file '%s': No such file or directory; give a file that this user may "
		 "read",
		 path);
	cr_expect_str_eq(error, begin, "%s", error);
	config_finish(&config);
	close(fd);
}

Test(admission, limits_of_a_source_are_each_forwards_own)
{
	struct forwards *forwards;
	client_ticket first, second, ignored;
	struct config config;

	config_init(&config);
	support_must_set(&config, "per-source-maxconn", "1");
	listen_on(&config, "[::1]:2000");
	listen_on(&config, "[::1]:2001");
	support_must_set(&config, "per-source-maxconn", "0");
	support_must_set(&config, "per-source-rate", "2");
	support_must_set(&config, "per-source-prefix4", "24");
	forwards = create(&config);
	cr_expect_eq(enter(forwards, 0, "[2001:db8::1]:1", &first), ADMISSION_OK);
	cr_expect_eq(enter(forwards, 0, "[2001:db8::2]:1", &ignored), ADMISSION_SOURCE_MAXCONN);
	cr_expect_eq(ignored, CLIENT_UNCOUNTED);
	cr_expect_eq(enter(forwards, 0, "[2001:db8:0:1::2]:1", &second), ADMISSION_OK);
	admission_leave(of(forwards, 0), first);
	cr_expect_eq(enter(forwards, 0, "[2001:db8::2]:1", &first), ADMISSION_OK);
	admission_leave(of(forwards, 0), first);
	admission_leave(of(forwards, 0), second);
	for (unsigned i = 0; i < 4; i++) {
		cr_expect_eq(enter(forwards, 1, "192.0.2.1:1", &first),
			     i < 2 ? ADMISSION_OK : ADMISSION_SOURCE_RATE);
		admission_leave(of(forwards, 1), first);
	}
	cr_expect_eq(enter(forwards, 1, "192.0.2.200:1", &first), ADMISSION_SOURCE_RATE);
	cr_expect_eq(enter(forwards, 1, "192.0.3.1:1", &first), ADMISSION_OK);
	admission_leave(of(forwards, 1), first);
	cr_expect_eq(forwards_metric(forwards, METRIC_sources_uncounted), 0);
	forwards_destroy(forwards);
	config_finish(&config);
}

Test(admission, sessions_of_a_forward)
{
	struct forwards *forwards;
	struct config config;

	config_init(&config);
	listen_on(&config, "[::1]:2000");
	support_must_set(&config, "maxconn-forward", "2");
	listen_on(&config, "[::1]:2001");
	forwards = create(&config);
	cr_expect_eq(admission_room(of(forwards, 0)), 2);
	cr_expect_eq(admission_room(of(forwards, 1)), UINT32_MAX);
	cr_expect(admission_count_session(of(forwards, 0)));
	cr_expect(admission_count_session(of(forwards, 0)));
	cr_expect(!admission_count_session(of(forwards, 0)));
	cr_expect_eq(admission_room(of(forwards, 0)), 0);
	admission_uncount_session(of(forwards, 0));
	cr_expect_eq(admission_room(of(forwards, 0)), 1);
	cr_expect(admission_count_session(of(forwards, 1)));
	admission_uncount_session(of(forwards, 1));
	cr_expect_eq(admission_room(of(forwards, 1)), UINT32_MAX);
	forwards_destroy(forwards);
	config_finish(&config);
}

Test(admission, bandwidth)
{
	struct admission_bandwidth *up, *down;
	struct forwards *forwards;
	struct config config;

	config_init(&config);
	listen_on(&config, "[::1]:2000");
	cr_expect(!admission_limits_bandwidth(&config));
	listen_on(&config, "[::1]:2001");
	support_must_set(&config, "limit-up", "1MiB/s");
	support_must_set(&config, "limit-down-total", "2MiB");
	cr_expect(admission_limits_bandwidth(&config));
	forwards = create(&config);
	up = admission_bandwidth(of(forwards, 1), 0);
	down = admission_bandwidth(of(forwards, 1), 1);
	cr_expect_null(admission_bandwidth(of(forwards, 0), 0));
	cr_expect_null(admission_bandwidth(of(forwards, 0), 1));
	cr_assert(up && down);
	cr_expect(up->own_limited && !up->total_limited);
	cr_expect(!down->own_limited && down->total_limited);
	cr_expect_eq(up->own.bytes_per_s, 1 << 20);
	cr_expect_eq(down->total_rate.bytes_per_s, 2 << 20);
	forwards_destroy(forwards);
	config_finish(&config);
}
