/* SPDX-License-Identifier: MIT */
/*
 * The leases of source addresses on their way to a process that takes over. Pools are matched by
 * their block and the length of the client prefix; another pool starts empty. A pool without
 * --pseudo-key takes over the key, so that clients keep their addresses.
 */
#pragma once

#include "forward/source_address.h"
#include "os/carrier.h"

/* lease_pool_write() of each pool: the leases used since `since_ms`; 0: all. Any thread. */
void source_addresses_write(const struct source_addresses *sources, struct carrier *carrier,
			    uint64_t since_ms);

/*
 * Takes a record of CARRIER_LEASE_POOL or CARRIER_LEASE, while no worker runs. Passes over
 * those of pools that are not there. Returns 0, or -EBADMSG if values are missing.
 */
int source_addresses_read(struct source_addresses *sources, struct carrier *carrier,
			  enum carrier_kind kind);

/*
 * Takes the lease again that a client's session has from another process, with the same address.
 * False: the pool does not give this client this address, or has no room for the lease. Before the
 * workers start.
 */
bool source_address_resume(struct source_address *source, const struct addr *client,
			   const struct addr *address, uint64_t now_ms);
