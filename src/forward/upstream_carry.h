/* SPDX-License-Identifier: MIT */
/*
 * The backends of a forward on their way to a process that takes over. A member is matched by
 * address and name. A member that the new configuration does not have is kept as long as its
 * sessions, and gets no new sessions: its pool says POOL_DRAINING.
 *
 * Writing: no thread may change the pool. Reading: while no worker runs; the forward's members
 * first, then its claims.
 */
#pragma once

#include "forward/upstream.h"
#include "os/carrier.h"

/* Writes CARRIER_FORWARD and a CARRIER_MEMBER for each member. */
void upstream_write(const struct upstream *upstream, struct carrier *carrier);

/*
 * Takes what follows the name of the forward in a record of these kinds. `keep_changes`: also the
 * weight, the maxconn and the order that an administrator gave the member at run time. Returns 0,
 * -ENOMEM, or -EBADMSG if values are missing.
 */
int upstream_read_forward(struct upstream *upstream, struct carrier *carrier);
int upstream_read_member(struct upstream *upstream, struct carrier *carrier, bool keep_changes);

/* Puts a claim into a record that the caller has begun. */
void upstream_write_claim(const struct upstream_claim *claim, struct carrier *carrier);

/*
 * Takes the claim that was put, on the same member. Returns 0; -EBADMSG if the member was not read
 * before; or -ENOSPC if the pool has no slot for a member that the configuration does not have.
 * After an error no member is claimed.
 */
int upstream_read_claim(struct upstream *upstream, struct upstream_claim *claim,
			struct carrier *carrier);
