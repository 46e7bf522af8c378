/* SPDX-License-Identifier: MIT */
#include "os/inherited.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

/* Reading -------------------------------------------------------------------------------------- */

static int read_hello(struct inherited *self)
{
	struct carrier *carrier = self->carrier;

	if (carrier_take(carrier) != INHERITED_PROTOCOL)
		return -EPROTONOSUPPORT;
	self->state_version = carrier_take(carrier);
	self->listeners_only = self->state_version != INHERITED_STATE_VERSION;
	carrier_take_text(carrier, self->old_version, sizeof(self->old_version));
	self->old_maxconn = (uint32_t)carrier_take(carrier);
	self->old_workers = (unsigned)carrier_take(carrier);
	self->boot_id = carrier_take(carrier);
	self->old_sessions = (uint32_t)carrier_take(carrier);
	if (!carrier_is_whole(carrier))
		return -EBADMSG;
	carrier_take_text(carrier, self->old_user, sizeof(self->old_user));
	return 0;
}

/* Whether another descriptor of the same socket is there: workers can share a socket. */
static bool is_known(const struct inherited *self, const struct inherited_socket *socket)
{
	for (unsigned i = self->count; i-- > 0;) {
		const struct inherited_socket *earlier = &self->sockets[i];

		if (earlier->role != socket->role || earlier->owner != socket->owner)
			return false;
		if (earlier->inode == socket->inode)
			return true;
	}
	return false;
}

/* The array doubles, so that thousands of sockets are not copied for each one. */
static int add(struct inherited *self, const struct inherited_socket *socket)
{
	struct inherited_socket *grown = self->sockets;

	if (!(self->count & (self->count - 1)))
		grown = reallocarray(grown, self->count ? 2 * self->count : 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	self->sockets = grown;
	self->sockets[self->count++] = *socket;
	return 0;
}

static int read_socket(struct inherited *self)
{
	struct carrier *carrier = self->carrier;
	struct inherited_socket socket = {.role = (enum inherited_role)carrier_take(carrier)};
	struct stat status = {0};
	int result = 0;

	socket.owner = (unsigned)carrier_take(carrier);
	carrier_take_text(carrier, socket.forward, sizeof(socket.forward));
	carrier_take_text(carrier, socket.given, sizeof(socket.given));
	carrier_take_text(carrier, socket.device, sizeof(socket.device));
	carrier_take_text(carrier, socket.socket_name, sizeof(socket.socket_name));
	socket.fd = carrier_take_fd(carrier);
	if (!carrier_is_whole(carrier) || socket.owner >= INHERITED_FORWARD_LIMIT ||
	    fstat(socket.fd, &status))
		result = -EBADMSG;
	socket.inode = status.st_ino;
	if (!result && !is_known(self, &socket)) {
		result = add(self, &socket);
		if (!result)
			return 0;
	}
	if (socket.fd >= 0)
		close(socket.fd);
	return result;
}

int inherited_read(struct inherited *self, struct carrier *carrier)
{
	enum carrier_kind kind;
	int result = carrier_next(carrier, &kind);

	*self = (struct inherited){.carrier = carrier};
	if (!result)
		result = kind == CARRIER_HELLO ? read_hello(self) : -EBADMSG;
	while (!result && kind != CARRIER_GREETED) {
		result = carrier_next(carrier, &kind);
		if (!result && kind == CARRIER_SOCKET)
			result = read_socket(self);
	}
	if (result)
		inherited_finish(self);
	return result;
}

void inherited_close_rest(struct inherited *self)
{
	for (unsigned i = 0; self && i < self->count; i++) {
		struct inherited_socket *socket = &self->sockets[i];

		if (socket->fd >= 0)
			close(socket->fd);
		socket->fd = -1;
	}
}

void inherited_finish(struct inherited *self)
{
	inherited_close_rest(self);
	free(self->sockets);
	*self = (struct inherited){.carrier = self->carrier};
}

/* Taking --------------------------------------------------------------------------------------- */

struct inherited_socket *inherited_find(struct inherited *self, enum inherited_role role,
					const char *given)
{
	for (unsigned i = 0; self && i < self->count; i++) {
		struct inherited_socket *socket = &self->sockets[i];

		if (socket->role == role && socket->fd >= 0 && !strcmp(socket->given, given))
			return socket;
	}
	return NULL;
}

int inherited_take(struct inherited_socket *socket)
{
	int fd = socket->fd;

	CHECK(fd >= 0);
	socket->used = true;
	socket->fd = -1;
	return fd;
}

int inherited_take_lock(struct inherited *self, int fd)
{
	struct stat own, other;

	if (!self || fstat(fd, &own))
		return -1;
	for (unsigned i = 0; i < self->count; i++) {
		struct inherited_socket *socket = &self->sockets[i];

		if (socket->role == INHERITED_LOCK && socket->fd >= 0 &&
		    !fstat(socket->fd, &other) && own.st_dev == other.st_dev &&
		    own.st_ino == other.st_ino)
			return inherited_take(socket);
	}
	return -1;
}

/* The old process ------------------------------------------------------------------------------ */

void inherited_write(const struct inherited_socket *socket, struct carrier *carrier)
{
	CHECK(socket->owner < INHERITED_FORWARD_LIMIT);
	carrier_begin(carrier, CARRIER_SOCKET);
	carrier_put(carrier, socket->role);
	carrier_put(carrier, socket->owner);
	carrier_put_text(carrier, socket->forward);
	carrier_put_text(carrier, socket->given);
	carrier_put_text(carrier, socket->device);
	carrier_put_text(carrier, socket->socket_name);
	carrier_put_fd(carrier, socket->fd);
	carrier_end(carrier);
}

void inherited_put_adopted(const struct inherited *self, struct carrier *carrier)
{
	bool adopted[INHERITED_FORWARD_LIMIT] = {false};

	for (unsigned i = 0; i < self->count; i++)
		if (self->sockets[i].role == INHERITED_LISTENER && self->sockets[i].used)
			adopted[self->sockets[i].owner] = true;
	carrier_put_bytes(carrier, adopted, sizeof(adopted));
}

void inherited_take_adopted(struct carrier *carrier, bool adopted[INHERITED_FORWARD_LIMIT])
{
	uint8_t bytes[INHERITED_FORWARD_LIMIT];

	carrier_take_bytes(carrier, bytes, sizeof(bytes));
	for (unsigned i = 0; i < INHERITED_FORWARD_LIMIT; i++)
		adopted[i] = bytes[i];
}
