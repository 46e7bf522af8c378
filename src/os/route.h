/* SPDX-License-Identifier: MIT */
/* Questions to the kernel's routing table. */
#pragma once

#include <stdbool.h>

#include "base/addr.h"

/*
 * Checks that an address belongs to this host, by an interface or by a local route, so that answers
 * to it come back to this host: RTM_GETROUTE, rtnetlink(7). bind(2) is no such check if
 * net.ipv4.ip_nonlocal_bind is set. Does not block and does not allocate. Returns 0; -EADDRNOTAVAIL
 * if the address does not belong to this host; or another -errno.
 */
int route_check_local(const struct addr *address);

/*
 * Whether a connect from the address `source` failed with `error` (an errno of either sign) because
 * `source` no longer belongs to this host, although bind(2) accepted it. This happens only for IPv4
 * with net.ipv4.ip_nonlocal_bind set. Returns false if the kernel cannot be asked.
 */
bool route_lacks_source(const struct addr *source, int error);
