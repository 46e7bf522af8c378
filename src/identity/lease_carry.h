/* SPDX-License-Identifier: MIT */
/* The leases of a pool on their way to the pool of a process that takes over. */
#pragma once

#include "identity/lease_pool.h"
#include "os/carrier.h"

/* Which pool a record is about, and the key of that pool. */
struct lease_pool_id {
	struct cidr block;
	unsigned client_bits;
	uint8_t key[SIPHASH_KEY_BYTES];
};

/*
 * Writes CARRIER_LEASE_POOL, and a CARRIER_LEASE for each bucket with leases: with `since_ms` 0 all
 * leases; otherwise those used since then, if any lease was granted since all were written. Main
 * thread; other threads may use the pool. All of 65,536 leases take some 100 ms, the question for
 * later ones a millisecond.
 */
void lease_pool_write(struct lease_pool *pool, struct carrier *carrier, uint64_t since_ms);

/* The beginning of a record of both kinds. */
void lease_pool_take_id(struct carrier *carrier, struct lease_pool_id *id);

/* Whether the addresses of that pool are of the same block, and for the same kind of clients. */
bool lease_pool_is(const struct lease_pool *pool, const struct lease_pool_id *id);

/*
 * Takes the rest of a record about the pool `id`, for which lease_pool_is() and whose key this pool
 * shall have: leases that have room. If the record begins all leases of the pool, they replace
 * those that are there. No other thread may use the pool yet. Returns 0, or -EBADMSG if values are
 * missing.
 */
int lease_pool_read(struct lease_pool *pool, const struct lease_pool_id *id,
		    struct carrier *carrier, enum carrier_kind kind);
