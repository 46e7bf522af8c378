/* Binding the listening sockets of a forward, and saying why that failed. Main thread, before the privilege drop. */
#pragma once

#include "base/addr.h"
#include "config/config.h"
#include "os/sock_tuning.h"

/* Where the sockets of one forward go, one per worker. */
struct listener_sockets {
	int *fds;
	unsigned count;
	unsigned
		waited_ms; /* for addresses that could not be bound at once, all forwards together */
};

/*
 * Binds a forward's sockets to `listen`, whose port of 0 is replaced, and listens. Logs why no client reaches them, if
 * none does yet. Returns 0, or -errno and nothing is left open: bind(2), listen(2).
 */
int listener_bind(struct addr *listen, const struct sock_tuning *tuning, unsigned backlog,
		  struct listener_sockets *sockets);

/*
 * Says in words why listening on `address` failed: the address, the reason (`error`, -errno) and
 * the remedy. `may_freebind`: --freebind holds for this address.
 */
void listener_describe_error(const struct addr *address, int error, bool may_freebind,
			     struct fault *fault);
