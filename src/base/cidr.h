/* SPDX-License-Identifier: MIT */
/*
 * Blocks of addresses, such as 2001:db8::/32, 192.0.2.0/24 or a single address. An IPv4 block is
 * stored in IPv4-mapped IPv6 form (::ffff:0:0/96), so that both families are compared in the same
 * way.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

#include "base/addr.h"

struct cidr {
	struct in6_addr network; /* the bits after the prefix are 0 */
	unsigned bits;		 /* 0 to 128; for an IPv4 block 96 more than in its text */
};

/* "[" + 45 characters of address + "/128" + NUL, rounded up. */
#define CIDR_TEXT_BYTES 56

/*
 * Reads a block from the whole of `text`. Returns NULL on success. Otherwise returns reason and
 * remedy as a static string; then `cidr` is unspecified.
 */
const char *cidr_parse(const char *text, struct cidr *cidr);

/* Prints the block, an IPv4 block in IPv4 form, a single address without "/". Returns `text`. */
const char *cidr_print(const struct cidr *cidr, char text[CIDR_TEXT_BYTES]);

bool cidr_is_v4(const struct cidr *cidr);
bool cidr_equal(const struct cidr *a, const struct cidr *b);
bool cidr_contains(const struct cidr *cidr, const struct in6_addr *address);

/* Whether the blocks have an address in common: then one block contains the other. */
bool cidr_overlap(const struct cidr *a, const struct cidr *b);

/* The address with all bits after the first `bits` cleared. */
struct in6_addr cidr_mask(const struct in6_addr *address, unsigned bits);

/*
 * The block that counts as one client: the first `v6_bits` of its address. In networks that many
 * hosts share it is the whole address: IPv4-mapped, NAT64's 64:ff9b::/96 (RFC 6052), ::/64 and
 * link-local.
 */
struct cidr cidr_client_of(const struct in6_addr *address, unsigned v6_bits);

/* The address of an endpoint, IPv4 in mapped form. All zeros for "no address" and local sockets. */
struct in6_addr cidr_address_of(const struct addr *endpoint);

/*
 * A link-local address belongs to one link: fe80::53%3 and fe80::53%4 are two hosts. A block of a
 * single link-local address can contain the number of the link, in the bytes that are 0 on the
 * wire. Without a link, the block means this address on all links.
 *
 * cidr_address_on_link(): as cidr_address_of(), but a link-local address contains its link
 *	(sin6_scope_id).
 * cidr_on_all_links(): the block, without a link.
 * cidr_print_on_link(): as cidr_print(), with the link if the block has one: "fe80::53%3".
 *	cidr_parse() refuses this text.
 * cidr_means(): whether an endpoint is in the block, and on the block's link if it has one.
 */
struct in6_addr cidr_address_on_link(const struct addr *endpoint);
struct cidr cidr_on_all_links(const struct cidr *cidr);
const char *cidr_print_on_link(const struct cidr *cidr, char text[CIDR_TEXT_BYTES]);
bool cidr_means(const struct cidr *cidr, const struct addr *endpoint);

/*
 * The link in a link-local address, 0 if it has none: four bytes that are 0 on the wire (RFC 4291,
 * 2.5.6).
 */
uint32_t cidr_link_of(const struct in6_addr *address);
void cidr_set_link(struct in6_addr *address, uint32_t link);

/* The mapped form of an IPv4 address. */
struct in6_addr cidr_map_v4(struct in_addr v4);

/* The IPv4 address in a mapped address, in host byte order. */
uint32_t cidr_v4_of(const struct in6_addr *mapped);
