/*
 * The pool that gives every IPv6 client an IPv4 source address of its own, the same one each time.
 *
 * A client is its IPv6 prefix (/64 or /128); one that comes by IPv4, in IPv4-mapped form, is its
 * whole address. Its candidate addresses are drawn by a keyed hash (lease_block.h), and the first
 * that no lease holds becomes its lease. So a client has the same address as long as its lease
 * lives, and with the same key on every forwarder, but for those whose first candidate was held.
 *
 * A lease is live while sessions refer to it. One without stays, until all candidates of another
 * client are held and it is the least recently used of them, or its bucket is full.
 *
 * One pool serves all threads: no locks, no waiting, no memory taken after creation. At any time
 * two prefixes never hold one address and one prefix never holds two; lease_bucket.h says why.
 * Times are milliseconds of any clock that is the same for all calls (CLOCK_MONOTONIC, say); the
 * pool keeps them to the second.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cidr.h"
#include "identity/lease_block.h"
#include "identity/lease_bucket.h"

#define LEASE_COUNT_MIN 64
#define LEASE_COUNT_MAX 1048576

struct lease_pool;

struct lease_pool_options {
	struct cidr block;    /* IPv4, of 4 addresses at least */
	unsigned client_bits; /* 64 or 128: the prefix that is one IPv6 client */
	/*
	 * How many clients can be live at once, LEASE_COUNT_MIN to LEASE_COUNT_MAX. There is room for twice as many, 64 bytes for each:
	 * clients are spread over buckets of 64 by hash, and none is to be full by chance.
	 */
	uint32_t lease_count;
};

struct lease_pool_stats {
	uint64_t in_use;     /* leases */
	uint64_t live;	     /* ... with sessions */
	uint64_t collisions; /* leases made that are not their client's first candidate */
	uint64_t evictions;  /* leases ended to make another */
	uint64_t exhausted;  /* -EADDRNOTAVAIL */
};

/*
 * Makes a pool, `*pool`, to be given to lease_pool_destroy().
 * Returns 0; -EINVAL for a block without usable addresses; -ENOMEM. `error` says what and the remedy.
 */
int lease_pool_create(const struct lease_pool_options *options,
		      const uint8_t key[SIPHASH_KEY_BYTES], struct lease_pool **pool,
		      char error[LEASE_ERROR_BYTES]);

/* Also takes NULL. No thread may be using the pool. */
void lease_pool_destroy(struct lease_pool *pool);

/*
 * The address of the lease of `client`, an address in IPv6 or IPv4-mapped form, with one reference
 * more, to be given back by lease_pool_release(). Any thread.
 * Returns 0, or -EADDRNOTAVAIL when every candidate is held by a live lease, or all places of its
 * bucket are; it may be had when a session of one of these has ended.
 */
int lease_pool_acquire(struct lease_pool *pool, const struct in6_addr *client, uint64_t now_ms,
		       struct in_addr *address);

/* Gives back one reference to the lease of `address`. CHECKs that there is one. Any thread. */
void lease_pool_release(struct lease_pool *pool, struct in_addr address, uint64_t now_ms);

/* Whose address it is: false for nobody's. Any thread. */
bool lease_pool_find(const struct lease_pool *pool, struct in_addr address, struct cidr *client);

/* Each number is right by itself; together they are of about one time. */
void lease_pool_read_stats(const struct lease_pool *pool, struct lease_pool_stats *stats);

/* For lease_state.c ---------------------------------------------------------------------- */

/* A lease by itself: what a state file holds. */
struct lease_record {
	struct cidr client;
	struct in_addr address;
	int32_t used_s; /* of the pool's clock */
};

const struct lease_block *lease_pool_block(const struct lease_pool *pool);
unsigned lease_pool_client_bits(const struct lease_pool *pool);
uint32_t lease_pool_bucket_count(const struct lease_pool *pool);

/*
 * The leases of one bucket, at most one for each address and each prefix though other threads
 * change them meanwhile. Returns their number. Any thread.
 */
unsigned lease_pool_read_bucket(const struct lease_pool *pool, uint32_t index,
				struct lease_record records[LEASE_BUCKET_LEASES]);

/*
 * Makes a lease without references. Before other threads use the pool. Returns NULL, or what is
 * wrong with the record and the remedy, a static string. In a full bucket the least recently used
 * one gives way, perhaps this.
 */
const char *lease_pool_restore(struct lease_pool *pool, const struct lease_record *record);
