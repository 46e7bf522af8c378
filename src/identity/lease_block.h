/*
 * Which IPv4 addresses of a block a client may be given, and in which order: arithmetic, no state.
 *
 * A client's candidates are drawn by SipHash-2-4 of its prefix and a counter, under a secret key.
 * The first is drawn from the whole block. The others are drawn from the region of the first: the
 * block is cut into LEASE_REGIONS regions, or as many as leave 64 addresses to each. So whatever
 * may ever contend with a client, for its prefix or for an address, is in one region; that is what
 * makes lease_pool.c simple. All this depends on key, block and prefix alone, never on the number
 * of leases, so every forwarder that has these draws the same candidates.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cidr.h"
#include "base/siphash.h"

#define LEASE_ERROR_BYTES     512
#define LEASE_REGIONS_BITS    15 /* 32768 regions; the most buckets that a pool can have */
#define LEASE_REGION_BITS_MIN 6	 /* 64 addresses, as many as a bucket has leases */
#define LEASE_CANDIDATES      16

struct lease_block {
	struct cidr cidr;
	uint32_t network;     /* host byte order, as all addresses here */
	unsigned host_bits;   /* those of an address behind the prefix, 2 to 32 */
	unsigned region_bits; /* those behind the region */
	bool link_local;      /* the block lies in 169.254.0.0/16 */
	uint8_t key[SIPHASH_KEY_BYTES];
};

/* A client's candidates, one after another. */
struct lease_draw {
	const struct lease_block *block;
	uint32_t first; /* candidate; valid after the first lease_draw_next() */
	uint32_t drawn_count;
	struct {
		struct in6_addr prefix;
		uint32_t counter_le;
	} hashed;
};

/*
 * Takes an IPv4 block. Returns 0, or -EINVAL with the reason and the remedy in `error` where it has
 * no usable address.
 */
int lease_block_init(struct lease_block *block, const struct cidr *cidr,
		     const uint8_t key[SIPHASH_KEY_BYTES], char error[LEASE_ERROR_BYTES]);

/*
 * Whether a client may be given `address`. Never are: the block's first and last address, those
 * that end in .0 or .255, 0.0.0.0/8, multicast, 127.0.0.0/24 and 127.255.255.0/24 (where services
 * of the host live), and 169.254.0.0/16 unless the block lies in it.
 */
bool lease_block_is_usable(const struct lease_block *block, uint32_t address);

/* The region that `address`, of the block, is in: from 0. */
uint32_t lease_block_region(const struct lease_block *block, uint32_t address);

/* How many regions there are, a power of 2. */
uint32_t lease_block_region_count(const struct lease_block *block);

void lease_draw_init(struct lease_draw *draw, const struct lease_block *block,
		     const struct in6_addr *prefix);

/*
 * The next candidate; false after LEASE_CANDIDATES, or where the hash only hits what is not usable
 * (of a block that lease_block_init() took, half is usable: that is as likely as 128 times heads).
 */
bool lease_draw_next(struct lease_draw *draw, uint32_t *address);
