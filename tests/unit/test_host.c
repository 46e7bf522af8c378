/* SPDX-License-Identifier: MIT */
#include "os/host.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

TestSuite(host, .fini = support_check_leaks);

Test(host, cpus_that_the_process_may_use)
{
	unsigned all = host_cpu_count();
	cpu_set_t set;

	cr_expect_geq(all, 1);
	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	cr_assert(!sched_setaffinity(0, sizeof(set), &set));
	cr_expect_eq(host_cpu_count(), 1);
}

Test(host, a_thread_is_pinned_to_one_of_its_cpus)
{
	unsigned all = host_cpu_count();
	cpu_set_t allowed, pinned;

	cr_assert(!sched_getaffinity(0, sizeof(allowed), &allowed));
	for (unsigned index = 0; index < 2 * all; index++) {
		cr_expect_eq(host_pin_thread(index), 0);
		cr_assert(!sched_getaffinity(0, sizeof(pinned), &pinned));
		cr_expect_eq(CPU_COUNT(&pinned), 1);
		CPU_AND(&pinned, &pinned, &allowed);
		cr_expect_eq(CPU_COUNT(&pinned), 1, "%u: a CPU that is not allowed", index);
		cr_assert(!sched_setaffinity(0, sizeof(allowed), &allowed));
	}
}

struct workers_row {
	unsigned cpus;
	uint64_t cpu_millis;
	unsigned workers;
};

Test(host, workers_follow_the_quota_rounded_up)
{
	static const struct workers_row rows[] = {
		{4, 0, 4},    {4, 1, 1},    {4, 500, 1},  {4, 1000, 1}, {4, 1001, 2},
		{4, 1500, 2}, {4, 4000, 4}, {4, 4001, 4}, {1, 2000, 1}, {4, UINT64_MAX, 4},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		cr_expect_eq(host_workers_for(rows[i].cpus, rows[i].cpu_millis), rows[i].workers,
			     "row %zu: %u", i, host_workers_for(rows[i].cpus, rows[i].cpu_millis));
}

Test(host, reads_small_files)
{
	char text[8];

	cr_expect_eq(host_read_file("/proc", "/self/comm", text, sizeof(text)), 0);
	cr_expect_str_eq(text, "test_ho", "what does not fit is left out: '%s'", text);
	cr_expect_eq(host_read_file("", "/proc/no/such/file", text, sizeof(text)), -ENOENT);
	cr_expect_str_eq(text, "");
	cr_expect_eq(host_read_file("", "/proc", text, sizeof(text)), -EISDIR);
	cr_expect_str_eq(text, "");
}

Test(host, raises_the_descriptor_limit_to_the_hard_one)
{
	struct rlimit limit;

	cr_assert(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = 64;
	cr_assert(!setrlimit(RLIMIT_NOFILE, &limit));
	cr_expect_eq(host_raise_descriptor_limit(), limit.rlim_max);
	cr_assert(!getrlimit(RLIMIT_NOFILE, &limit));
	cr_expect_eq(limit.rlim_cur, limit.rlim_max);
	cr_expect_eq(host_raise_descriptor_limit(), limit.rlim_max, "twice is the same");
}

struct fixed_row {
	unsigned workers, forwards, pipes;
	uint64_t least; /* for listeners, rings, wake-ups and pipes */
};

Test(host, fixed_descriptors_hold_what_is_opened)
{
	static const struct fixed_row rows[] = {
		{1, 1, 1, 1 + 2 + 2},
		{4, 1, 64, 4 + 8 + 128},
		{256, 256, 65536, 256 * 256 + 512 + 131072},
	};
	uint64_t before = 0;

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		uint64_t fixed =
			host_fixed_descriptors(rows[i].workers, rows[i].forwards, rows[i].pipes, 0);

		cr_expect_gt(fixed, rows[i].least, "row %zu: %" PRIu64, i, fixed);
		cr_expect_lt(fixed, 3 * rows[i].least + 64, "row %zu: %" PRIu64, i, fixed);
		cr_expect_gt(fixed, before);
		before = fixed;
	}
}

Test(host, the_others_are_counted_too)
{
	cr_expect_eq(host_fixed_descriptors(2, 1, 8, 35), host_fixed_descriptors(2, 1, 8, 0) + 35);
}

struct sessions_row {
	uint64_t limit, fixed;
	uint32_t sessions;
};

Test(host, sessions_take_two_descriptors_each)
{
	static const struct sessions_row rows[] = {
		{0, 0, 0},
		{1, 0, 0},
		{2, 0, 1},
		{1024, 24, 500},
		{1024, 25, 499},
		{1024, 1022, 1},
		{1024, 1023, 0},
		{1024, 1024, 0},
		{1024, 1025, 0},
		{10, UINT64_MAX, 0},
		{1ULL << 33, 0, UINT32_MAX},
		{UINT64_MAX, 100, UINT32_MAX}, /* RLIM_INFINITY */
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		cr_expect_eq(host_sessions_for(rows[i].limit, rows[i].fixed), rows[i].sessions,
			     "row %zu: %u", i, host_sessions_for(rows[i].limit, rows[i].fixed));
}

/* A file that does not exist has no inode; its directory has one. */
Test(host, paths_of_one_file)
{
	static const struct {
		const char *a, *b;
		bool same;
	} rows[] = {
		{"d/x", "d/x", true},	 {"d/x", "./d/x", true},     {"d/x", "d/../d/x", true},
		{"d/x", "link/x", true}, {"x", "./x", true},	     {"d/x", "d/y", false},
		{"d/x", "x", false},	 {"no/x", "no/../x", false},
	};
	char directory[] = "/tmp/test_host.XXXXXX";

	cr_assert_not_null(mkdtemp(directory));
	cr_assert(!chdir(directory) && !mkdir("d", 0700) && !symlink("d", "link"));
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		cr_expect_eq(host_is_same_file(rows[i].a, rows[i].b), rows[i].same, "%s and %s",
			     rows[i].a, rows[i].b);
	cr_assert(!unlink("link") && !rmdir("d") && !chdir("/") && !rmdir(directory));
}

Test(host, directories_of_paths)
{
	static const char *const rows[][2] = {
		{"state", "."},		{"/state", "/"},  {"a/state", "a"},
		{"/a/b/state", "/a/b"}, {"./state", "."}, {"a//state", "a/"},
	};
	char text[32];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		cr_expect_str_eq(host_directory_of(rows[i][0], text, sizeof(text)), rows[i][1]);
}

Test(host, words_of_lists)
{
	static const struct {
		const char *list;
		const char *separators;
		const char *word;
		bool listed;
	} rows[] = {
		{"rw,cpu,cpuacct", ",", "rw", true},
		{"rw,cpu,cpuacct", ",", "cpu", true},
		{"rw,cpu,cpuacct", ",", "cpuacct", true},
		{"rw,cpuacct", ",", "cpu", false},
		{"rw,cpu", ",", "w", false},
		{"rw,cpu", ",", "rw,cpu", false},
		{"reno  cubic ", " ", "cubic", true},
		{"reno cubic", ",", "reno", false},
		{"reno cubic", ", ", "cubic", true},
		{"", ",", "cpu", false},
		{",,cpu", ",", "cpu", true},
		{"cpu", ",", "cpuset", false},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		cr_expect_eq(host_lists(rows[i].list, rows[i].separators, rows[i].word),
			     rows[i].listed, "'%s' in '%s'", rows[i].word, rows[i].list);
}
