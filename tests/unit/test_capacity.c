/* SPDX-License-Identifier: MIT */
#include "config/capacity.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "base/util.h"
#include "os/host.h"
#include "support.h"

TestSuite(capacity, .fini = support_check_leaks);

struct capacity_row {
	const char *what;
	uint64_t option_workers, option_maxconn;
	struct capacity_host host;
	unsigned workers;
	uint32_t maxconn;
	bool descriptors_short, memory_short;
};

#define MIB (1ULL << 20)

static const struct capacity_row rows[] = {
	{"a roomy host", 0, 0, {4, {0, 0}, 1000000, 0}, 4, 100000, false, false},
	{"a quota of half a CPU", 0, 0, {4, {500, 0}, 1000000, 0}, 1, 100000, false, false},
	{"a quota of one and a half", 0, 0, {4, {1500, 0}, 1000000, 0}, 2, 100000, false, false},
	{"a quota above the mask", 0, 0, {2, {64000, 0}, 1000000, 0}, 2, 100000, false, false},
	{"--workers goes before the quota",
	 8,
	 0,
	 {2, {500, 0}, 1000000, 0},
	 8,
	 100000,
	 false,
	 false},
	{"more CPUs than workers", 0, 0, {1024, {0, 0}, 1000000, 0}, 256, 100000, false, false},
	{"512 MiB", 0, 0, {2, {0, 512 * MIB}, 1000000, 0}, 2, 15872, false, false},
	{"64 MiB", 0, 0, {2, {0, 64 * MIB}, 1000000, 0}, 2, 1536, false, false},
	{"hardly any memory", 0, 0, {2, {0, 4096}, 1000000, 0}, 2, 1, false, false},
	{"--maxconn above the memory", 0, 1537, {2, {0, 64 * MIB}, 10000, 0}, 2, 1537, false, true},
	{"--maxconn within the memory",
	 0,
	 1536,
	 {2, {0, 64 * MIB}, 10000, 0},
	 2,
	 1536,
	 false,
	 false},
	{"--maxconn above both", 0, 5000, {2, {0, 64 * MIB}, 1024, 0}, 2, 5000, true, true},
	{"no descriptors", 0, 0, {2, {0, 0}, 64, 0}, 2, 0, false, false},
};

Test(capacity, rows)
{
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct capacity_row *row = &rows[i];
		struct config config;
		struct capacity limits;

		config_init(&config);
		config.workers = row->option_workers;
		config.maxconn = row->option_maxconn;
		capacity_compute(&config, &row->host, &limits);
		cr_expect_eq(limits.workers, row->workers, "%s: %u", row->what, limits.workers);
		cr_expect_eq(limits.maxconn, row->maxconn, "%s: %u", row->what, limits.maxconn);
		cr_expect_geq(limits.pipes_per_worker, 1, "%s", row->what);
		cr_expect_eq(limits.maxconn > limits.descriptor_sessions, row->descriptors_short,
			     "%s", row->what);
		cr_expect_eq(limits.maxconn > limits.memory_sessions, row->memory_short, "%s",
			     row->what);
		config_finish(&config);
	}
}

/* What is called needed is enough, and one session fewer's need is not. */
Test(capacity, what_is_needed_is_enough)
{
	for (uint32_t maxconn = 1; maxconn < 8000000; maxconn = maxconn * 3 + 1) {
		struct capacity_host host = {.cpus = 2, .descriptors = 1024};
		struct config config;
		struct capacity limits;

		config_init(&config);
		config.maxconn = maxconn;
		host.cgroup.memory_bytes = 32 * MIB;
		capacity_compute(&config, &host, &limits);
		host.descriptors = limits.descriptors_needed;
		host.cgroup.memory_bytes = limits.memory_needed_bytes;
		capacity_compute(&config, &host, &limits);
		cr_expect_geq(limits.descriptor_sessions, maxconn);
		cr_expect_geq(limits.memory_sessions, maxconn);
		host.descriptors--;
		capacity_compute(&config, &host, &limits);
		cr_expect_lt(limits.descriptor_sessions, maxconn);
		config_finish(&config);
	}
}

struct cpus_row {
	uint64_t millis;
	const char *text;
};

Test(capacity, cpus_as_people_write_them)
{
	static const struct cpus_row texts[] = {{500, "0.5"},  {1500, "1.5"}, {1000, "1"},
						{20000, "20"}, {1, "0.001"},  {0, "0"},
						{1250, "1.25"}};
	char text[32];

	for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
		cr_expect_str_eq(capacity_print_cpus(texts[i].millis, text), texts[i].text, "%s",
				 text);
}

Test(capacity, this_host)
{
	struct capacity_host host;

	capacity_read_host("", &host);
	cr_expect_eq(host.cpus, host_cpu_count());
	cr_expect_gt(host.descriptors, 0);
}

Test(capacity, a_crowd_could_take_half_of_the_kernels_tcp_memory)
{
	struct capacity_host host = {.cpus = 2, .descriptors = 100000};
	struct capacity limits;
	struct config config;

	config_init(&config);
	host.tcp_pressure_bytes = 1ULL << 30;
	capacity_compute(&config, &host, &limits);
	cr_expect_eq(limits.crowd, 128);
	host.tcp_pressure_bytes = 0;
	capacity_compute(&config, &host, &limits);
	cr_expect_eq(limits.crowd, 0);
	config_finish(&config);
}
