/* SPDX-License-Identifier: MIT */
#include "command/doctor_facts.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

TestSuite(doctor_facts, .fini = support_check_leaks);

static void make_file(char path[64], const char *text)
{
	FILE *file;
	int fd;

	strcpy(path, "/tmp/sixpipe-doctor-XXXXXX");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	file = fdopen(fd, "w");
	cr_assert_not_null(file);
	fputs(text, file);
	fclose(file);
}

struct number_row {
	const char *text;
	unsigned index;
	int64_t number;
};

Test(doctor_facts, numbers)
{
	static const struct number_row rows[] = {
		{"287901\t383868\t575802\n", 0, 287901},
		{"287901\t383868\t575802\n", 1, 383868},
		{"287901\t383868\t575802\n", 2, 575802},
		{"287901\t383868\t575802\n", 3, DOCTOR_UNKNOWN},
		{"0\n", 0, 0},
		{"4096", 0, 4096},
		{"", 0, DOCTOR_UNKNOWN},
		{"cubic\n", 0, DOCTOR_UNKNOWN},
	};
	char path[64];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		make_file(path, rows[i].text);
		cr_expect_eq(doctor_read_number("", path, rows[i].index), rows[i].number,
			     "row %zu: %" PRId64, i, doctor_read_number("", path, rows[i].index));
		unlink(path);
	}
	cr_expect_eq(doctor_read_number("/no/such/root", "/x", 0), DOCTOR_UNKNOWN);
}

Test(doctor_facts, this_host)
{
	unsigned before = support_count_descriptors();
	struct doctor_facts facts;
	struct config config;
	struct addr taken;
	char text[ADDR_TEXT_BYTES];
	int fd = support_listen(&taken, 1);

	config_init(&config);
	support_must_set(&config, "listen", "127.0.0.1:0");
	support_must_set(&config, "listen", addr_print(&taken, text));
	doctor_gather("", &config, &facts);
	cr_expect_geq(facts.kernel_major, 5);
	cr_expect_gt(facts.pipe_max_bytes, 0);
	cr_expect_gt(facts.page_bytes, 0);
	cr_expect_gt(facts.capacity.workers, 0);
	cr_expect_eq(facts.listener.error, -EADDRINUSE, "the first that fails is told of");
	cr_expect_not_null(strstr(facts.listener.fault.reason, "cannot listen on"));
	cr_expect(addr_equal(&facts.listener.address, &taken));
	cr_expect_eq(config.forwards[0].listen.v4.sin_port, 0, "the configuration stays as it is");
	config_finish(&config);
	close(fd);
	cr_expect_eq(support_count_descriptors(), before);
}

/* What a sixpipe without privileges gets, whoever runs doctor: cubic is only for root here. */
Test(doctor_facts, loopback_congestion_without_privileges)
{
	char root[] = "/tmp/test_doctor_facts.XXXXXX";
	struct doctor_facts facts;
	struct config config;

	cr_assert_not_null(mkdtemp(root));
	support_put_file(root, "/proc/sys/net/ipv4/tcp_congestion_control", "bbr\n");
	support_put_file(root, "/proc/sys/net/ipv4/tcp_available_congestion_control",
			 "reno cubic bbr\n");
	support_put_file(root, "/proc/sys/net/ipv4/tcp_allowed_congestion_control", "reno bbr\n");
	config_init(&config);
	doctor_gather(root, &config, &facts);
	cr_expect_str_eq(facts.congestion, "bbr");
	cr_expect_str_eq(facts.allowed_congestion, "reno bbr");
	cr_assert_not_null(facts.loopback_congestion);
	cr_expect_str_eq(facts.loopback_congestion, "reno");
	config_finish(&config);
	support_remove_tree(root);
}

Test(doctor_facts, a_host_that_shows_nothing)
{
	struct doctor_facts facts;
	struct config config;

	config_init(&config);
	config.user = "no-such-user-here";
	doctor_gather("/no/such/root", &config, &facts);
	cr_expect_eq(facts.pipe_max_bytes, DOCTOR_UNKNOWN);
	cr_expect_eq(facts.tcp_pressure_pages, DOCTOR_UNKNOWN);
	cr_expect_eq(facts.capacity.host.cgroup.cpu_millis, 0);
	cr_expect_not_null(strstr(facts.user_fault.value, "no-such-user-here"));
	config_finish(&config);
}
