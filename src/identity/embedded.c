/* SPDX-License-Identifier: MIT */
#include "identity/embedded.h"

#include <string.h>

#include "base/util.h"

/*
 * Whether the address is global: not private, shared, loopback, link-local, for documentation or
 * benchmarks, multicast or reserved by the IANA registry of special-purpose addresses (RFC 6890).
 */
static bool is_global(struct in_addr v4)
{
	static const struct {
		uint32_t network;
		unsigned bits;
	} special[] = {
		{0x00000000, 8},  /* "this network" */
		{0x0a000000, 8},  /* private */
		{0x64400000, 10}, /* shared: carrier-grade NAT */
		{0x7f000000, 8},  /* loopback */
		{0xa9fe0000, 16}, /* link-local */
		{0xac100000, 12}, /* private */
		{0xc0000000, 24}, /* protocol assignments */
		{0xc0000200, 24}, /* documentation */
		{0xc0586300, 24}, /* 6to4 relays (deprecated) */
		{0xc0a80000, 16}, /* private */
		{0xc6120000, 15}, /* benchmarks */
		{0xc6336400, 24}, /* documentation */
		{0xcb007100, 24}, /* documentation */
		{0xe0000000, 4},  /* multicast */
		{0xf0000000, 4},  /* reserved, broadcast */
	};
	uint32_t address = ntohl(v4.s_addr);

	for (size_t i = 0; i < ARRAY_COUNT(special); i++)
		if ((address ^ special[i].network) >> (32 - special[i].bits) == 0)
			return false;
	return true;
}

/* Whether a single host can have the address, be it global or not. */
static bool is_of_a_host(struct in_addr v4)
{
	uint32_t address = ntohl(v4.s_addr);

	return address >> 24 && !IN_MULTICAST(address) && address != INADDR_BROADCAST;
}

bool embedded_ipv4(const struct in6_addr *address, struct in_addr *v4)
{
	static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
	const uint8_t *bytes = address->s6_addr;
	struct in_addr found;

	if (IN6_IS_ADDR_V4MAPPED(address) || !memcmp(bytes, nat64, sizeof(nat64)))
		memcpy(&found, bytes + 12, sizeof(found));
	else if (bytes[0] == 0x20 && bytes[1] == 0x02)
		memcpy(&found, bytes + 2, sizeof(found));
	else
		return false;
	if (!(IN6_IS_ADDR_V4MAPPED(address) ? is_of_a_host(found) : is_global(found)))
		return false;
	*v4 = found;
	return true;
}
