/* SPDX-License-Identifier: MIT */
/*
 * All that a session holds of its forward: its count, client ticket, source address and claim on a
 * backend. The session takes them step by step:
 *
 *	tenancy_begin -> tenancy_enter -> tenancy_choose_source -> tenancy_choose_backend ...
 *
 * tenancy_end() gives all of them back, after any of these steps, also for a connection that never
 * becomes a session. The functions do not wait. Only one thread uses a tenancy at a time. `now_ms`
 * is CLOCK_MONOTONIC.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "forward/forward.h"
#include "os/carrier.h"
#include "stats/close_reason.h"

/* All zeros: nothing is held. */
struct tenancy {
	struct forward *forward;
	/* of the connections to backends; with the port of the latest connect if that is logged */
	struct addr source;
	struct upstream_claim claim; /* on a member of the upstream */
	client_ticket ticket;	     /* of the client limits */
	bool counted : 1;	     /* for --maxconn-forward, until tenancy_end() */
	bool leased : 1;	     /* `source` is from a lease pool */
	bool embedded : 1;	     /* `source` is the address inside the client's */
};

/*
 * Counts a connection of the forward. False: --maxconn-forward is reached, and nothing is held. To
 * wait for room, wait until any session ends: load_wait().
 */
bool tenancy_begin(struct tenancy *tenancy, struct forward *forward);

/*
 * Makes the tenancy of a connection that tenancy_begin() has counted already: it comes from accept
 * or from another worker, as a descriptor without its tenancy.
 */
void tenancy_resume(struct tenancy *tenancy, struct forward *forward);

/* Asks whether the client may have a session, and counts it: admission_enter(). Call it once. */
enum admission_verdict tenancy_enter(struct tenancy *tenancy, const struct addr *client,
				     uint64_t now_ms);

/*
 * Sets the source address: source_address_choose(). It is empty if the kernel chooses. `embedded`:
 * the address inside the client's may be chosen. If that address turns out unusable, call this
 * again without `embedded`. Returns 0 or -EADDRNOTAVAIL.
 */
int tenancy_choose_source(struct tenancy *tenancy, const struct addr *client, bool embedded,
			  uint64_t now_ms);

/* Makes the source address what was chosen, without what the latest connect has added. */
void tenancy_restore_source(struct tenancy *tenancy);

/* Claims a member, as upstream_choose() does; adds the member that failed before to `tried`. */
int tenancy_choose_backend(struct tenancy *tenancy, struct pool_tried *tried,
			   const struct addr *client, uint64_t now_ms);

/* The address and the configuration of the claimed member; NULL: no member is claimed. */
const struct addr *tenancy_backend_address(const struct tenancy *tenancy);
const struct config_backend *tenancy_backend(const struct tenancy *tenancy);

/*
 * Puts what is held into a record that the caller has begun (os/carrier.h). The tenancy must be
 * counted, and no thread may change it.
 */
void tenancy_write(const struct tenancy *tenancy, struct carrier *carrier);

/*
 * Takes what tenancy_write() has put, and holds the same of the forward with the same name, whatever
 * its limits and rules say. `client` is the client whose tickets and leases these are. Before the
 * workers start, and after forwards_read() of all that precedes. If the pool of source addresses is
 * another one, the source address stays what it was, but is not leased.
 *
 * Returns 0; -ENOENT if there is no such forward; -EBADMSG if the record makes no sense; or -ENOSPC
 * if the forward has no slot left for a backend that the configuration does not have any more.
 * After an error nothing is held.
 */
int tenancy_read(struct tenancy *tenancy, struct forwards *forwards, const struct addr *client,
		 struct carrier *carrier);

/*
 * Whether the session must end at once, and why: its backend is down and its forward has --on-down
 * reset, or the forward's time to drain is over.
 */
bool tenancy_must_end(const struct tenancy *tenancy, enum close_reason *reason);

/* Gives back all that is held; harmless if nothing is held. */
void tenancy_end(struct tenancy *tenancy, uint64_t now_ms);
