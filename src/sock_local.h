/*
 * Listening in the file system or in the abstract namespace: unix(7). TCP's options do not hold
 * there.
 */
#pragma once

#include <sys/types.h>

#include "addr.h"

/*
 * Listens on a local `address`, once; each of the `count` descriptors in `fds` is that one socket,
 * for there is no SO_REUSEPORT here: whoever accepts first has the connection. A file that is a
 * socket, and on which nobody listens, is replaced; anything else is -EADDRINUSE. The file gets
 * `mode`. Only before there are threads: it sets the umask for a moment. Returns 0 or -errno, with
 * nothing left open.
 */
int sock_listen_local(const struct addr *address, unsigned backlog, mode_t mode, int *fds,
		      unsigned count);

/* Whether nobody listens there yet, and we may: 0 or -errno. Changes nothing. */
int sock_try_local(const struct addr *address);

/* Removes the file of a socket on which nobody listens any more, if we may. */
void sock_remove_local(const struct addr *address);
