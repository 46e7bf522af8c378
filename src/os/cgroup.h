/* SPDX-License-Identifier: MIT */
/*
 * The limits of the process's control groups: cgroups(7), versions 1 and 2, together or alone. Only
 * files are read, below a root directory that a test can choose.
 *
 * A limit holds for all groups below it, so the least limit counts, from the process's own group up
 * to the root of the mount. If the mount does not show the process's group (version 1 in a
 * container), the root of the mount is taken as that group.
 */
#pragma once

#include <stdint.h>

struct cgroup_limits {
	uint64_t cpu_millis;   /* CPU quota in thousandths of a CPU, rounded up; 0: no limit */
	uint64_t memory_bytes; /* 0: no limit */
};

/*
 * Reads the limits through `root`/proc/self/cgroup and `root`/proc/self/mountinfo (proc(5)); `root`
 * is "" for this host. A limit that cannot be read or understood counts as "no limit".
 */
void cgroup_read_limits(const char *root, struct cgroup_limits *limits);

/*
 * Counts the eBPF programs that are attached to the connections of this process's control group or
 * its parents. They can put sockets into a sockmap. BPF_PROG_QUERY of BPF_CGROUP_SOCK_OPS, bpf(2),
 * Linux 4.15. Returns the number or -errno: -EPERM without CAP_NET_ADMIN, -ENOENT if no hierarchy
 * of version 2 is mounted.
 */
int cgroup_count_sock_ops(void);

/*
 * Parse the text of one file, with or without a newline. They return 0 for "no limit" and for a
 * malformed text. `text` of cpu.max is "max 100000" or "150000 100000": quota and period in
 * microseconds.
 */
uint64_t cgroup_parse_cpu_max(const char *text);
uint64_t cgroup_parse_cfs(const char *quota_text, const char *period_text);
uint64_t cgroup_parse_memory(const char *text);
