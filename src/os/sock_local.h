/* SPDX-License-Identifier: MIT */
/* Local listening sockets, in the file system or in the abstract namespace: unix(7). */
#pragma once

#include <sys/types.h>

#include "base/addr.h"

/*
 * Opens one listening socket on a local `address`, and stores `count` descriptors of it in `fds`.
 * There is no SO_REUSEPORT for local sockets, so all workers accept from the same queue. A
 * left-over file whose socket no process has open is replaced; otherwise the result is -EADDRINUSE,
 * or -EEXIST if the file is no socket. The new file gets `mode`. Call it only before there are
 * threads, because it changes the umask for a moment. Returns 0, or -errno with no descriptor left
 * open.
 */
int sock_listen_local(const struct addr *address, unsigned backlog, mode_t mode, int *fds,
		      unsigned count);

/*
 * Checks whether sock_listen_local() could listen on `address`: 0 or its -errno. Changes nothing.
 */
int sock_try_local(const struct addr *address);

/*
 * Changes the owner of a socket's file that was just made; owner and mode decide who may connect. A
 * user who may write in the directory could have put another file there, so a file that is no
 * socket or has further links is refused. Returns 0 or -errno.
 */
int sock_give_local(const char *path, uid_t uid, gid_t gid);

/* Removes the file of a socket that no process has open, if the permissions allow that. */
void sock_remove_local(const struct addr *address);
