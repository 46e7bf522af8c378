/* SPDX-License-Identifier: MIT */
/* The parts of an upstream, for upstream*.c alone. */
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

struct upstream {
	const struct config_forward *config;
	const struct addr *listen;
	const struct sock_tuning *tuning;
	struct pool *pool;
	struct upstream_counts counts;
	/* by slot of the former pool; NULL: nothing was taken over */
	struct upstream_arrival *arrivals;
};
