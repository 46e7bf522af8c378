/* SPDX-License-Identifier: MIT */
#include "command/doctor_checks.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

static struct config config;
static struct doctor_facts facts;

static void make_facts(void)
{
	struct capacity_host host = {.cpus = 4, .descriptors = 1000000};

	facts = (struct doctor_facts){
		.config = &config,
		.pipe_max_bytes = 1 << 20,
		.pipe_user_pages = 16384,
		.page_bytes = 4096,
		.pipes = 64,
		.pipe_bytes = 1 << 20,
	};
	capacity_compute(&config, &host, &facts.capacity);
}

static void set_up(void)
{
	config_init(&config);
}

static void tear_down(void)
{
	config_finish(&config);
	support_check_leaks();
}

TestSuite(doctor_pipes, .init = set_up, .fini = tear_down);

static void expect(enum doctor_state state, const char *value, const char *remedy)
{
	struct doctor_finding finding;
	size_t count;
	const struct doctor_check *check = doctor_checks(&count);

	while (strcmp(check->name, "pipes"))
		check++;
	cr_expect(doctor_judge(check, &facts, &finding));
	cr_expect_eq(finding.state, state, "%s", finding.value);
	cr_expect_not_null(strstr(finding.value, value), "%s", finding.value);
	cr_expect_not_null(strstr(finding.remedy, remedy), "%s", finding.remedy);
	cr_expect_eq(!*finding.remedy, state == DOCTOR_OK, "%s", finding.remedy);
}

struct pipe_row {
	uint64_t maxpipes, pipe_bytes;
	int64_t pages, max_bytes;
	unsigned got;
	uint32_t got_bytes;
	enum doctor_state state;
	const char *value, *remedy;
};

Test(doctor_pipes, what_can_be_had)
{
	static const struct pipe_row rows[] = {
		{64, 1 << 20, 16384, 1 << 20, 64, 1 << 20, DOCTOR_OK,
		 "64 of 1MiB; an unprivileged user may have as many", ""},
		/* 16 a worker */
		{65, 1 << 20, 16384, 1 << 20, 64, 1 << 20, DOCTOR_OK,
		 "64 of 1MiB; an unprivileged user may have as many", ""},
		{68, 1 << 20, 16384, 1 << 20, 64, 1 << 20, DOCTOR_WARN,
		 "64 of 68 pipes of 1MiB can be had: a user has 16384 pages",
		 "fs.pipe-user-pages-soft=17408"},
		{68, 1 << 20, 16384, 1 << 20, 68, 1 << 20, DOCTOR_OK,
		 "68 of 1MiB; an unprivileged user gets 64 (fs.pipe-user-pages-soft)", ""},
		{68, 1 << 20, 0, 1 << 20, 68, 1 << 20, DOCTOR_OK, "68 of 1MiB", ""},
		{68, 1 << 20, -1, -1, 68, 1 << 20, DOCTOR_OK, "68 of 1MiB", ""},
		{68, 1 << 20, -1, -1, 5, 1 << 20, DOCTOR_WARN, "5 of 68 pipes of 1MiB",
		 "--maxpipes 5"},
		/* three quarters of a MiB take a whole one */
		{68, 3 << 18, 16384, 1 << 20, 64, 1 << 20, DOCTOR_WARN, "64 of 68 pipes of 768KiB",
		 "=17408"},
		{4, 2 << 20, 16384, 1 << 20, 4, 1 << 20, DOCTOR_WARN,
		 "4 of 1MiB, not 4 of 2MiB: fs.pipe-max-size is 1MiB",
		 "sysctl -w fs.pipe-max-size=2097152"},
		{4, 2 << 20, 16384, 1 << 20, 4, 2 << 20, DOCTOR_OK,
		 "4 of 2MiB; an unprivileged user gets 0 (fs.pipe-max-size)", ""},
		{64, 1 << 20, 16384, 1 << 20, 63, 1 << 20, DOCTOR_WARN,
		 "63 of 64 pipes of 1MiB can be had: the user's other programs have pipes",
		 "use another user, or sysctl -w fs.pipe-user-pages-soft=32768"},
		{64, 1 << 20, 16384, 1 << 20, 16, 8192, DOCTOR_WARN,
		 "16 of 8KiB, not 64 of 1MiB: the user's other programs have pipes", "=32768"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		config.maxpipes = rows[i].maxpipes;
		config.pipe_bytes = rows[i].pipe_bytes;
		make_facts();
		facts.pipe_user_pages = rows[i].pages;
		facts.pipe_max_bytes = rows[i].max_bytes;
		facts.pipes = rows[i].got;
		facts.pipe_bytes = rows[i].got_bytes;
		expect(rows[i].state, rows[i].value, rows[i].remedy);
	}
}

Test(doctor_pipes, without_descriptors)
{
	make_facts();
	facts.capacity.host.descriptors = 60;
	facts.pipes = 25;
	expect(DOCTOR_WARN, "25 of 64 pipes of 1MiB can be had: descriptors are too few",
	       "see the line 'descriptors'");
}
