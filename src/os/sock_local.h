/*
 * Listening in the file system or in the abstract namespace: unix(7). TCP's options do not hold
 * there.
 */
#pragma once

#include <sys/types.h>

#include "base/addr.h"

/*
 * Listens on a local `address`, once; each of the `count` descriptors in `fds` is that one socket,
 * for there is no SO_REUSEPORT here: whoever accepts first has the connection. A file whose socket
 * nobody has any more is replaced; -EADDRINUSE where somebody has, -EEXIST where it is no socket. The
 * file gets `mode`. Only before there are threads: it sets the umask for a moment. Returns 0 or
 * -errno, with nothing left open.
 */
int sock_listen_local(const struct addr *address, unsigned backlog, mode_t mode, int *fds,
		      unsigned count);

/* Whether nobody has it, and we may: 0, or -errno as of sock_listen_local(). Changes nothing. */
int sock_try_local(const struct addr *address);

/*
 * Gives the file of a socket that was just made to a user: whose it is decides with its mode who may connect. Never another file
 * that somebody may have put there, whose directory it is. Returns 0 or -errno.
 */
int sock_give_local(const char *path, uid_t uid, gid_t gid);

/* Removes the file of a socket that nobody has any more, if we may. */
void sock_remove_local(const struct addr *address);
