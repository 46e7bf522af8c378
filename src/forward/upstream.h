/* SPDX-License-Identifier: MIT */
/*
 * The backends of one forward. An upstream chooses a backend for a session (pool.h), connects to
 * the backend and learns from the result. A session has a struct upstream_claim and calls
 *
 *	upstream_choose -> upstream_connect -> upstream_answered (-> upstream_choose ...)
 *	-> upstream_leave
 *
 * Each choice claims a member, and upstream_answered() is called at most once for it: a second call
 * aborts. The next choice gives the claim up, or upstream_leave(), which every session calls at its
 * end. A claim without an answer changes nothing for its backend. This file logs and counts the
 * changes of state that answers and checks cause. Any thread may call a function unless its comment
 * says otherwise. No function waits. `now_ms` is CLOCK_MONOTONIC.
 */
#pragma once

#include <stdint.h>

#include "base/addr_set.h"
#include "config/config.h"
#include "os/engine.h"
#include "pool/pool.h"
#include "stats/metrics.h"

/* Shared by all workers. */
struct upstream;

/*
 * Makes the upstream of a forward. `listen` is the forward's address, for the log; `tuning` is for
 * the sockets towards the backends. All arguments must outlive the upstream. Returns 0 or -ENOMEM.
 */
int upstream_create(struct upstream **upstream, const struct config_forward *config,
		    const struct addr *listen, const struct sock_tuning *tuning);

/* No claim may be held. NULL is allowed. */
void upstream_destroy(struct upstream *upstream);

/*
 * Where to count that a backend went down whose sessions are to be reset (--on-down reset). The
 * counter must outlive the upstream. Before the workers start.
 */
void upstream_set_outage_count(struct upstream *upstream, _Atomic uint32_t *count);

/* Claims --------------------------------------------------------------------------------------- */

enum upstream_stage {
	UPSTREAM_NOWHERE,   /* no member is claimed */
	UPSTREAM_CHOSEN,    /* a member is claimed; the result of the connect is not known */
	UPSTREAM_CONNECTED, /* a member is claimed until the session ends */
	UPSTREAM_FAILED,    /* the backend failed; its member is claimed until the next choice */
};

/* A session's claim on a member; zeroed before the first choice. */
struct upstream_claim {
	struct pool_claim member;
	uint16_t choices; /* so far */
	uint8_t stage;	  /* enum upstream_stage */
};

/* The session that a backend is chosen for. */
struct upstream_ask {
	struct pool_tried *tried;  /* is not chosen again; the member that failed is added */
	const struct addr *client; /* for --balance source */
	uint64_t now_ms;
};

/*
 * Chooses a backend that was not tried, for a claim in stage UPSTREAM_NOWHERE or UPSTREAM_FAILED.
 * If there is no further backend, the claim keeps the member that failed. Returns 0 or an enum
 * pool_refusal; POOL_ALL_TRIED also if --retries is used up.
 */
int upstream_choose(struct upstream *upstream, struct upstream_claim *claim,
		    const struct upstream_ask *ask);

/* The arguments and results of a connect. */
struct upstream_call {
	const struct addr *source; /* empty: the kernel chooses */
	uint64_t token;		   /* the engine answers with it */
	/* early data; it begins with the header, which travels completely or not at all */
	const char *early;
	uint32_t early_bytes;
	uint32_t header_bytes;
	/*
	 * Results, also of a connect that fails. After `congestion_error` the socket keeps the
	 * system's congestion control.
	 */
	uint32_t taken_bytes; /* of the early data: 0, or header_bytes or more */
	int congestion_error; /* 0, or -errno of setting the congestion control */
	int source_error;     /* 0, or -errno of bind(2) to the source address */
};

/*
 * Begins to connect to the chosen backend. Returns the socket, which the caller must close, or
 * -errno and nothing was begun. -EADDRNOTAVAIL: the source address cannot be bound; another one may
 * be tried. If the engine answers with a number > 0, sock_take_error() tells the result.
 */
int upstream_connect(const struct upstream *upstream, const struct upstream_claim *claim,
		     struct engine *engine, struct upstream_call *call);

/*
 * Takes the result of the connect to the chosen backend: 0 or -errno. An error that is not the
 * backend's fault, such as no descriptor or no port left here, does not count against the backend.
 */
void upstream_answered(struct upstream *upstream, struct upstream_claim *claim, int error,
		       uint64_t now_ms);

/*
 * The backend has reset a connection before a byte was passed in either direction: the session may
 * choose again, as after a failed connect. The reset does not count against the backend.
 */
void upstream_lost(struct upstream_claim *claim);

/* Gives up the claim, if a member is claimed. */
void upstream_leave(struct upstream *upstream, struct upstream_claim *claim);

/*
 * The address and the configuration of the claimed member, valid as long as the claim; NULL: no
 * member is claimed.
 */
const struct addr *upstream_address(const struct upstream *upstream,
				    const struct upstream_claim *claim);
const struct config_backend *upstream_backend(const struct upstream *upstream,
					      const struct upstream_claim *claim);

/*
 * The configuration of the members of a group of the pool (pool_snapshot()). For a former member
 * that only drains, which is not in the configuration any more: how it was configured. For a backend
 * that was added at run time: how it was added; a worker needs a claim on it.
 */
const struct config_backend *upstream_configured(const struct upstream *upstream, unsigned group);
/* The number of the claimed member's backend: upstream_configured(). The claim must be held. */
unsigned upstream_group(const struct upstream *upstream, const struct upstream_claim *claim);

/* Whether the session is connected to a backend that is down: pool_is_out(). */
bool upstream_is_out(const struct upstream *upstream, const struct upstream_claim *claim);

/*
 * Whether a backend gets a PROXY header: of the configuration, or added at run time. May be true
 * for a backend that was removed.
 */
bool upstream_sends_header(const struct upstream *upstream);

/* Checks --------------------------------------------------------------------------------------- */

/* The cause of a failed connect. */
enum upstream_fault {
	UPSTREAM_FAULT_BACKEND, /* the backend cannot be reached; every error not named below */
	UPSTREAM_FAULT_HERE, /* this host lacks descriptors, memory, ports or the source address */
	UPSTREAM_FAULT_PASSING, /* the backend is up: its backlog is full, or it reset us */
};

/*
 * Whose fault an error of socket(2) or connect(2) is, or a reset before a byte was passed. `error`:
 * errno or -errno. An error of bind(2) is never the backend's fault: pass -EADDRNOTAVAIL for it.
 */
enum upstream_fault upstream_fault_of(int error);

/* The members and their state, for pool_snapshot(). Control loop. */
const struct pool *upstream_pool(const struct upstream *upstream);

/* The result of a health check; the first three members are those of the snapshot. */
struct upstream_verdict {
	unsigned member;
	uint32_t generation;
	const struct addr *address;
	const char *fault; /* in words; NULL: the backend is healthy */
};

/* Takes and counts the result of a health check. Control loop. */
void upstream_checked(struct upstream *upstream, const struct upstream_verdict *verdict,
		      uint64_t now_ms);

/* Names ---------------------------------------------------------------------------------------- */

/*
 * Makes `addresses` the members of a backend that is configured by name. Members that stay keep
 * their health. Sessions of members that go continue. Returns 0, or -ENOSPC: the pool has no slot
 * for `left_out` of the addresses; it has POOL_MEMBERS_LIMIT slots, and members that still drain
 * take slots too. Control loop.
 */
int upstream_set_addresses(struct upstream *upstream, unsigned backend,
			   const struct addr_set *addresses, unsigned *left_out);

/* Changes at run time: upstream_change.c. Control loop -------------------------------------------- */

/* The most backends that can be added to a forward. */
#define UPSTREAM_ADDED_LIMIT 16

/*
 * Adds a backend: ADDRESS [PARAMETER[=VALUE] ...]. Returns its group, or -EINVAL, -ELOOP, -EEXIST or
 * -ENOSPC with `fault`.
 */
int upstream_add(struct upstream *upstream, const char *text, struct fault *fault);

/* Removes a member. Its sessions go on; its slot is free when the last of them has ended. */
void upstream_remove(struct upstream *upstream, unsigned member);

/*
 * Change a member, and for a backend by name also its later addresses. After POOL_ORDER_DOWN,
 * --on-down says what happens to the sessions: wake the workers.
 */
void upstream_set_weight(struct upstream *upstream, unsigned member, unsigned weight);
void upstream_set_maxconn(struct upstream *upstream, unsigned member, unsigned maxconn);
void upstream_set_order(struct upstream *upstream, unsigned member, enum pool_order order);

/* The words of the member's latest failed connect or check; NULL: none is known. Static. */
const char *upstream_last_error(const struct upstream *upstream, unsigned member);

/* The value of a metric about the forward's backends; 0 for another metric. Control loop. */
uint64_t upstream_metric(const struct upstream *upstream, enum metric metric);
