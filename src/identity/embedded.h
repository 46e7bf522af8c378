/* IPv4 addresses that IPv6 addresses carry. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

/*
 * Whether `address` stands for an IPv4 host, and which, in `v4` (untouched otherwise):
 *
 *	::ffff:0:0/96	IPv4-mapped: that of any host (RFC 4291, section 2.5.5.2), so neither of
 *			0.0.0.0/8 nor multicast nor broadcast
 *	64:ff9b::/96	the well-known prefix of NAT64: a global one only (RFC 6052, section 3.1)
 *	2002::/16	6to4: a global one only (RFC 3056, section 2); whatever subnet and interface
 *
 * Global is what the IANA registry of special-purpose addresses (RFC 6890) does not call otherwise:
 * neither private nor shared, loopback, link-local, for documentation or benchmarks, multicast,
 * reserved, ... A prefix other than 64:ff9b::/96 that a site gave its NAT64 is not known here.
 */
bool embedded_ipv4(const struct in6_addr *address, struct in_addr *v4);

/* Whether a global IPv4 host can have this address. */
bool embedded_is_global(struct in_addr v4);
