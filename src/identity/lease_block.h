/* SPDX-License-Identifier: MIT */
/*
 * Which IPv4 addresses of a block a client may get, and in which order: arithmetic, no state.
 *
 * Each client has up to LEASE_CANDIDATES candidate addresses. A candidate is SipHash-2-4 of the
 * client's prefix and a counter, under a secret key. The block is cut into up to
 * 2^LEASE_REGIONS_BITS regions of at least 64 addresses. The first candidate can be anywhere in the
 * block; all further candidates are in the region of the first. So two clients compete for an
 * address only if their candidates are in the same region. lease_pool.c relies on this.
 *
 * The candidates depend on key, block and prefix alone, not on the existing leases. So every
 * forwarder with the same key and block draws the same candidates for a client.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cidr.h"
#include "base/fault.h"
#include "base/siphash.h"

#define LEASE_REGIONS_BITS    15 /* at most 32768 regions, and so buckets of a pool */
#define LEASE_REGION_BITS_MIN 6	 /* 64 addresses, as many as a bucket has leases */
#define LEASE_CANDIDATES      16

struct lease_block {
	struct cidr cidr;
	uint32_t network;     /* host byte order, as all addresses here */
	unsigned host_bits;   /* bits of an address after the block's prefix, 2 to 32 */
	unsigned region_bits; /* bits of an address after the number of its region */
	bool link_local;      /* the block is in 169.254.0.0/16 */
	uint8_t key[SIPHASH_KEY_BYTES];
};

/* Draws the candidates of a client, one after another. */
struct lease_draw {
	const struct lease_block *block;
	uint32_t first; /* the first candidate, set by the first lease_draw_next() */
	uint32_t drawn_count;
	struct {
		struct in6_addr prefix;
		uint32_t counter_le;
	} hashed;
};

/*
 * Takes an IPv4 block. Returns 0, or -EINVAL with the reason and the remedy in `fault` where it has
 * no usable address.
 */
int lease_block_init(struct lease_block *block, const struct cidr *cidr,
		     const uint8_t key[SIPHASH_KEY_BYTES], struct fault *fault);

/*
 * Whether a client may get `address`. No client gets: the first and last address of the block,
 * addresses that end in .0 or .255, 0.0.0.0/8, multicast, 127.0.0.0/24 and 127.255.255.0/24 (used
 * by services of the host), and 169.254.0.0/16 unless the whole block is in it.
 */
bool lease_block_is_usable(const struct lease_block *block, uint32_t address);

/* The number of the region of `address`, from 0. The address must be in the block. */
uint32_t lease_block_region(const struct lease_block *block, uint32_t address);

/* The number of regions, a power of 2. */
uint32_t lease_block_region_count(const struct lease_block *block);

void lease_draw_init(struct lease_draw *draw, const struct lease_block *block,
		     const struct in6_addr *prefix);

/*
 * Draws the next candidate. Returns false after LEASE_CANDIDATES, or after 128 hashes without
 * enough usable addresses. The latter is as unlikely as 128 times heads, because at least half of a
 * block that lease_block_init() accepts is usable.
 */
bool lease_draw_next(struct lease_draw *draw, uint32_t *address);
