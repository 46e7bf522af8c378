/* SPDX-License-Identifier: MIT */
/* Listeners that another process takes over: listener.h. */
#include "relay/listener.h"

#include <stdio.h>
#include <unistd.h>

#include "base/check.h"
#include "os/inherited.h"
#include "os/sock.h"

void listeners_tune(struct listeners *self)
{
	for (unsigned i = 0; i < self->count; i++) {
		const struct listener *listener = &self->listeners[i];
		const struct forward *forward = listener->forward;
		struct sock_tuning tuning = forward->tuning;

		if (!forward->inherited)
			continue;
		if (forward->config->passed_count)
			tuning.local_mode = 0; /* the service manager makes the file */
		sock_retune_listener(listener->fd, &forward->listen, &tuning, listener->backlog);
	}
}

void listeners_write(const struct listeners *self, const struct forward *forward,
		     struct carrier *carrier)
{
	const struct config_forward *config = forward->config;
	struct inherited_socket record = {.role = INHERITED_LISTENER, .owner = forward->index};
	char listen[ADDR_TEXT_BYTES];

	/* its workers close the sockets, perhaps at this moment */
	if (forward_drains(forward))
		return;
	snprintf(record.forward, sizeof(record.forward), "%s", config->name);
	snprintf(record.given, sizeof(record.given), "%s", addr_print(&config->listen, listen));
	snprintf(record.device, sizeof(record.device), "%s",
		 forward->tuning.device ? forward->tuning.device : "");
	snprintf(record.socket_name, sizeof(record.socket_name), "%s",
		 config->socket_name ? config->socket_name : "");
	for (unsigned i = 0; i < self->count; i++) {
		/* not even a look at another forward's socket, which may be closed at this moment */
		if (self->listeners[i].forward != forward)
			continue;
		record.fd = self->listeners[i].fd;
		if (record.fd >= 0)
			inherited_write(&record, carrier);
	}
}

bool listeners_take(struct listeners *self, unsigned forward, int fd)
{
	for (unsigned i = 0; i < self->count; i++) {
		struct listener *listener = &self->listeners[i];

		if (listener->forward->index != forward || listener->waiting_fd >= 0)
			continue;
		listener->waiting_fd = fd;
		return true;
	}
	return false;
}

void listeners_hold(struct listeners *self)
{
	self->state = LISTENERS_HELD;
	for (unsigned i = 0; i < self->count; i++)
		listener_cancel_accept(self, &self->listeners[i]);
}

bool listeners_are_held(const struct listeners *self)
{
	for (unsigned i = 0; i < self->count; i++)
		if (self->listeners[i].armed)
			return false;
	return !self->sending_count;
}

void listeners_release(struct listeners *self)
{
	self->state = LISTENERS_OPEN;
}

void listeners_leave(struct listeners *self, const bool *moves)
{
	CHECK(self->state == LISTENERS_HELD);
	for (unsigned i = 0; i < self->count; i++) {
		struct listener *listener = &self->listeners[i];

		if (moves[listener->forward->index] && listener->waiting_fd >= 0) {
			close(listener->waiting_fd);
			listener->waiting_fd = -1;
		}
		/* listeners_close() ends the others: it serves a client that waits, and the backlog */
		if (!listener->forward->given_away || listener->fd < 0 || listener->waiting_fd >= 0)
			continue;
		timer_cancel(self->sessions->wheel, &listener->timer);
		engine_forget_shared(self->sessions->engine, listener->fd);
		close(listener->fd);
		listener->fd = -1;
	}
}
