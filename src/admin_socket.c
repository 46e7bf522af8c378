#include "admin_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "host.h"
#include "sock_local.h"

/* Connections that wait to be accepted. */
#define BACKLOG 64

/* More groups than a user has; one with more is judged by the first group alone. */
#define PEER_GROUP_LIMIT 1024

static int fail(const char *path, int code, const char *remedy, char error[CONFIG_ERROR_BYTES])
{
	snprintf(error, CONFIG_ERROR_BYTES, "--admin '%.200s': %s; %s", path, strerror(code),
		 remedy);
	return -code;
}

static int refuse(const char *path, int code, const char *why, char error[CONFIG_ERROR_BYTES])
{
	snprintf(error, CONFIG_ERROR_BYTES, "--admin '%.200s': %s", path, why);
	return -code;
}

int admin_socket_check(const char *path, const struct admin_owner *owner,
		       char error[CONFIG_ERROR_BYTES])
{
	char directory[sizeof(struct sockaddr_un)];
	struct stat status;

	host_directory_of(path, directory, sizeof(directory));
	if (stat(directory, &status))
		return fail(path, errno,
			    "make its directory: install -d -m 0755 DIRECTORY, or systemd's "
			    "RuntimeDirectory=",
			    error);
	if (!S_ISDIR(status.st_mode))
		return fail(path, ENOTDIR, "give a path in a directory", error);
	if (status.st_uid != 0 && status.st_uid != owner->uid && status.st_uid != geteuid())
		return refuse(path, EPERM,
			      "its directory belongs to another user; take one that belongs to "
			      "root or to the user sixpipe runs as",
			      error);
	if (status.st_mode & (S_IWGRP | S_IWOTH))
		return refuse(path, EPERM,
			      "others can write in its directory, and so replace the socket; chmod "
			      "go-w it, or take another",
			      error);
	return 0;
}

/* Removes a socket that nobody listens on; anything else stays, and is an error. */
static int clear_path(const struct sockaddr_un *address, char error[CONFIG_ERROR_BYTES])
{
	const char *path = address->sun_path;
	struct stat status;
	int fd, code;

	if (lstat(path, &status))
		return errno == ENOENT ? 0 : fail(path, errno, "give another path", error);
	if (!S_ISSOCK(status.st_mode))
		return refuse(path, EEXIST,
			      "there is something else by that name; remove it, or give another "
			      "path",
			      error);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(path, errno, "raise the descriptor limit (ulimit -n)", error);
	code = connect(fd, (const struct sockaddr *)address, sizeof(*address)) ? errno : 0;
	close(fd);
	if (code != ECONNREFUSED)
		return refuse(path, EADDRINUSE,
			      "another process listens there; stop it, or give another path",
			      error);
	return unlink(path) ? fail(path, errno, "remove it, or give another path", error) : 0;
}

/* With the mode from the first moment on: nobody can connect in between. */
static int bind_with_mode(int fd, const struct sockaddr_un *address, mode_t mode)
{
	mode_t mask = umask(0777 & ~mode);
	int result = bind(fd, (const struct sockaddr *)address, sizeof(*address)) ? -errno : 0;

	umask(mask);
	return result;
}

static int listen_on(struct admin_socket *self, const struct sockaddr_un *address,
		     const struct admin_owner *owner)
{
	struct stat status;
	int result = bind_with_mode(self->fd, address, self->for_group ? 0660 : 0600);

	if (result)
		return result;
	result = sock_give_local(self->path, owner->uid, owner->gid, &status);
	if (!result && listen(self->fd, BACKLOG))
		result = -errno;
	if (result) {
		unlink(self->path);
		return result;
	}
	self->device = status.st_dev;
	self->inode = status.st_ino;
	return 0;
}

int admin_socket_open(struct admin_socket *self, const char *path, bool for_group,
		      const struct admin_owner *owner, char error[CONFIG_ERROR_BYTES])
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int result;

	*self = (struct admin_socket){.fd = -1, .path = path, .for_group = for_group};
	if (!*path || strlen(path) >= sizeof(address.sun_path))
		return refuse(path, EINVAL, "no path of 1 to 107 bytes; give one", error);
	strcpy(address.sun_path, path);
	result = admin_socket_check(path, owner, error);
	if (!result)
		result = clear_path(&address, error);
	if (result)
		return result;
	self->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (self->fd < 0)
		return fail(path, errno, "raise the descriptor limit (ulimit -n)", error);
	result = listen_on(self, &address, owner);
	if (!result)
		return 0;
	close(self->fd);
	self->fd = -1;
	return fail(path, -result,
		    result == -EPERM ? "it is given to --user: let CAP_CHOWN be there at the start"
				     : "give a path where sixpipe may make a socket",
		    error);
}

void admin_socket_close(struct admin_socket *self)
{
	struct stat status;

	if (self->fd < 0)
		return;
	close(self->fd);
	self->fd = -1;
	/* what cannot be removed is replaced by the next start */
	if (!lstat(self->path, &status) && status.st_dev == self->device &&
	    status.st_ino == self->inode)
		(void)unlink(self->path);
}

static bool is_in_group(int fd, const struct ucred *peer, gid_t group)
{
	gid_t groups[PEER_GROUP_LIMIT];
	socklen_t bytes = sizeof(groups);

	if (peer->gid == group)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &bytes))
		return false;
	for (size_t i = 0; i < bytes / sizeof(groups[0]); i++)
		if (groups[i] == group)
			return true;
	return false;
}

bool admin_socket_admits(const struct admin_socket *self, int fd, struct ucred *peer)
{
	socklen_t bytes = sizeof(*peer);

	*peer = (struct ucred){.uid = (uid_t)-1, .gid = (gid_t)-1};
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, peer, &bytes))
		return false;
	if (peer->uid == 0 || peer->uid == geteuid())
		return true;
	return self->for_group && is_in_group(fd, peer, getegid());
}
