/* SPDX-License-Identifier: MIT */
/*
 * The parts of an upstream, for upstream*.c alone.
 *
 * A member's group says which backend it is of: first those of the configuration, by index; then
 * those that a process before this one had (`arrivals`); then those that commands have added.
 */
#pragma once

#include <stdatomic.h>

#include "forward/upstream.h"

/* Written at changes of state, and by the control loop; so no counter is hot. */
struct upstream_counts {
	_Atomic uint64_t downs;
	_Atomic uint64_t ups;
	_Atomic uint64_t checks;
	_Atomic uint64_t checks_failed;
};

/* A member of the upstream that this one takes over from. */
struct upstream_arrival {
	bool known;
	/* the member's slot in this pool; -1: not in this pool, and no session claims it yet */
	int slot;
	/* how the member was configured, of use to its sessions if this pool does not have it */
	struct config_backend backend;
	struct sockaddr_un local; /* of a local socket: the address points to it */
};

/* The latest error of the member that had this generation. */
struct upstream_error {
	_Atomic(const char *) words; /* static; NULL: none */
	_Atomic uint32_t generation;
};

/* What the commands of an administrator have made of a backend; members get it. */
struct upstream_terms {
	unsigned weight;
	unsigned maxconn; /* 0: none */
	enum pool_order order;
};

struct upstream {
	const struct config_forward *config;
	const struct addr *listen;
	const struct sock_tuning *tuning;
	struct pool *pool;
	struct upstream_counts counts;
	/* by slot of the former pool; NULL: nothing was taken over */
	struct upstream_arrival *arrivals;
	_Atomic uint32_t *outage_count;	    /* upstream_set_outage_count(); NULL: nobody asks */
	atomic_bool adds_header;	    /* a backend with send-proxy was added */
	struct upstream_error *last_errors; /* by member */
	/* the control loop's: of the backends of the configuration, then of the added ones */
	struct upstream_terms *terms;
	/* the control loop's; who holds a claim on its member reads an added backend too */
	struct config_added added[UPSTREAM_ADDED_LIMIT];
};

/* The group of the first added backend. */
static inline unsigned upstream_first_added(const struct upstream *upstream)
{
	return upstream->config->backend_count + POOL_MEMBERS_LIMIT;
}

/* The terms of a backend of the configuration, or of an added one. */
struct upstream_terms *upstream_terms(const struct upstream *upstream, unsigned group);

/* The member that backend `group` makes; the address is that of the backend. */
struct pool_member upstream_make_member(const struct upstream *upstream, unsigned group);

/* A backend went down: counts it where its sessions are to be reset. */
void upstream_count_outage(struct upstream *upstream);

/* The number of backends in use has changed: --max-fails may depend on it. */
void upstream_follow_count(struct upstream *upstream);
