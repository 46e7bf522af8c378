/*
 * Loops: a backend whose address brings the session to the forward's own listener, or to another forward's from
 * where it comes back. One client would take all sessions. Whether an address is this host's only the kernel
 * knows, by its routes (os/route.h) or, for a listener with --bind-device, its interfaces (os/interfaces.h).
 */
#pragma once

#include "config/config.h"

/*
 * Adds to `errors` the loops of any length between forwards, by backends with addresses. Without
 * `ask_host` it counts only what the addresses tell: loopback, and addresses that are a listener's. For
 * a configuration whose ranges of ports are expanded. Returns 0 or -EINVAL.
 */
int config_loop_check(const struct config *config, bool ask_host, struct config_errors *errors);

/*
 * Whether what this host sends to `to` comes to the forward's listener now, which is bound to `listen`. Asks the kernel where the
 * addresses do not tell: some 20 microseconds, without waiting. False where it cannot be asked.
 */
bool config_loop_reaches(const struct config_forward *forward, const struct addr *listen,
			 const struct addr *to);
