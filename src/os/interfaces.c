#include "os/interfaces.h"

#include <ifaddrs.h>
#include <stddef.h>
#include <string.h>

static bool is_it(const struct sockaddr *own, struct in_addr address)
{
	struct sockaddr_in v4;

	if (!own || own->sa_family != AF_INET)
		return false;
	memcpy(&v4, own, sizeof(v4));
	return v4.sin_addr.s_addr == address.s_addr;
}

bool interfaces_have(struct in_addr address)
{
	struct ifaddrs *list;
	bool found = false;

	if (ntohl(address.s_addr) >> 24 == IN_LOOPBACKNET)
		return true;
	if (getifaddrs(&list))
		return false;
	for (const struct ifaddrs *own = list; own && !found; own = own->ifa_next)
		found = is_it(own->ifa_addr, address);
	freeifaddrs(list);
	return found;
}
