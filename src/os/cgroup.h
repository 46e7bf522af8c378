/*
 * What the process's control groups allow it: cgroups(7), versions 1 and 2, together or alone. Only
 * files are read, below a root directory that tests may make up.
 *
 * A group's limit holds for all below it, so the least from the process's own group up to the mount
 * counts. A group that the mount does not show (a container's view of version 1) is looked for at
 * the mount's own root.
 */
#pragma once

#include <stdint.h>

struct cgroup_limits {
	uint64_t cpu_millis;   /* CPU quota in thousandths of a CPU, rounded up; 0: none */
	uint64_t memory_bytes; /* 0: no limit */
};

/*
 * Reads the limits through `root`/proc/self/cgroup and `root`/proc/self/mountinfo (proc(5)); `root`
 * is "" for this host. What cannot be read or understood is no limit.
 */
void cgroup_read_limits(const char *root, struct cgroup_limits *limits);

/*
 * How many eBPF programs look at the connections of this process's control group, its parents' included, and may put
 * their sockets into a sockmap: BPF_PROG_QUERY of BPF_CGROUP_SOCK_OPS, bpf(2), Linux 4.15. Returns the number or -errno:
 * -EPERM without CAP_NET_ADMIN, -ENOENT where no hierarchy of version 2 is mounted.
 */
int cgroup_count_sock_ops(void);

/*
 * The values of single files, with or without a newline; 0 for "no limit" and for what has not the
 * form. `text` of cpu.max is "max 100000" or "150000 100000", microseconds both.
 */
uint64_t cgroup_parse_cpu_max(const char *text);
uint64_t cgroup_parse_cfs(const char *quota_text, const char *period_text);
uint64_t cgroup_parse_memory(const char *text);
