/*
 * What the options and the host together come to: how many workers, pipes and sessions. Computed
 * once, at the start.
 */
#pragma once

#include "config/config.h"
#include "os/cgroup.h"

/* What --maxconn defaults to where descriptors and memory would allow more. */
#define CAPACITY_MAXCONN_DEFAULT_MOST 100000

/* Connections to --metrics at a time, those beyond wait in the backlog. */
#define CAPACITY_HTTP_CONNECTIONS 32

/* What --metrics opens at most: these, the listener and libmicrohttpd's epoll(7). */
#define CAPACITY_HTTP_DESCRIPTORS (CAPACITY_HTTP_CONNECTIONS + 2)

/* Connections to --admin at a time, and what it opens at most: these and the listener. */
#define CAPACITY_ADMIN_CONNECTIONS 32
#define CAPACITY_ADMIN_DESCRIPTORS (CAPACITY_ADMIN_CONNECTIONS + 1)

/* Active checks of backends at a time, each with one. */
#define CAPACITY_CHECK_DESCRIPTORS 64

/* What names of backends need at most: a UDP and a TCP socket per DNS server, and /etc/hosts. */
#define CAPACITY_DNS_DESCRIPTORS (2 * DNS_SERVERS_MOST + 1)

/* The new state file, or its directory, while it is written; and what the thread that writes it is asked and answers by. */
#define CAPACITY_SAVE_DESCRIPTORS 3

/* What the host allows. */
struct capacity_host {
	unsigned cpus; /* that the process may run on */
	struct cgroup_limits cgroup;
	uint64_t descriptors;
	uint64_t tcp_pressure_bytes; /* of all sockets' memory: the second of net.ipv4.tcp_mem */
};

struct capacity {
	struct capacity_host host;
	unsigned workers;
	unsigned pipes_per_worker;
	/*
	 * So many sessions are a crowd, in which each gets less of the kernel's memory: as many as,
	 * all stalled, would take half of what makes the kernel slow every socket down.
	 */
	uint32_t crowd;
	uint32_t maxconn; /* 0: the descriptors leave no room for a session */
	uint64_t descriptors_needed;
	uint32_t descriptor_sessions; /* that the descriptors are enough for */
	uint64_t memory_needed_bytes;
	uint32_t memory_sessions; /* that the control group's memory is enough for */
};

/*
 * Asks the host, and raises the soft limit on descriptors. `root` stands before the paths of /proc
 * and of control groups; "" is this host.
 */
void capacity_read_host(const char *root, struct capacity_host *host);

/* Works out the limits of a configuration on a host. */
void capacity_compute(const struct config *config, const struct capacity_host *host,
		      struct capacity *limits);

/* Prints thousandths of a CPU as people write them, "1.5", and returns `text`. */
const char *capacity_print_cpus(uint64_t cpu_millis, char text[32]);
