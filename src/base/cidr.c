/* SPDX-License-Identifier: MIT */
#include "base/cidr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"

#define V4_OFFSET_BITS 96

/*
 * The offset of the link in a link-local address. These bytes are 0 on the wire (RFC 4291, 2.5.6).
 */
#define LINK_AT 4

struct in6_addr cidr_map_v4(struct in_addr v4)
{
	struct in6_addr mapped = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	memcpy(&mapped.s6_addr[12], &v4, sizeof(v4));
	return mapped;
}

struct in6_addr cidr_mask(const struct in6_addr *address, unsigned bits)
{
	struct in6_addr masked = {0};

	CHECK(bits <= 128);
	memcpy(masked.s6_addr, address->s6_addr, bits / 8);
	if (bits % 8)
		masked.s6_addr[bits / 8] =
			(uint8_t)(address->s6_addr[bits / 8] & (0xff00U >> bits % 8));
	return masked;
}

struct cidr cidr_client_of(const struct in6_addr *address, unsigned v6_bits)
{
	static const struct cidr shared[] = {
		/* ::/64, which contains the IPv4-mapped addresses */
		{.network = {{{0}}}, .bits = 64},
		{.network = {{{0x00, 0x64, 0xff, 0x9b}}}, .bits = 96},
		{.network = {{{0xfe, 0x80}}}, .bits = 64},
	};

	for (size_t i = 0; i < ARRAY_COUNT(shared); i++)
		if (cidr_contains(&shared[i], address))
			v6_bits = 128;
	return (struct cidr){.network = cidr_mask(address, v6_bits), .bits = v6_bits};
}

const char *cidr_parse(const char *text, struct cidr *cidr)
{
	const char *slash = strchr(text, '/');
	size_t length = slash ? (size_t)(slash - text) : strlen(text);
	char host[INET6_ADDRSTRLEN];
	struct in6_addr masked;
	struct in_addr v4;
	unsigned offset = 0;
	uint64_t bits;

	if (!length || length >= sizeof(host))
		return "is not an address block; write it as in 2001:db8::/32 or 192.0.2.0/24";
	memcpy(host, text, length);
	host[length] = '\0';
	if (inet_pton(AF_INET, host, &v4) == 1) {
		cidr->network = cidr_map_v4(v4);
		offset = V4_OFFSET_BITS;
	} else if (inet_pton(AF_INET6, host, &cidr->network) != 1) {
		return "is not an address block; write it as in 2001:db8::/32 or 192.0.2.0/24";
	}
	bits = 128 - offset;
	if (slash && units_parse_count(slash + 1, &bits))
		return "has no number behind the '/'; write it as in 2001:db8::/32 or 192.0.2.0/24";
	if (bits > 128 - offset)
		return offset ? "has a prefix longer than 32 bits; give 0 to 32 for IPv4"
			      : "has a prefix longer than 128 bits; give 0 to 128 for IPv6";
	cidr->bits = (unsigned)bits + offset;
	masked = cidr_mask(&cidr->network, cidr->bits);
	if (memcmp(&masked, &cidr->network, sizeof(masked)))
		return "has bits set behind its prefix; clear them, or make the prefix longer";
	return NULL;
}

uint32_t cidr_link_of(const struct in6_addr *address)
{
	uint32_t link_be;

	memcpy(&link_be, &address->s6_addr[LINK_AT], sizeof(link_be));
	return ntohl(link_be);
}

void cidr_set_link(struct in6_addr *address, uint32_t link)
{
	uint32_t link_be = htonl(link);

	memcpy(&address->s6_addr[LINK_AT], &link_be, sizeof(link_be));
}

struct in6_addr cidr_address_on_link(const struct addr *endpoint)
{
	struct in6_addr address = cidr_address_of(endpoint);

	if (IN6_IS_ADDR_LINKLOCAL(&address))
		cidr_set_link(&address, endpoint->v6.sin6_scope_id);
	return address;
}

struct cidr cidr_on_all_links(const struct cidr *cidr)
{
	struct cidr block = *cidr;

	if (cidr->bits == 128 && IN6_IS_ADDR_LINKLOCAL(&cidr->network))
		cidr_set_link(&block.network, 0);
	return block;
}

bool cidr_means(const struct cidr *cidr, const struct addr *endpoint)
{
	struct in6_addr address = cidr_address_of(endpoint);
	struct in6_addr on_link = cidr_address_on_link(endpoint);

	return cidr_contains(cidr, &address) || cidr_contains(cidr, &on_link);
}

bool cidr_is_v4(const struct cidr *cidr)
{
	return cidr->bits >= V4_OFFSET_BITS && IN6_IS_ADDR_V4MAPPED(&cidr->network);
}

const char *cidr_print(const struct cidr *cidr, char text[CIDR_TEXT_BYTES])
{
	bool v4 = cidr_is_v4(cidr);
	unsigned bits = cidr->bits - (v4 ? V4_OFFSET_BITS : 0);
	const char *printed = inet_ntop(v4 ? AF_INET : AF_INET6,
					&cidr->network.s6_addr[v4 ? 12 : 0], text, CIDR_TEXT_BYTES);

	CHECK(printed);
	if (cidr->bits < 128)
		snprintf(text + strlen(text), CIDR_TEXT_BYTES - strlen(text), "/%u", bits);
	return text;
}

const char *cidr_print_on_link(const struct cidr *cidr, char text[CIDR_TEXT_BYTES])
{
	struct cidr shown = cidr_on_all_links(cidr);

	cidr_print(&shown, text);
	if (!cidr_equal(&shown, cidr))
		snprintf(text + strlen(text), CIDR_TEXT_BYTES - strlen(text), "%%%u",
			 cidr_link_of(&cidr->network));
	return text;
}

bool cidr_contains(const struct cidr *cidr, const struct in6_addr *address)
{
	struct in6_addr masked = cidr_mask(address, cidr->bits);

	return !memcmp(&masked, &cidr->network, sizeof(masked));
}

bool cidr_equal(const struct cidr *a, const struct cidr *b)
{
	return a->bits == b->bits && !memcmp(&a->network, &b->network, sizeof(a->network));
}

bool cidr_overlap(const struct cidr *a, const struct cidr *b)
{
	return cidr_contains(a, &b->network) || cidr_contains(b, &a->network);
}

struct in6_addr cidr_address_of(const struct addr *endpoint)
{
	if (!endpoint->length_bytes || addr_is_local(endpoint))
		return (struct in6_addr){0};
	if (endpoint->any.sa_family == AF_INET6)
		return endpoint->v6.sin6_addr;
	return cidr_map_v4(endpoint->v4.sin_addr);
}

uint32_t cidr_v4_of(const struct in6_addr *mapped)
{
	uint32_t v4_be;

	memcpy(&v4_be, &mapped->s6_addr[12], sizeof(v4_be));
	return ntohl(v4_be);
}
