/* SPDX-License-Identifier: MIT */
#include "os/cgroup.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

TestSuite(cgroup, .fini = support_check_leaks);

struct value_row {
	const char *text;
	uint64_t value;
};

Test(cgroup, cpu_max)
{
	static const struct value_row rows[] = {
		{"max 100000\n", 0},
		{"max 100000", 0},
		{"50000 100000\n", 500},
		{"150000 100000", 1500},
		{"100001 100000\n", 1001}, /* rounded up: a little more than one CPU */
		{"1000 1000000\n", 1},
		{"1 1000000\n", 1},
		{"3200000 100000\n", 32000},
		{"100000", 0}, /* no period */
		{"100000 0", 0},
		{"0 100000", 0},
		{"-1 100000", 0},
		{"", 0},
		{"\n", 0},
		{"18446744073709551615 100000", 0},
		{"99999999999999999999999999999999999999 100000", 0},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		cr_expect_eq(cgroup_parse_cpu_max(rows[i].text), rows[i].value, "'%s': %" PRIu64,
			     rows[i].text, cgroup_parse_cpu_max(rows[i].text));
}

Test(cgroup, cfs_quota)
{
	cr_expect_eq(cgroup_parse_cfs("-1\n", "100000\n"), 0);
	cr_expect_eq(cgroup_parse_cfs("50000\n", "100000\n"), 500);
	cr_expect_eq(cgroup_parse_cfs("25000", "10000"), 2500);
	cr_expect_eq(cgroup_parse_cfs("50000\n", ""), 0);
	cr_expect_eq(cgroup_parse_cfs("", "100000\n"), 0);
}

Test(cgroup, memory)
{
	static const struct value_row rows[] = {
		{"max\n", 0},
		{"536870912\n", 536870912},
		{"4096", 4096},
		{"9223372036854771712\n", 0}, /* version 1's "no limit" */
		{"9223372036854710272\n", 0}, /* the same with pages of 64 KiB */
		{"", 0},
		{"512M\n", 0},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		cr_expect_eq(cgroup_parse_memory(rows[i].text), rows[i].value, "'%s'",
			     rows[i].text);
}

/* A root directory of files ---------------------------------------------------------------------- */

struct file {
	const char *path;
	const char *text;
};

struct tree_row {
	const char *what;
	struct file files[10];
	uint64_t cpu_millis;
	uint64_t memory_bytes;
};

#define V2_MOUNT       "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNT(name) "31 30 0:27 / /sys/fs/cgroup/" name " rw - cgroup cgroup rw," name "\n"
#define OTHER_MOUNTS                                                                               \
	"22 28 0:21 / /proc rw,relatime shared:12 master:1 - proc proc rw\n"                       \
	"not a line\n\n31\n32 1 0:1 / / rw\n33 1 0:1 / / rw - x\n34 1 0:1 / / rw - cgroup2 x\n"

static const struct tree_row tree_rows[] = {
	{"nothing at all", {{"/proc/self/other", ""}}, 0, 0},
	{"no mount",
	 {{"/proc/self/cgroup", "0::/\n"}, {"/proc/self/mountinfo", OTHER_MOUNTS}},
	 0,
	 0},
	{"version 2, the root group, which has no limits",
	 {{"/proc/self/cgroup", "0::/\n"},
	  {"/proc/self/mountinfo", V2_MOUNT},
	  {"/sys/fs/cgroup/cgroup.procs", ""}},
	 0,
	 0},
	{"version 2, a container's namespace",
	 {{"/proc/self/cgroup", "0::/\n"},
	  {"/proc/self/mountinfo", OTHER_MOUNTS V2_MOUNT},
	  {"/sys/fs/cgroup/cpu.max", "150000 100000\n"},
	  {"/sys/fs/cgroup/memory.max", "268435456\n"}},
	 1500,
	 268435456},
	{"version 2, an ancestor allows less CPU, the group itself less memory",
	 {{"/proc/self/cgroup", "0::/a.slice/b.service/c\n"},
	  {"/proc/self/mountinfo", V2_MOUNT},
	  {"/sys/fs/cgroup/a.slice/cpu.max", "50000 100000\n"},
	  {"/sys/fs/cgroup/a.slice/memory.max", "max\n"},
	  {"/sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n"},
	  {"/sys/fs/cgroup/a.slice/b.service/memory.max", "2000000\n"},
	  {"/sys/fs/cgroup/a.slice/b.service/c/cpu.max", "300000 100000\n"},
	  {"/sys/fs/cgroup/a.slice/b.service/c/memory.max", "1000000\n"},
	  {"/sys/fs/cgroup/other/cpu.max", "1000 100000\n"}},
	 500,
	 1000000},
	{"version 2, the mount shows a part of the tree",
	 {{"/proc/self/cgroup", "0::/docker/id/inner\n"},
	  {"/proc/self/mountinfo", "30 23 0:26 /docker/id /sys/fs/cgroup ro - cgroup2 cgroup rw\n"},
	  {"/sys/fs/cgroup/cpu.max", "200000 100000\n"},
	  {"/sys/fs/cgroup/inner/memory.max", "5000000\n"},
	  {"/sys/fs/cgroup/cgroup.procs", ""}},
	 2000,
	 5000000},
	{"version 1, each controller its own mount",
	 {{"/proc/self/cgroup", "9:name=systemd:/\n4:memory:/m\n2:cpuacct:/x\n1:cpu:/c\n0::/\n"},
	  {"/proc/self/mountinfo",
	   V1_MOUNT("cpuacct") V1_MOUNT("cpu") V1_MOUNT("memory") OTHER_MOUNTS},
	  {"/sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "250000\n"},
	  {"/sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n"},
	  {"/sys/fs/cgroup/cpuacct/x/cpu.cfs_quota_us", "1000\n"},
	  {"/sys/fs/cgroup/cpuacct/x/cpu.cfs_period_us", "100000\n"},
	  {"/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "9223372036854771712\n"},
	  {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "70000000\n"}},
	 2500,
	 70000000},
	{"version 1, controllers together, in a container that sees only its own part",
	 {{"/proc/self/cgroup", "4:cpu,cpuacct:/docker/id\n3:memory:/docker/id\n"},
	  {"/proc/self/mountinfo",
	   "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" V1_MOUNT(
		   "memory")},
	  {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n"},
	  {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"},
	  {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "33554432\n"}},
	 1000,
	 33554432},
	{"both versions: CPU in one, memory in the other",
	 {{"/proc/self/cgroup", "1:cpu:/\n0::/u\n"},
	  {"/proc/self/mountinfo", V1_MOUNT("cpu") V2_MOUNT},
	  {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"},
	  {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"},
	  {"/sys/fs/cgroup/u/memory.max", "12345678\n"}},
	 0,
	 12345678},
	{"another container's part of the tree is mounted as well",
	 {{"/proc/self/cgroup", "0::/mine\n"},
	  {"/proc/self/mountinfo",
	   "40 23 0:26 /other /mnt/other rw - cgroup2 cgroup2 rw\n" V2_MOUNT},
	  {"/mnt/other/cpu.max", "1000 100000\n"},
	  {"/sys/fs/cgroup/mine/cpu.max", "400000 100000\n"}},
	 4000,
	 0},
	{"a name that only begins like the mount's root is not below it",
	 {{"/proc/self/cgroup", "0::/other2/x\n"},
	  {"/proc/self/mountinfo",
	   "40 23 0:26 /other /mnt/a rw - cgroup2 c rw\n41 23 0:26 / /mnt/b rw - cgroup2 c rw\n"},
	  {"/mnt/a/cpu.max", "1000 100000\n"},
	  {"/mnt/b/other2/x/cpu.max", "700000 100000\n"}},
	 7000,
	 0},
	{"blanks in a mount point",
	 {{"/proc/self/cgroup", "0::/\n"},
	  {"/proc/self/mountinfo", "30 23 0:26 / /sys/c\\040g\\134x rw - cgroup2 cgroup2 rw\n"},
	  {"/sys/c g\\x/cpu.max", "900000 100000\n"}},
	 9000,
	 0},
	{"a group outside of the namespace",
	 {{"/proc/self/cgroup", "0::/../../x\n"},
	  {"/proc/self/mountinfo", "30 23 0:26 /.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"},
	  {"/sys/fs/cgroup/memory.max", "8000000\n"}},
	 0,
	 8000000},
};

Test(cgroup, trees)
{
	for (size_t i = 0; i < ARRAY_COUNT(tree_rows); i++) {
		const struct tree_row *row = &tree_rows[i];
		char root[] = "/tmp/sixpipe-cgroup-XXXXXX";
		struct cgroup_limits limits = {1, 1};

		cr_assert_not_null(mkdtemp(root));
		for (size_t j = 0; j < ARRAY_COUNT(row->files) && row->files[j].path; j++)
			support_put_file(root, row->files[j].path, row->files[j].text);
		cgroup_read_limits(root, &limits);
		cr_expect_eq(limits.cpu_millis, row->cpu_millis, "%s: cpu %" PRIu64, row->what,
			     limits.cpu_millis);
		cr_expect_eq(limits.memory_bytes, row->memory_bytes, "%s: memory %" PRIu64,
			     row->what, limits.memory_bytes);
		support_remove_tree(root);
	}
}

Test(cgroup, leaves_no_descriptor_open)
{
	unsigned before = support_count_descriptors();
	struct cgroup_limits limits;

	cgroup_read_limits("", &limits);
	cr_expect_eq(support_count_descriptors(), before);
}
