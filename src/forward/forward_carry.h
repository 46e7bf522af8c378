/* SPDX-License-Identifier: MIT */
/*
 * The state of the forwards on its way to a process that takes over, but for their sessions
 * (tenancy.h). Forwards are matched by name, lease pools by block and length of the client prefix.
 * For the main thread.
 */
#pragma once

#include "forward/forward.h"
#include "os/carrier.h"

/*
 * Writes CARRIER_FORWARD and CARRIER_MEMBER of each forward, while no worker runs: its members with
 * their health and counts (upstream_carry.h).
 */
void forwards_write(const struct forwards *forwards, struct carrier *carrier);

/*
 * Writes CARRIER_LEASE_POOL and CARRIER_LEASE for each pool of source addresses: the leases that
 * were used since `since_ms` (CLOCK_MONOTONIC), 0: all of them. Workers may go on meanwhile. So
 * call it with 0 while they serve, as there may be a million leases; and while no worker runs, with
 * the time of the first call.
 */
void forwards_write_leases(const struct forwards *forwards, struct carrier *carrier,
			   uint64_t since_ms);

/*
 * Takes a record of these kinds, while no worker runs. A record of a forward that this
 * process does not have is passed over. Returns 0; -ENOTSUP for another kind; -EBADMSG if values are missing; or
 * -ENOMEM.
 */
int forwards_read(struct forwards *forwards, struct carrier *carrier, enum carrier_kind kind);

/* Takes the name of a forward from a record: the forward, or NULL. */
struct forward *forwards_take_name(struct forwards *forwards, struct carrier *carrier);
