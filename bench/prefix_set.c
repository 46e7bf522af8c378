/* SPDX-License-Identifier: MIT */
/*
 * usage: prefix_set The cost of --allow and --deny: the time to compile 10, 1,000, 100,000 and
 * 1,000,000 rules, and of one look-up, of addresses that are in a block and of addresses that
 * mostly are not.
 */
#include "limits/prefix_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"

#define LOOKUPS	  4000000
#define ADDRESSES (1 << 16)

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t random_next(uint64_t *state)
{
	uint64_t mixed = *state += 0x9e3779b97f4a7c15ULL; /* splitmix64 */

	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ULL;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebULL;
	return mixed ^ mixed >> 31;
}

/* Half IPv4 anywhere, half IPv6 in 2000::/3. */
static struct in6_addr random_address(uint64_t *state)
{
	struct in6_addr address = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
	uint64_t random = random_next(state);

	if (random & 1) {
		memcpy(&address.s6_addr[12], (char *)&random + 4, 4);
	} else {
		memcpy(address.s6_addr, &random, 8);
		address.s6_addr[0] = (uint8_t)(0x20 | (address.s6_addr[0] & 0x1f));
		random = random_next(state);
		memcpy(&address.s6_addr[8], &random, 8);
	}
	return address;
}

static struct cidr random_block(uint64_t *state)
{
	struct in6_addr address = random_address(state);
	unsigned least = IN6_IS_ADDR_V4MAPPED(&address) ? 96 + 16 : 32;
	unsigned bits = least + (unsigned)(random_next(state) % 17);

	return (struct cidr){.network = cidr_mask(&address, bits), .bits = bits};
}

/* The sum is printed, so that no look-up is optimised away. */
static double look_up(const struct prefix_set *set, const struct in6_addr *addresses, unsigned *sum)
{
	uint64_t began_ns = now_ns();

	for (unsigned i = 0; i < LOOKUPS; i++)
		*sum += prefix_set_verdict(set, &addresses[i % ADDRESSES]);
	return (double)(now_ns() - began_ns) / LOOKUPS;
}

static void measure(unsigned rules)
{
	struct in6_addr *inside = calloc(ADDRESSES, sizeof(*inside));
	struct in6_addr *anywhere = calloc(ADDRESSES, sizeof(*anywhere));
	uint64_t state = rules, began_ns, compile_ns;
	struct prefix_set *set;
	double inside_ns, anywhere_ns;
	unsigned sum = 0;

	CHECK(inside && anywhere && !prefix_set_create(&set));
	for (unsigned i = 0; i < rules; i++) {
		struct cidr block = random_block(&state);

		CHECK(!prefix_set_add(set, &block, i % 2 ? PREFIX_ALLOW : PREFIX_DENY));
	}
	began_ns = now_ns();
	CHECK(!prefix_set_compile(set));
	compile_ns = now_ns() - began_ns;
	for (unsigned i = 0; i < ADDRESSES; i++) {
		inside[i] = prefix_set_rule(set, (uint32_t)(random_next(&state) % rules)).network;
		anywhere[i] = random_address(&state);
	}
	inside_ns = look_up(set, inside, &sum);
	anywhere_ns = look_up(set, anywhere, &sum);
	printf("rules=%u compile_ms=%.2f inside_ns=%.1f anywhere_ns=%.1f allowed=%u\n", rules,
	       (double)compile_ns / 1e6, inside_ns, anywhere_ns, sum);
	prefix_set_destroy(set);
	free(inside);
	free(anywhere);
}

int main(void)
{
	measure(10);
	measure(1000);
	measure(100000);
	measure(1000000);
	return EXIT_SUCCESS;
}
