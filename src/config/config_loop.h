/* SPDX-License-Identifier: MIT */
/*
 * Loops: a backend's address leads to the forward's own listener, or to another forward whose
 * backends lead back. One client would take all sessions. Only the kernel knows which addresses are
 * this host's: from its routes (os/route.h) or, for a listener with --bind-device, from its
 * interfaces (os/interfaces.h).
 */
#pragma once

#include "config/config.h"

/*
 * Adds a fault to `errors` for each loop, of any length, through backends with addresses. Without
 * `ask_host` only loopback addresses and listeners' addresses count as this host's. Ranges of ports
 * must be expanded already. Returns 0 or -EINVAL.
 */
int config_loop_check(const struct config *config, bool ask_host, struct config_errors *errors);

/*
 * Whether a connection from this host to `to` comes to the forward's listener, which is bound to
 * `listen`. Asks the kernel if the addresses are not enough: about 20 microseconds, without
 * waiting. False if the kernel cannot be asked.
 */
bool config_loop_reaches(const struct config_forward *forward, const struct addr *listen,
			 const struct addr *to);
