/*
 * The backends of one forward, for its sessions: which one a session gets (pool.h), the socket on
 * its way there, and what became of it. A session has a struct upstream_claim and goes
 *
 *	upstream_choose -> upstream_connect -> upstream_answered (-> upstream_choose ...) -> upstream_leave
 *
 * Each choice claims a member, and is answered once at most: a second answer aborts. The
 * claim is given up by the next choice or by upstream_leave(), which every session comes to, whatever
 * it was doing; a claim that was never answered says nothing about its backend. The changes of state that
 * answers and checks bring about are logged and counted here. All functions are for any thread unless
 * they say otherwise, and do not wait; `now_ms` is CLOCK_MONOTONIC.
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

/* Each must outlive the upstream. */
struct upstream_setup {
	const struct config_forward *config; /* one that config_check() has seen */
	const struct addr *listen;	     /* of the forward's listener, for the log */
	const struct sock_tuning *tuning;    /* of sockets towards the backends */
};

/* Returns 0 or -ENOMEM. */
int upstream_create(struct upstream **upstream, const struct upstream_setup *setup);

/* No claim may be held any more. NULL is allowed. */
void upstream_destroy(struct upstream *upstream);

/* Claims --------------------------------------------------------------------------------------- */

enum upstream_stage {
	UPSTREAM_NOWHERE,   /* no member is claimed */
	UPSTREAM_CHOSEN,    /* a member is claimed, and how the connect goes is not known */
	UPSTREAM_CONNECTED, /* a member is claimed until the session ends */
	UPSTREAM_FAILED,    /* as before, of a backend that failed: until the next choice */
};

/* What a session has of a pool of backends; zeroed: before the first choice. */
struct upstream_claim {
	struct pool_claim member;
	uint16_t choices; /* so far */
	uint8_t stage;	  /* enum upstream_stage */
};

/* Who a backend is chosen for. */
struct upstream_ask {
	struct pool_tried *tried;  /* gets the member that failed; none of `tried` is chosen */
	const struct addr *client; /* read where the forward wants that */
	uint64_t now_ms;
};

/*
 * Chooses a backend that was not tried. The claim must be at the beginning, or its last choice have failed; if no
 * further choice can be made, the claim stays with that. Returns 0 or an enum pool_refusal, POOL_ALL_TRIED also
 * where --retries is used up.
 */
int upstream_choose(struct upstream *upstream, struct upstream_claim *claim,
		    const struct upstream_ask *ask);

/* A connect: how it is to be made, and what came of it. */
struct upstream_call {
	const struct addr *source; /* none: the kernel's choice */
	uint64_t token;		   /* the engine answers with it */
	/* what may travel with the SYN; the header, which comes first, wholly or not at all */
	const char *early;
	uint32_t early_bytes;
	uint32_t header_bytes;
	/* how much of that does: 0 or header_bytes at least; set by upstream_connect() */
	uint32_t taken_bytes;
	/*
	 * 0, or -errno of setting the congestion control: the socket then keeps the system's. Set by
	 * upstream_connect(), also where the connect fails.
	 */
	int congestion_error;
	int source_error; /* 0, or -errno of binding the source: bind(2). Set by upstream_connect() */
};

/*
 * Begins to connect to the chosen backend. Returns the socket, the caller's to close, or -errno, and
 * then nothing was begun. -EADDRNOTAVAIL: the source address of the call cannot be bound, and another
 * may be tried. An answer > 0 means that sock_take_error() knows it.
 */
int upstream_connect(const struct upstream *upstream, const struct upstream_claim *claim,
		     struct engine *engine, struct upstream_call *call);

/*
 * How the connect to the chosen backend went: 0 or -errno. What is no fault of the backend, such as
 * no descriptor or no port left here, is not held against it.
 */
void upstream_answered(struct upstream *upstream, struct upstream_claim *claim, int error,
		       uint64_t now_ms);

/*
 * The backend that answered has reset the connection since, and no byte was passed in either direction: the claim may go on
 * as after a connect that failed. Nothing is held against the backend.
 */
void upstream_lost(struct upstream_claim *claim);

/* Gives up the claim, if a member is claimed. */
void upstream_leave(struct upstream *upstream, struct upstream_claim *claim);

/* The address of the member that is claimed, valid as long, and what is configured for it; NULL: none is claimed. */
const struct addr *upstream_address(const struct upstream *upstream,
				    const struct upstream_claim *claim);
const struct config_backend *upstream_backend(const struct upstream *upstream,
					      const struct upstream_claim *claim);

/*
 * Turns keepalive on for a connection that has lasted a while: a short one does not live to need
 * it.
 */
void upstream_keep_alive(const struct upstream *upstream, int fd);

/* Checks --------------------------------------------------------------------------------------- */

/* What a failed connect is the fault of. */
enum upstream_fault {
	UPSTREAM_FAULT_BACKEND, /* whatever is not in the other lists: nothing can be had from it */
	UPSTREAM_FAULT_HERE, /* this host lacks descriptors, memory, local ports or the source address */
	UPSTREAM_FAULT_PASSING, /* the backend is there: its backlog is full, or it reset this connection */
};

/*
 * Whose fault it is that socket(2) or connect(2) failed with `error`, an errno of either sign, or that the
 * connection was reset before a byte was passed. For bind(2) no errno is the backend's: whoever binds
 * passes on -EADDRNOTAVAIL.
 */
enum upstream_fault upstream_fault_of(int error);

/* The members, and what is known of them: pool_snapshot(). Control thread. */
const struct pool *upstream_pool(const struct upstream *upstream);

/* What a check has found out; of whom, a snapshot said. */
struct upstream_verdict {
	unsigned member;
	uint32_t generation;
	const struct addr *address;
	const char *fault; /* what was wrong, in words; NULL: it is fit */
};

/* Control thread. Takes a verdict, and counts it. */
void upstream_checked(struct upstream *upstream, const struct upstream_verdict *verdict,
		      uint64_t now_ms);

/* Names ---------------------------------------------------------------------------------------- */

/*
 * Makes `addresses` the members of a backend that is configured by name: those that stay keep their
 * health, sessions with those that go go on. Returns 0, or -ENOSPC when some found no slot in the
 * pool, all of which, those still draining included, are POOL_MEMBERS_LIMIT; `left_out` says how
 * many. Control thread.
 */
int upstream_set_addresses(struct upstream *upstream, unsigned backend,
			   const struct addr_set *addresses, unsigned *left_out);

/* The metrics that are about the forward's backends; 0 for all others. Control thread. */
uint64_t upstream_metric(const struct upstream *upstream, enum metric metric);
