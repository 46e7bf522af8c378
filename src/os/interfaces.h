/* SPDX-License-Identifier: MIT */
/*
 * The addresses of this host's interfaces, and whether IPv6 is on. The calls read files, so no
 * worker makes them.
 */
#pragma once

#include <stdbool.h>

#include "base/addr.h"

/*
 * Whether the interface `name` (NULL: any interface) has `address`, whatever the port:
 * getifaddrs(3). An address that only a local route gives to this host is not found. False also
 * where the kernel refuses the list.
 */
bool interfaces_have(const char *name, const struct addr *address);

/* What keeps an IPv6 address from being used on this host. */
enum interfaces_v6 {
	INTERFACES_V6_FINE,	     /* nothing, as far as the kernel tells */
	INTERFACES_V6_TENTATIVE,     /* duplicate address detection (RFC 4862) still runs */
	INTERFACES_V6_DUPLICATE,     /* duplicate address detection found another host */
	INTERFACES_V6_OFF,	     /* disable_ipv6 is set on every interface that matters */
	INTERFACES_V6_ONLY_LOOPBACK, /* for [::]: disable_ipv6 is set, and only lo has addresses */
};

/*
 * Finds out what keeps `address` from being used; its port does not matter. The answer is
 * INTERFACES_V6_FINE for an address of another family, and for an address that no interface has
 * while IPv6 is on. Reads /proc/net/if_inet6 (ipv6(7)) and
 * /proc/sys/net/ipv6/conf/INTERFACE/disable_ipv6.
 */
enum interfaces_v6 interfaces_ask_v6(const struct addr *address);

/* The remedy for INTERFACES_V6_OFF. */
#define INTERFACES_V6_REMEDY "sysctl -w net.ipv6.conf.all.disable_ipv6=0"
