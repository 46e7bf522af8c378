/* SPDX-License-Identifier: MIT */
#include "admin/admin_socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/host.h"
#include "os/sock.h"
#include "os/sock_local.h"

#define BACKLOG 64

/* More groups than users have. Of a user with more, only the primary group counts. */
#define PEER_GROUP_LIMIT 1024

static int fail(const char *path, int code, const char *remedy, struct fault *fault)
{
	fault_set(fault, "admin", path, "%s; %s", strerror(code), remedy);
	return -code;
}

static int refuse(const char *path, int code, const char *why, struct fault *fault)
{
	fault_set_words(fault, "admin", path, why);
	return -code;
}

int admin_socket_check(const char *path, struct forward_owner owner, struct fault *fault)
{
	char directory[sizeof(struct sockaddr_un)];
	struct stat status;

	host_directory_of(path, directory, sizeof(directory));
	if (stat(directory, &status))
		return fail(path, errno,
			    "make its directory: install -d -m 0755 DIRECTORY, or systemd's "
			    "RuntimeDirectory=",
			    fault);
	if (!S_ISDIR(status.st_mode))
		return fail(path, ENOTDIR, "give a path in a directory", fault);
	if (status.st_uid != 0 && status.st_uid != owner.uid && status.st_uid != geteuid())
		return refuse(path, EPERM,
			      "its directory belongs to another user; take one that belongs to "
			      "root or to the user sixpipe runs as",
			      fault);
	if (status.st_mode & (S_IWGRP | S_IWOTH))
		return refuse(path, EACCES,
			      "others can write in its directory, and so replace the socket; chmod "
			      "go-w it, or take another",
			      fault);
	return 0;
}

static const char *remedy_for(int result)
{
	if (sock_classify(result) == SOCK_DESCRIPTORS)
		return "raise the descriptor limit (ulimit -n)";
	return result == -EPERM ? "it is given to --user: let CAP_CHOWN be there at the start"
				: "give a path where sixpipe may make a socket";
}

static int explain(const char *path, int result, struct fault *fault)
{
	if (result == -EEXIST)
		return refuse(
			path, EEXIST,
			"there is something else by that name; remove it, or give another path",
			fault);
	if (result == -EADDRINUSE)
		return refuse(path, EADDRINUSE,
			      "another process listens there; stop it, or give another path",
			      fault);
	return fail(path, -result, remedy_for(result), fault);
}

static mode_t mode_of(const struct admin_socket *self)
{
	return self->for_group ? 0660 : 0600;
}

static int listen_on(struct admin_socket *self, struct forward_owner owner)
{
	const struct sock_tuning tuning = {.local_mode = mode_of(self)};
	unsigned waited_ms = 0;
	int result;

	do
		result = sock_open_listeners(&self->address, &tuning, BACKLOG, &self->fd, 1);
	while (sock_may_try_again(result, &waited_ms));
	if (result) {
		self->fd = -1;
		return result;
	}
	result = sock_give_local(self->name.sun_path, owner.uid, owner.gid);
	if (result)
		admin_socket_close(self);
	return result;
}

/* Returns whether the path fits into a socket's name. */
static bool init(struct admin_socket *self, const char *path, bool for_group)
{
	size_t length = strlen(path);

	*self = (struct admin_socket){.fd = -1, .for_group = for_group};
	if (!length || length >= sizeof(self->name.sun_path))
		return false;
	self->name.sun_family = AF_UNIX;
	strcpy(self->name.sun_path, path);
	self->address.local = (struct addr_local){
		.family = AF_UNIX, .path_bytes = (uint16_t)length, .name = &self->name};
	self->address.length_bytes = sizeof(self->address.local);
	return true;
}

bool admin_socket_inherit(struct admin_socket *self, const char *path, bool for_group,
			  struct inherited *inherited)
{
	struct inherited_socket *found = inherited_find(inherited, INHERITED_ADMIN, path);

	if (!init(self, path, for_group) || !found)
		return false;
	self->fd = inherited_take(found);
	return true;
}

void admin_socket_settle(struct admin_socket *self)
{
	/* fails if another user owns the file, and then the mode stays */
	(void)chmod(self->name.sun_path, mode_of(self));
}

void admin_socket_write(const struct admin_socket *self, struct carrier *carrier)
{
	struct inherited_socket record = {.role = INHERITED_ADMIN, .fd = self->fd};

	snprintf(record.given, sizeof(record.given), "%s", self->name.sun_path);
	inherited_write(&record, carrier);
}

int admin_socket_open(struct admin_socket *self, const char *path, bool for_group,
		      struct forward_owner owner, struct fault *fault)
{
	int result;

	if (!init(self, path, for_group))
		return refuse(path, EINVAL, "no path of 1 to 107 bytes; give one", fault);
	result = admin_socket_check(path, owner, fault);
	if (result)
		return result;
	result = listen_on(self, owner);
	return result ? explain(path, result, fault) : 0;
}

void admin_socket_close(struct admin_socket *self)
{
	if (self->fd < 0)
		return;
	close(self->fd);
	self->fd = -1;
	sock_remove_local(&self->address);
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
