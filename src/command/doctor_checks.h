/* SPDX-License-Identifier: MIT */
/*
 * The checks of `sixpipe doctor`: pure functions of facts, so that tests can make up any host. Each
 * check is a row of one table, and yields a finding.
 */
#pragma once

#include <stdbool.h>

#include "config/capacity.h"
#include "config/config.h"
#include "forward/source_address.h"
#include "os/interfaces.h"

/* A number that the host does not show. */
#define DOCTOR_UNKNOWN (-1)

/* The longest value and remedy. */
#define DOCTOR_TEXT_BYTES 512

enum doctor_state {
	DOCTOR_OK,
	DOCTOR_WARN, /* sixpipe can serve, but not at its best */
	DOCTOR_FAIL, /* sixpipe cannot serve as configured */
};

/* An address to listen on, and the outcome of binding it. */
struct doctor_listener {
	struct addr address;
	const struct config_forward
		*activated; /* of systemd:NAME; NULL: sixpipe binds the address */
	int error;	    /* 0 or -errno */
	struct fault fault; /* why it cannot be bound; without a reason: it can be */
};

/* Numbers are those of the kernel's own files; DOCTOR_UNKNOWN where there is no such file. */
struct doctor_facts {
	const struct config *config;
	struct capacity capacity;
	bool root;
	struct fault user_fault;   /* why --user cannot be used; without a reason: it can */
	struct fault tuning_fault; /* the first of tuning_check() */
	struct fault loop_fault;   /* ... of config_loop_check() */
	struct fault file_fault;   /* which file cannot be used */

	unsigned kernel_major, kernel_minor;
	int ring_error;	    /* 0, or why there is no ring: -errno */
	char features[128]; /* of the ring */
	int64_t uring_disabled;
	int seccomp_mode; /* 2: a filter, PR_GET_SECCOMP of prctl(2) */
	uint64_t memlock_bytes;
	bool may_lock_memory; /* CAP_IPC_LOCK */

	int splice_error;      /* 0, or why splice(2) cannot be called: -errno */
	int sock_ops_programs; /* cgroup_count_sock_ops(): a number, or -errno */

	int64_t pipe_max_bytes;
	int64_t pipe_user_pages; /* 0: no limit */
	int64_t page_bytes;
	unsigned pipes;	     /* that the kernel gives now; 0: fewer than one per worker */
	uint32_t pipe_bytes; /* the size of the smallest pipe */

	struct doctor_listener listener; /* the first that cannot be bound, or else the first */
	struct doctor_listener metrics;	 /* the listener of --metrics */
	bool may_bind_low;		 /* CAP_NET_BIND_SERVICE */
	int64_t port_start;

	bool wants_v6;	       /* a listener is on IPv6, or there is none */
	int v6_error;	       /* -errno of opening an IPv6 socket, 0: it can be opened */
	enum interfaces_v6 v6; /* of the first listener that IPv6 is off for; of [::] without one */

	/* the first --source that cannot be used, or else the first; NULL: there is none */
	const struct config_source *source;
	struct fault source_fault; /* without a reason: all can be used */

	int64_t tcp_pressure_pages; /* the second of net.ipv4.tcp_mem */
	int64_t tcp_wmem_most, tcp_rmem_most;
	int64_t somaxconn;
	char congestion[32]; /* "": not known */
	/* the names that need no privilege; "": not known, or too many for a remedy */
	char allowed_congestion[80];
	const char *loopback_congestion; /* sock_choose_loopback_congestion() */
};

struct doctor_finding {
	enum doctor_state state;
	char value[DOCTOR_TEXT_BYTES];
	char remedy[DOCTOR_TEXT_BYTES]; /* "": nothing to do */
};

struct doctor_check {
	const char *name;
	/* Before the call `finding` is OK and empty. False: the check does not apply. */
	bool (*judge)(const struct doctor_facts *facts, struct doctor_finding *finding);
	/* without judge(): where the facts have the fault to tell, if there is one */
	size_t fault_at;
};

/* The table, in the order of the output. Static. */
const struct doctor_check *doctor_checks(size_t *count);

/* Runs one check. Returns whether it applies. */
bool doctor_judge(const struct doctor_check *check, const struct doctor_facts *facts,
		  struct doctor_finding *finding);
