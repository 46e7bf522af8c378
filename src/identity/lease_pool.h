/* SPDX-License-Identifier: MIT */
/*
 * A lease pool gives every IPv6 client an IPv4 source address of its own, the same address each
 * time.
 *
 * A client is an IPv6 prefix (/64 or /128), or for IPv4, in IPv4-mapped form, a whole address. A
 * keyed hash draws the client's candidate addresses (lease_block.h); the first candidate without a
 * lease becomes the client's lease. So a client keeps its address as long as its lease exists.
 * Forwarders with the same key give a client the same address, unless another client had a lease of
 * its first candidate.
 *
 * A lease is live while sessions refer to it. A lease without sessions stays until its slot or its
 * address is needed: when all candidates of another client have leases, or when the bucket is full.
 * Then the least recently used lease is evicted.
 *
 * One pool serves all threads: no locks, no waiting, no memory taken after creation. At any time no
 * address has two clients, and no client has two addresses; lease_bucket.h has the proof. Times are
 * milliseconds of one clock for all calls, for example CLOCK_MONOTONIC. The pool keeps whole
 * seconds.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cidr.h"
#include "base/util.h"
#include "identity/lease_block.h"
#include "identity/lease_bucket.h"

#define LEASE_COUNT_MIN 64
#define LEASE_COUNT_MAX 1048576

struct lease_pool;

struct lease_pool_options {
	struct cidr block;    /* IPv4, at least 4 addresses */
	unsigned client_bits; /* 64 or 128: length of the prefix that counts as one IPv6 client */
	/*
	 * How many leases can be live at once, LEASE_COUNT_MIN to LEASE_COUNT_MAX. The pool has
	 * slots for twice as many, of 64 bytes each, because a hash spreads the clients over
	 * buckets of 64 slots and no bucket should be full by chance.
	 */
	uint32_t lease_count;
};

struct lease_pool_stats {
	uint64_t in_use;     /* leases now */
	uint64_t live;	     /* leases with sessions now */
	uint64_t collisions; /* leases granted that are not the client's first candidate */
	uint64_t evictions;  /* leases ended to make room for another */
	uint64_t exhausted;  /* calls answered with -EADDRNOTAVAIL */
};

/*
 * Creates a pool in `*pool`. The caller must destroy it by lease_pool_destroy(). Returns 0; -EINVAL
 * for a block without usable addresses; -ENOMEM. `fault` gets the reason and the remedy.
 */
int lease_pool_create(const struct lease_pool_options *options,
		      const uint8_t key[SIPHASH_KEY_BYTES], struct lease_pool **pool,
		      struct fault *fault);

/* `pool` may be NULL. No thread may use the pool any more. */
void lease_pool_destroy(struct lease_pool *pool);

/*
 * Finds or makes the lease of `client`, an address in IPv6 or IPv4-mapped form, and adds a
 * reference, which the caller must give back by lease_pool_release(). Any thread. Returns 0 and the
 * leased address, or -EADDRNOTAVAIL if all candidates of the client, or all slots of its bucket,
 * have live leases. When one of these leases has lost its last session, a later call can succeed.
 */
int lease_pool_acquire(struct lease_pool *pool, const struct in6_addr *client, uint64_t now_ms,
		       struct in_addr *address);

/* Gives back a reference to the lease of `address`. CHECKs that the lease exists. Any thread. */
void lease_pool_release(struct lease_pool *pool, struct in_addr address, uint64_t now_ms);

/*
 * Sets `client` to the client that has a lease of `address`; returns false if there is none. Any
 * thread.
 */
bool lease_pool_find(const struct lease_pool *pool, struct in_addr address, struct cidr *client);

/*
 * Adds the numbers of a pool to `sum`. Each number is exact, but the numbers are not read at the
 * same moment.
 */
void lease_pool_add_stats(const struct lease_pool *pool, struct lease_pool_stats *sum);

/* For lease_state.c, lease_save.c and lease_carry.c -------------------------------------------- */

/* A lease as the state file keeps it. */
struct lease_record {
	struct cidr client;
	struct in_addr address;
	int32_t used_s; /* time of last use, by the pool's clock */
};

struct lease_counters {
	_Alignas(CACHE_LINE_BYTES) _Atomic int64_t in_use;
	_Atomic int64_t live; /* can be too small for a moment, even negative */
	_Atomic uint64_t collisions;
	_Atomic uint64_t evictions;
	_Atomic uint64_t exhausted;
};

struct lease_pool {
	struct lease_block block;
	unsigned client_bits;
	uint32_t bucket_count; /* a power of 2 */
	struct lease_bucket *buckets;
	struct lease_counters counters;
	uint64_t written_grants; /* leases ever granted before lease_pool_write() of all */
};

/*
 * Reads the leases of one bucket into `records` and returns their number. Each address and each
 * prefix comes at most once, even if other threads change the bucket meanwhile. Any thread.
 */
unsigned lease_pool_read_bucket(const struct lease_pool *pool, uint32_t index,
				struct lease_record records[LEASE_BUCKET_LEASES]);

/*
 * Makes a lease without references from a record. No other thread may use the pool yet. Returns
 * NULL, or a static text that says what is wrong with the record and the remedy. In a full bucket
 * the least recently used lease is dropped, which can be the new lease.
 */
const char *lease_pool_restore(struct lease_pool *pool, const struct lease_record *record);

/* Takeover. No other thread may use the pool yet ----------------------------------------------- */

/*
 * Makes the pool empty and gives it the key of another pool, so that the clients of that pool keep
 * their addresses. No lease may be live.
 */
void lease_pool_reset(struct lease_pool *pool, const uint8_t key[SIPHASH_KEY_BYTES]);

/*
 * Makes the lease that a client has from another pool with the same key and block. Leases without
 * sessions that are in the way end. `live`: adds a reference, to be given back by
 * lease_pool_release(). Returns false, and takes no reference, if the pool never gives the client
 * this address, another client has a live lease of it, or the bucket is full of live leases; a
 * lease that is not live also yields to leases used later.
 */
bool lease_pool_adopt(struct lease_pool *pool, const struct lease_record *record, bool live);
