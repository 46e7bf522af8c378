/* What the interfaces of this host have: addresses, and whether IPv6 is on. For the start; the calls read files. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

#include "base/addr.h"

/*
 * Whether an IPv4 address is one of 127.0.0.0/8 or an interface has it: getifaddrs(3). One that a local
 * route alone makes this host's is not. Where the kernel may not be asked, only loopback is known.
 */
bool interfaces_have(struct in_addr address);

/* Whether the interface of that name has the address, whatever the port: getifaddrs(3). */
bool interfaces_own(const char *name, const struct addr *address);

/* What stands against an IPv6 address on this host. */
enum interfaces_v6 {
	INTERFACES_V6_FINE,	     /* nothing, as far as the kernel tells */
	INTERFACES_V6_TENTATIVE,     /* duplicate address detection still runs for it, RFC 4862 */
	INTERFACES_V6_DUPLICATE,     /* duplicate address detection found another host with it */
	INTERFACES_V6_OFF,	     /* disable_ipv6 is set on every interface that could have it */
	INTERFACES_V6_ONLY_LOOPBACK, /* of [::]: disable_ipv6 is set, and only lo has addresses */
};

/*
 * Finds that out, for an address of an interface or [::]; the port does not matter. An address of another
 * family is INTERFACES_V6_FINE, and so is one that no interface has while IPv6 is on. Reads
 * /proc/net/if_inet6 (ipv6(7)) and /proc/sys/net/ipv6/conf/INTERFACE/disable_ipv6.
 */
enum interfaces_v6 interfaces_ask_v6(const struct addr *address);

/* How to turn IPv6 on where it is INTERFACES_V6_OFF. */
#define INTERFACES_V6_REMEDY "sysctl -w net.ipv6.conf.all.disable_ipv6=0"
