/* SPDX-License-Identifier: MIT */
/*
 * Opens the listening sockets of a forward: binds new ones, or takes over those of the service
 * manager or of the process before this one. Describes the errors. Main thread, before the
 * privilege drop.
 */
#pragma once

#include "base/addr.h"
#include "config/config.h"
#include "os/sock_tuning.h"

/*
 * The sockets of one forward after the other. listener_bind(), listener_adopt() and
 * listener_inherit() set `fds`, `count` and `shared`.
 */
struct listener_sockets {
	const char *forward; /* its name, for the log */
	unsigned worker_count;
	int *fds;	/* the caller frees it: free(3) */
	unsigned count; /* of `fds`: at least one for each worker */
	bool shared;	/* at least two workers accept from the same socket */
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
 * Takes over the passed sockets of `forward`: each worker has at least one, or a duplicate of one.
 * Sets *early_count as sock_adopt_listener() does. Returns 0, or -errno: fcntl(2), setsockopt(2),
 * listen(2). Then the sockets stay open.
 */
int listener_adopt(const struct config_forward *forward, const struct sock_tuning *tuning,
		   struct listener_sockets *sockets, uint32_t *early_count);

/* Describes why listener_adopt() failed. */
void listener_describe_adoption(const struct config_forward *forward, int error,
				struct fault *fault);

/*
 * Takes over the sockets that the process before this one has for `forward`: passed sockets, or
 * those with the same address, interface and families (--dual-stack). A port of 0 is the same for a
 * forward of the same name. Changes nothing about the sockets. Each worker gets at least one, or a
 * duplicate of one. Returns 0, and `count` 0 if there are none; or -errno with `fault`, and closes
 * the sockets: fcntl(2); -EPERM if an option would have to change, and that needs a privilege.
 */
int listener_inherit(const struct config *config, const struct config_forward *forward,
		     struct listener_sockets *sockets, struct fault *fault);

/*
 * Describes why listening on `address` failed: the address, the reason (`error`, -errno) and the
 * remedy. `may_freebind`: --freebind applies to this address.
 */
void listener_describe_error(const struct addr *address, int error, bool may_freebind,
			     struct fault *fault);

/*
 * After -EADDRINUSE: whether the process before this one has the port or path of `address`, with
 * another address, interface or families. If so, describes that. `inherited` may be NULL.
 */
bool listener_describe_holder(const struct addr *address, const struct inherited *inherited,
			      struct fault *fault);
