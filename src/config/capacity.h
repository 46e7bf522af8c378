/* SPDX-License-Identifier: MIT */
/*
 * The numbers of workers, pipes and sessions, from the options and the host. Computed once, at the
 * start.
 */
#pragma once

#include "config/config.h"
#include "os/cgroup.h"

/* The largest default of --maxconn; descriptors and memory may allow less. */
#define CAPACITY_MAXCONN_DEFAULT_MOST 100000

/* Connections to --metrics at a time; others wait in the backlog. */
#define CAPACITY_HTTP_CONNECTIONS 32

/* Descriptors of --metrics: the connections, the listener and libmicrohttpd's epoll(7). */
#define CAPACITY_HTTP_DESCRIPTORS (CAPACITY_HTTP_CONNECTIONS + 2)

/* Connections to --admin at a time, and its descriptors: the connections and the listener. */
#define CAPACITY_ADMIN_CONNECTIONS 32
#define CAPACITY_ADMIN_DESCRIPTORS (CAPACITY_ADMIN_CONNECTIONS + 1)

/* The log's file or socket, and a second one while it is opened anew. */
#define CAPACITY_LOG_DESCRIPTORS 2

/* Active checks of backends at a time; each has one descriptor. */
#define CAPACITY_CHECK_DESCRIPTORS 64

/* Descriptors for names of backends: a UDP and a TCP socket per DNS server, and /etc/hosts. */
#define CAPACITY_DNS_DESCRIPTORS (2 * DNS_SERVERS_MOST + 1)

/*
 * Descriptors of --pseudo-state: the new file or its directory, and two for messages to and from
 * the saver.
 */
#define CAPACITY_SAVE_DESCRIPTORS 3

/* The limits of the host. */
struct capacity_host {
	unsigned cpus; /* CPUs that the process may run on */
	struct cgroup_limits cgroup;
	uint64_t descriptors;
	uint64_t tcp_pressure_bytes; /* of all sockets' memory: the second of net.ipv4.tcp_mem */
};

struct capacity {
	struct capacity_host host;
	unsigned workers;
	unsigned pipes_per_worker;
	/*
	 * From this number of sessions on, each gets less of the kernel's memory. So many sessions,
	 * all stalled, would take half of the memory at which the kernel slows every socket down.
	 */
	uint32_t crowd;
	uint32_t maxconn; /* 0: the descriptors leave no room for a session */
	uint64_t descriptors_needed;
	uint32_t descriptor_sessions; /* sessions that the descriptors are enough for */
	uint64_t memory_needed_bytes;
	uint32_t memory_sessions; /* sessions that the control group's memory is enough for */
};

/*
 * Reads the limits of the host, and raises the soft limit on descriptors. `root` is put before the
 * paths of /proc and of control groups; "" is this host.
 */
void capacity_read_host(const char *root, struct capacity_host *host);

/* Computes the limits of a configuration on a host. */
void capacity_compute(const struct config *config, const struct capacity_host *host,
		      struct capacity *limits);

/* Prints thousandths of a CPU as people write them, "1.5", and returns `text`. */
const char *capacity_print_cpus(uint64_t cpu_millis, char text[32]);
