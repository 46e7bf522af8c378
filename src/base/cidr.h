/*
 * Blocks of addresses, as in 2001:db8::/32, 192.0.2.0/24 or a single address. IPv4 is kept in its
 * IPv4-mapped IPv6 form (::ffff:0:0/96), so that one comparison does for both families.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

#include "base/addr.h"

struct cidr {
	struct in6_addr network; /* the bits behind the prefix are 0 */
	unsigned bits;		 /* 0 to 128; those of an IPv4 block are 96 more than written */
};

/* "[" + 45 characters of address + "/128" + NUL, rounded up. */
#define CIDR_TEXT_BYTES 56

/*
 * Reads a block from the whole of `text`. Returns NULL on success; otherwise the reason and the
 * remedy in words, a static string. `cidr` is unspecified then.
 */
const char *cidr_parse(const char *text, struct cidr *cidr);

/* Prints the block, an IPv4 one as such, a single address without its length; returns `text`. */
const char *cidr_print(const struct cidr *cidr, char text[CIDR_TEXT_BYTES]);

bool cidr_is_v4(const struct cidr *cidr);
bool cidr_equal(const struct cidr *a, const struct cidr *b);
bool cidr_contains(const struct cidr *cidr, const struct in6_addr *address);

/* Whether they have an address in common: then one contains the other. */
bool cidr_overlap(const struct cidr *a, const struct cidr *b);

/* The address with all bits behind the first `bits` cleared. */
struct in6_addr cidr_mask(const struct in6_addr *address, unsigned bits);

/*
 * What counts as one client: the first `v6_bits` of its address, or all of it where that is not a
 * network of its own but many hosts': IPv4-mapped, behind NAT64's 64:ff9b::/96 (RFC 6052), ::/64 and
 * link-local.
 */
struct cidr cidr_client_of(const struct in6_addr *address, unsigned v6_bits);

/* The address of an endpoint, IPv4 in its mapped form; all zeros where there is none, as for local
 * sockets. */
struct in6_addr cidr_address_of(const struct addr *endpoint);

/*
 * Link-local addresses are of one link: fe80::53%3 and fe80::53%4 are two hosts. A block of a single one may
 * say which, as cidr_address_on_link() does; without, it stands for that address on all links.
 *
 * cidr_address_on_link(): as cidr_address_of(), but a link-local address says its link (sin6_scope_id).
 * cidr_on_all_links(): the block; a single link-local address without its link.
 * cidr_print_on_link(): as cidr_print(), with the link where it has one, "fe80::53%3", which cidr_parse() refuses.
 * cidr_means(): whether an endpoint is in the block, and on its link where the block says one.
 */
struct in6_addr cidr_address_on_link(const struct addr *endpoint);
struct cidr cidr_on_all_links(const struct cidr *cidr);
const char *cidr_print_on_link(const struct cidr *cidr, char text[CIDR_TEXT_BYTES]);
bool cidr_means(const struct cidr *cidr, const struct addr *endpoint);

/* The mapped form of an IPv4 address. */
struct in6_addr cidr_map_v4(struct in_addr v4);

/* The IPv4 address within a mapped one, in host byte order. */
uint32_t cidr_v4_of(const struct in6_addr *mapped);
