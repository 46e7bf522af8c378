/* What the kernel's routing table says. */
#pragma once

#include <stdbool.h>

#include "base/addr.h"

/*
 * Whether an address is this host's: on an interface, or by a local route, so that connections can come
 * from it and the answers come back (RTM_GETROUTE, rtnetlink(7); bind(2) would not tell where
 * net.ipv4.ip_nonlocal_bind is set). The kernel answers at once; nothing waits or allocates. Returns 0,
 * -EADDRNOTAVAIL when it is not, or another -errno.
 */
int route_check_local(const struct addr *address);

/*
 * Whether a connect from the address `source`, which could be bound, failed with `error` (an errno of either
 * sign) because the address is this host's no more. Only IPv4 tells, and only with
 * net.ipv4.ip_nonlocal_bind does bind(2) not tell before. False where the kernel cannot be asked.
 */
bool route_lacks_source(const struct addr *source, int error);
