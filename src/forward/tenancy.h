/*
 * What a session holds of its forward. It is taken step by step as the session comes to know its client, its source
 * address and its backend:
 *
 *	tenancy_begin -> tenancy_enter -> tenancy_choose_source -> tenancy_choose_backend ... -> tenancy_end
 *
 * and given back by the one call, however far the session came. A connection that never becomes a session
 * gives its own back in the same way. The functions do not wait; each tenancy is one thread's at a time. `now_ms`
 * is CLOCK_MONOTONIC.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "forward/forward.h"

/* All zeros: nothing is held. */
struct tenancy {
	struct forward *forward;
	/* of the connections to backends; its port is of the latest connect, if that is to be logged */
	struct addr source;
	struct upstream_claim claim; /* with a member of the pool of backends */
	client_ticket ticket;	     /* of the client limits */
	bool counted : 1;	     /* for --maxconn-forward; as long as the tenancy lasts */
	bool leased : 1;	     /* `source` is out of a lease pool */
	bool embedded : 1;	     /* `source` is the address inside the client's */
};

/*
 * Begins with a connection of the forward: counts it. False, and nothing is held: --maxconn-forward is reached. Who
 * waits for that waits for any session to end: load_wait().
 */
bool tenancy_begin(struct tenancy *tenancy, struct forward *forward);

/*
 * Goes on with a connection that tenancy_begin() has counted, and that came here without its tenancy: from accept, or from
 * another worker.
 */
void tenancy_resume(struct tenancy *tenancy, struct forward *forward);

/* Asks whether the client is served, and counts it at the client limits: admission_enter(). Once. */
enum admission_verdict tenancy_enter(struct tenancy *tenancy, const struct addr *client,
				     uint64_t now_ms);

/*
 * Sets the source address, none where the kernel chooses; with `embedded`, the one inside the client's address where
 * that is wanted. Returns 0 or -EADDRNOTAVAIL: source_address_choose(). A second call is for a session whose source was
 * an embedded one.
 */
int tenancy_choose_source(struct tenancy *tenancy, const struct addr *client, bool embedded,
			  uint64_t now_ms);

/* The source address as it was chosen, without what the latest connect has added to it. */
void tenancy_restore_source(struct tenancy *tenancy);

/* Claims a member; in place of one that failed, which `tried` gets. Returns what upstream_choose() does. */
int tenancy_choose_backend(struct tenancy *tenancy, struct pool_tried *tried,
			   const struct addr *client, uint64_t now_ms);

/* The address of the member that is claimed, and what is configured for it; NULL: none is claimed. */
const struct addr *tenancy_backend_address(const struct tenancy *tenancy);
const struct config_backend *tenancy_backend(const struct tenancy *tenancy);

/* Gives back all that is held; harmless when that is nothing. */
void tenancy_end(struct tenancy *tenancy, uint64_t now_ms);
