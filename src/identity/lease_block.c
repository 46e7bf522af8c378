/* SPDX-License-Identifier: MIT */
#include "identity/lease_block.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

#define DRAW_LIMIT   128 /* hashes for one client */
#define HASHED_BYTES 20	 /* prefix and counter */

static bool in_block(const struct lease_block *block, uint32_t address)
{
	return block->host_bits == 32 || (address ^ block->network) >> block->host_bits == 0;
}

bool lease_block_is_usable(const struct lease_block *block, uint32_t address)
{
	uint32_t last = block->network | (uint32_t)((UINT64_C(1) << block->host_bits) - 1);

	if (!in_block(block, address) || address == block->network || address == last)
		return false;
	if ((address & 0xff) == 0 || (address & 0xff) == 0xff)
		return false;
	if (address >> 24 == 0 || address >> 28 == 0xe)
		return false;
	if (address >> 8 == 0x7f0000 || address >> 8 == 0x7fffff)
		return false;
	return block->link_local || address >> 16 != 0xa9fe;
}

/*
 * Looks at every address of a small block, and at 512 addresses spread over a large block. Unusable
 * are single addresses, and ranges that are prefixes. So a block has either no usable address but
 * for its edges, or at least half of its addresses are usable.
 */
static bool has_usable(const struct lease_block *block)
{
	uint64_t size = UINT64_C(1) << block->host_bits;
	uint64_t stride = size > 512 ? size / 512 : 1;

	for (uint64_t at = 0; at < size; at += stride)
		if (lease_block_is_usable(block, block->network + (uint32_t)at + (stride > 1)))
			return true;
	return false;
}

int lease_block_init(struct lease_block *block, const struct cidr *cidr,
		     const uint8_t key[SIPHASH_KEY_BYTES], struct fault *fault)
{
	char text[CIDR_TEXT_BYTES];

	CHECK(cidr_is_v4(cidr));
	memset(block, 0, sizeof(*block));
	block->cidr = *cidr;
	block->network = cidr_v4_of(&cidr->network);
	block->host_bits = 128 - cidr->bits;
	block->region_bits = block->host_bits;
	if (block->host_bits > LEASE_REGION_BITS_MIN)
		block->region_bits =
			MAX(LEASE_REGION_BITS_MIN, (int)block->host_bits - LEASE_REGIONS_BITS);
	block->link_local = block->network >> 16 == 0xa9fe && block->host_bits <= 16;
	memcpy(block->key, key, sizeof(block->key));
	if (has_usable(block))
		return 0;
	fault_set_object(
		fault, NULL, cidr_print(cidr, text),
		"has no address that a client can be given; give a block such as 240.0.0.0/4, of "
		"four addresses at least, outside 0.0.0.0/8, 127.0.0.0/24 and 224.0.0.0/4");
	return -EINVAL;
}

uint32_t lease_block_region(const struct lease_block *block, uint32_t address)
{
	return (uint32_t)((uint64_t)(address - block->network) >> block->region_bits);
}

uint32_t lease_block_region_count(const struct lease_block *block)
{
	return UINT32_C(1) << (block->host_bits - block->region_bits);
}

void lease_draw_init(struct lease_draw *draw, const struct lease_block *block,
		     const struct in6_addr *prefix)
{
	memset(draw, 0, sizeof(*draw));
	draw->block = block;
	draw->hashed.prefix = *prefix;
}

bool lease_draw_next(struct lease_draw *draw, uint32_t *address)
{
	const struct lease_block *block = draw->block;
	unsigned bits = draw->drawn_count ? block->region_bits : block->host_bits;
	uint32_t base = block->network;
	uint32_t counter;

	_Static_assert(sizeof(draw->hashed) == HASHED_BYTES, "the hashed bytes have no padding");
	if (draw->drawn_count == LEASE_CANDIDATES)
		return false;
	if (draw->drawn_count)
		base += lease_block_region(block, draw->first) << block->region_bits;
	while ((counter = le32toh(draw->hashed.counter_le)) < DRAW_LIMIT) {
		uint64_t hash = siphash24(block->key, &draw->hashed, HASHED_BYTES);

		draw->hashed.counter_le = htole32(counter + 1);
		*address = base + (uint32_t)(hash >> (64 - bits));
		if (!lease_block_is_usable(block, *address))
			continue;
		if (!draw->drawn_count++)
			draw->first = *address;
		return true;
	}
	return false;
}
