/* SPDX-License-Identifier: MIT */
#include "os/interfaces.h"

#include <ifaddrs.h>
#include <linux/if_addr.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "os/host.h"

#define LOOPBACK "lo"

static bool is_same_host(const struct sockaddr *own, const struct addr *address)
{
	struct sockaddr_storage storage = {0};
	struct addr found;

	if (!own || (own->sa_family != AF_INET && own->sa_family != AF_INET6))
		return false;
	memcpy(&storage, own,
	       own->sa_family == AF_INET ? sizeof(struct sockaddr_in)
					 : sizeof(struct sockaddr_in6));
	addr_from_sockaddr(&found, &storage);
	addr_set_port(&found, addr_port(address));
	return addr_equal(&found, address);
}

bool interfaces_have(const char *name, const struct addr *address)
{
	struct ifaddrs *list;
	bool found = false;

	if (getifaddrs(&list))
		return false;
	for (const struct ifaddrs *own = list; own && !found; own = own->ifa_next)
		found = (!name || !strcmp(own->ifa_name, name)) &&
			is_same_host(own->ifa_addr, address);
	freeifaddrs(list);
	return found;
}

/* The facts that the kernel's list of IPv6 addresses has about an address. */
struct v6_list {
	bool on_loopback; /* lo has an address */
	bool elsewhere;	  /* another interface has one */
	bool tentative;	  /* the address is in duplicate address detection */
	bool duplicate;	  /* another host has the address */
};

/* Prints an address in the form of the list: 32 hexadecimal digits. */
static void print_hex(const struct in6_addr *address, char text[33])
{
	for (unsigned i = 0; i < sizeof(address->s6_addr); i++)
		snprintf(text + (size_t)2 * i, 3, "%02x", address->s6_addr[i]);
}

/* A line has address, interface number, prefix length, scope, flags (IFA_F_...), interface name. */
static void read_list(const struct addr *address, struct v6_list *list)
{
	char wanted[33], found[33], name[IF_NAMESIZE];
	unsigned interface, flags;
	FILE *file = fopen("/proc/net/if_inet6", "re");

	memset(list, 0, sizeof(*list));
	print_hex(&address->v6.sin6_addr, wanted);
	while (file &&
	       fscanf(file, "%32s %x %*x %*x %x %15s", found, &interface, &flags, name) == 4) {
		bool is_loopback = !strcmp(name, LOOPBACK);

		list->on_loopback |= is_loopback;
		list->elsewhere |= !is_loopback;
		if (strcmp(found, wanted) ||
		    (address->v6.sin6_scope_id && address->v6.sin6_scope_id != interface))
			continue;
		list->duplicate |= flags & IFA_F_DADFAILED;
		list->tentative |= (flags & IFA_F_TENTATIVE) && !(flags & IFA_F_DADFAILED);
	}
	if (file)
		fclose(file);
}

static bool is_off(const char *interface)
{
	char path[sizeof("/proc/sys/net/ipv6/conf//disable_ipv6") + IF_NAMESIZE], text[8];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", interface);
	return !host_read_file("", path, text, sizeof(text)) && *text == '1';
}

static bool is_off_elsewhere(void)
{
	struct if_nameindex *list = if_nameindex();
	bool found = false;

	for (const struct if_nameindex *at = list; at && at->if_name && !found; at++)
		found = strcmp(at->if_name, LOOPBACK) && is_off(at->if_name);
	if (list)
		if_freenameindex(list);
	return found;
}

enum interfaces_v6 interfaces_ask_v6(const struct addr *address)
{
	struct v6_list list;

	if (address->any.sa_family != AF_INET6)
		return INTERFACES_V6_FINE;
	read_list(address, &list);
	if (list.tentative)
		return INTERFACES_V6_TENTATIVE;
	if (list.duplicate)
		return INTERFACES_V6_DUPLICATE;
	if (addr_is_loopback(address))
		return is_off(LOOPBACK) ? INTERFACES_V6_OFF : INTERFACES_V6_FINE;
	if (list.elsewhere || !(is_off_elsewhere() || is_off(LOOPBACK)))
		return INTERFACES_V6_FINE;
	if (addr_is_v6_wildcard(address) && list.on_loopback)
		return INTERFACES_V6_ONLY_LOOPBACK;
	return INTERFACES_V6_OFF;
}
