/* SPDX-License-Identifier: MIT */
/*
 * Binds the listening sockets of a forward, and describes the errors. Main thread, before the
 * privilege drop.
 */
#pragma once

#include "base/addr.h"
#include "config/config.h"
#include "os/sock_tuning.h"

/* The sockets of one forward, one per worker. */
struct listener_sockets {
	const char *forward; /* its name, for the log */
	int *fds;
	unsigned count;
	/* time spent in waiting for addresses that cannot be bound yet, of all forwards together */
	unsigned waited_ms;
};

/*
 * Binds a forward's sockets to `listen`, replaces a port of 0 there, and listens. Logs a reason if
 * no client can reach the sockets yet. Returns 0, or -errno and no socket is left open: bind(2),
 * listen(2).
 */
int listener_bind(struct addr *listen, const struct sock_tuning *tuning, unsigned backlog,
		  struct listener_sockets *sockets);

/*
 * Takes over the passed sockets of `forward`: each worker has one, or a duplicate of one. Sets
 * *early_count as sock_adopt_listener() does. Returns 0, or -errno: -E2BIG if there are more
 * sockets than workers; otherwise fcntl(2), setsockopt(2), listen(2). Then the sockets stay open.
 */
int listener_adopt(const struct config_forward *forward, const struct sock_tuning *tuning,
		   struct listener_sockets *sockets, uint32_t *early_count);

/* Describes why listener_adopt() failed, with `worker_count` workers. */
void listener_describe_adoption(const struct config_forward *forward, int error,
				unsigned worker_count, struct fault *fault);

/*
 * Describes why listening on `address` failed: the address, the reason (`error`, -errno) and the
 * remedy. `may_freebind`: --freebind applies to this address.
 */
void listener_describe_error(const struct addr *address, int error, bool may_freebind,
			     struct fault *fault);
