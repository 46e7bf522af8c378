/*
 * The socket of --admin in the file system: who may make it, who may connect to it.
 *
 * Whoever can write in its directory could put another socket in its place, so the directory must
 * belong to root or to the user that sixpipe runs as, and nobody else may write in it.
 */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "config/config.h"

struct admin_socket {
	int fd;
	struct sockaddr_un name;
	struct addr address; /* points to the name: must not be moved while it is open */
	bool for_group;	     /* mode 0660: the group's members may connect too */
};

/* Whose the socket is to be, before the privileges are given up. */
struct admin_owner {
	uid_t uid;
	gid_t gid;
};

/*
 * Whether the directory of `path` is one for such a socket. Returns 0 or -errno with `fault`, as the next: -EPERM where it
 * belongs to neither root nor the owner, and only there.
 */
int admin_socket_check(const char *path, const struct admin_owner *owner, struct fault *fault);

/*
 * Listens on `path` with mode 0600 or, `for_group`, 0660, and gives the file to `owner`. A socket
 * that is there already is replaced only if nobody listens on it. Only before there are threads: it
 * sets the umask for a moment. Returns 0 or -errno with `fault`: unix(7).
 */
int admin_socket_open(struct admin_socket *self, const char *path, bool for_group,
		      const struct admin_owner *owner, struct fault *fault);

/* Closes it, and removes the file where nobody else listens there now and the directory lets us. */
void admin_socket_close(struct admin_socket *self);

/*
 * Who is at the other end (SO_PEERCRED, unix(7)), and whether that is root, this process's user or,
 * with mode 0660, a member of its group (SO_PEERGROUPS, Linux 4.13).
 */
bool admin_socket_admits(const struct admin_socket *self, int fd, struct ucred *peer);
