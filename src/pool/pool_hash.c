/* SPDX-License-Identifier: MIT */
#include <endian.h>
#include <string.h>

#include "base/cidr.h"
#include "pool/pool_slots.h"

/* The finalizer of splitmix64: each bit of the result depends on each bit of `x`. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

uint64_t pool_client_key(const struct in6_addr *client)
{
	struct in6_addr network = cidr_client_of(client, 64).network;
	uint64_t halves[2];

	memcpy(halves, &network, sizeof(halves));
	/* an IPv4 address is its own key; a /64 of IPv6 is in the first half */
	if (IN6_IS_ADDR_V4MAPPED(client))
		return cidr_v4_of(client);
	return be64toh(halves[0]) ^ be64toh(halves[1]);
}

uint64_t pool_hash_seed(const struct addr *address, unsigned twin)
{
	uint64_t seed = mix(twin + 1ULL);
	char text[ADDR_TEXT_BYTES];

	addr_print(address, text);
	for (const char *at = text; *at; at++)
		seed = mix(seed ^ (unsigned char)*at) + 0x9e3779b97f4a7c15ULL;
	return seed;
}

uint64_t pool_hash_lot(uint64_t seed, uint64_t client_key)
{
	return mix(seed ^ mix(client_key + 0x9e3779b97f4a7c15ULL));
}

/* The binary logarithm of x / 2^31, which is 1 to below 2, with 32 bits behind the point. */
static uint64_t log2_of(uint64_t x)
{
	uint64_t log = 0;

	/* squaring doubles the logarithm: where the square reaches 2, the next bit is set */
	for (unsigned bit = 0; bit < 32; bit++) {
		x = x * x >> 31;
		log <<= 1;
		if (x >> 32) {
			x >>= 1;
			log |= 1;
		}
	}
	return log;
}

void pool_hash_init(uint64_t table[POOL_LOG_ENTRIES])
{
	for (uint64_t i = 0; i < POOL_LOG_ENTRIES - 1; i++)
		table[i] = log2_of((1ULL << 31) + (i << 23));
	table[POOL_LOG_ENTRIES - 1] = 1ULL << 32;
}

uint64_t pool_hash_distance(const uint64_t table[POOL_LOG_ENTRIES], uint64_t lot)
{
	unsigned zeros = (unsigned)__builtin_clzll(lot | 1);
	uint64_t leading_one = (lot | 1) << zeros;
	unsigned index = leading_one >> 55 & 0xff;
	uint64_t between = leading_one >> 23 & 0xffffffff;
	uint64_t step = table[index + 1] - table[index];

	return ((zeros + 1ULL) << 32) - (table[index] + (step * between >> 32));
}
