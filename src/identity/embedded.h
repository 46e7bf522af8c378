/* SPDX-License-Identifier: MIT */
/* The IPv4 address in an IPv6 address. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

/*
 * Returns whether `address` contains the address of an IPv4 host. If so, sets `v4`, otherwise `v4`
 * keeps its value. These forms are known:
 *
 *	::ffff:0:0/96	IPv4-mapped (RFC 4291, section 2.5.5.2). Any address of a host: not in
 *			0.0.0.0/8, not multicast, not broadcast
 *	64:ff9b::/96 the well-known prefix of NAT64 (RFC 6052, section 3.1). Only a global address
 *	2002::/16 6to4 (RFC 3056, section 2), with any subnet and interface. Only a global
 *			address
 *
 * Other prefixes that a site may use for NAT64 are not known.
 */
bool embedded_ipv4(const struct in6_addr *address, struct in_addr *v4);
