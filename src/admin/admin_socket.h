/* SPDX-License-Identifier: MIT */
/*
 * The file of the admin socket: who may create it, and who may connect to it.
 *
 * A user who can write in the directory can replace the socket. So the directory must belong to
 * root or to the user that sixpipe runs as, and no other user may write in it.
 */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "forward/forward.h"

struct admin_socket {
	int fd;
	struct sockaddr_un name;
	struct addr address; /* points to `name`: do not move the struct while the socket is open */
	bool for_group;	     /* mode 0660: the group's members may connect too */
};

/*
 * Checks the directory of `path`. Returns 0, or -errno with `fault` as admin_socket_open(); -EPERM
 * means only this: the directory belongs to neither root nor the owner.
 */
int admin_socket_check(const char *path, struct forward_owner owner, struct fault *fault);

/*
 * Listens on `path` with mode 0600, or 0660 if `for_group`, and gives the file to `owner`, before
 * the privileges are dropped. Replaces an existing socket only if no process listens on it. Sets
 * the umask for a moment, so call it before there are threads. Returns 0, or -errno with `fault`:
 * path, reason and remedy. unix(7).
 */
int admin_socket_open(struct admin_socket *self, const char *path, bool for_group,
		      struct forward_owner owner, struct fault *fault);

/*
 * Takes the socket of this path over from the process before, if it has one, and changes nothing
 * about it. Returns whether it did; otherwise call admin_socket_open().
 */
bool admin_socket_inherit(struct admin_socket *self, const char *path, bool for_group,
			  struct inherited *inherited);

/* Gives the file of an inherited socket its mode. When the process before has given up. */
void admin_socket_settle(struct admin_socket *self);

/* Writes the socket for the process that takes over: inherited_write(). */
void admin_socket_write(const struct admin_socket *self, struct carrier *carrier);

/* Closes the socket. Removes the file if no other process listens there and we may remove it. */
void admin_socket_close(struct admin_socket *self);

/*
 * Stores the user at the other end (SO_PEERCRED, unix(7)). Returns whether this user is root, the
 * user of this process or, with mode 0660, a member of its group (SO_PEERGROUPS, Linux 4.13).
 */
bool admin_socket_admits(const struct admin_socket *self, int fd, struct ucred *peer);
