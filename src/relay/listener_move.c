/* SPDX-License-Identifier: MIT */
/* Listeners that another process takes over: listener.h. */
#include "relay/listener.h"

#include <unistd.h>

#include "base/check.h"

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

		if (!moves[listener->forward->index] || listener->fd < 0)
			continue;
		timer_cancel(self->sessions->wheel, &listener->timer);
		if (listener->waiting_fd >= 0)
			close(listener->waiting_fd);
		listener->waiting_fd = -1;
		engine_forget_shared(self->sessions->engine, listener->fd);
		close(listener->fd);
		listener->fd = -1;
	}
}
