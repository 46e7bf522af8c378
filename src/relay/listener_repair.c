/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A listening socket ends for good in two ways.
 *
 * - It is destroyed from outside (ss -K). Then an accept fails, and the same socket can listen
 *   again.
 * - The interface that it is bound to is deleted. There is no event for this, so such sockets are
 *   inspected every LISTENER_REPAIR_MS. A new socket is needed, because a new interface is another
 *   interface, even with the same name.
 *
 * A socket that is bound to an address only needs no repair: it accepts again once the address is
 * back.
 */
#include "relay/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "os/sock.h"

void listener_learn_device(struct listener *listener)
{
	const struct addr *listen = &listener->forward->listen;
	const char *device = listener->forward->tuning.device;

	if (device)
		strncpy(listener->device, device, sizeof(listener->device) - 1);
	else if (listen->any.sa_family == AF_INET6 && listen->v6.sin6_scope_id &&
		 !if_indextoname(listen->v6.sin6_scope_id, listener->device))
		listener->device[0] = '\0';
}

bool listeners_find_lost(struct listeners *self)
{
	bool found = false;

	if (timer_is_armed(&self->device_timer))
		return false;
	for (unsigned i = 0; i < self->count; i++) {
		struct listener *listener = &self->listeners[i];

		if (!*listener->device || listener->closing)
			continue;
		timer_arm(self->sessions->wheel, &self->device_timer, LISTENER_REPAIR_MS);
		if (!listener->error)
			listener->error = sock_listener_error(listener->fd);
		found |= listener->error != 0;
	}
	return found;
}

static const char *find_remedy(int socket_error, int error)
{
	if (error == -ENOTSUP)
		return "stop sixpipe and the .socket unit that opened the socket, then start both";
	if (error == -ENODEV)
		return "make the interface again";
	if (error == -EADDRNOTAVAIL)
		return "give the interface its address again";
	if (error == -EADDRINUSE)
		return "stop the program that has the port now";
	if (socket_error == -ENODEV)
		return "restart sixpipe: this needs the privileges of its start";
	return "restart sixpipe";
}

void listener_log_repair(const char *forward, const struct addr *listen, int socket_error,
			 int error)
{
	struct log_line line;

	if (!log_begin(&line, error ? LOG_EVENT_listener_failed : LOG_EVENT_listener_reopened))
		return;
	log_forward(&line, forward, listen);
	log_text(&line, "cause",
		 socket_error == -ENODEV ? "its interface was deleted"
					 : "its socket was destroyed from outside (ss -K)");
	if (error) {
		log_error(&line, "error", error);
		log_text(&line, "remedy", find_remedy(socket_error, error));
	}
	log_end(&line);
}

/* Opens a new socket for a listener whose interface was deleted. Returns 0 or -errno. */
static int replace_socket(struct listeners *self, struct listener *listener)
{
	struct addr address = listener->forward->listen;
	int fd, error = 0;

	if (listener->forward->config->passed_count)
		return -ENOTSUP; /* a new socket would not be the service manager's */
	if (address.any.sa_family == AF_INET6 && address.v6.sin6_scope_id) {
		address.v6.sin6_scope_id = if_nametoindex(listener->device);
		if (!address.v6.sin6_scope_id)
			return -ENODEV;
	}
	fd = sock_join_listeners(&address, &listener->forward->tuning, listener->backlog);
	if (fd < 0)
		return fd;
	engine_forget(self->sessions->engine, listener->fd);
	/* the same number, which the main thread may read meanwhile */
	if (dup3(fd, listener->fd, O_CLOEXEC) < 0)
		error = -errno;
	close(fd);
	return error;
}

/*
 * Workers can share a passed or inherited socket: the first makes it listen again, and the others
 * find that it does. Returns -EBUSY while another worker is at it.
 */
static int listen_again(struct listener *listener)
{
	struct forward *forward = listener->forward;
	int error = 0;

	if (!forward->shared)
		return sock_listen_again(listener->fd, &forward->listen, listener->backlog);
	if (atomic_flag_test_and_set(&forward->repairing))
		return -EBUSY;
	if (sock_listener_error(listener->fd))
		error = sock_listen_again(listener->fd, &forward->listen, listener->backlog);
	atomic_flag_clear(&forward->repairing);
	return error;
}

bool listener_repair(struct listeners *self, struct listener *listener)
{
	struct metrics *metrics = self->sessions->metrics;
	const struct forward *forward = listener->forward;
	bool failed_before = atomic_load(&listener->failed);
	int error = listener->error == -ENODEV ? replace_socket(self, listener)
					       : listen_again(listener);

	if (error == -EBUSY) {
		timer_arm(self->sessions->wheel, &listener->timer, LISTENER_RETRY_MS);
		return false;
	}
	if (!error || !failed_before)
		listener_log_repair(forward->config->name, &forward->listen, listener->error,
				    error);
	if (error)
		timer_arm(self->sessions->wheel, &listener->timer, LISTENER_REPAIR_MS);
	else
		listener->error = 0;
	atomic_store(&listener->failed, error != 0);
	if (error && !failed_before)
		metrics_add(metrics, METRIC_listeners_failed, 1);
	else if (!error && failed_before)
		metrics_subtract(metrics, METRIC_listeners_failed, 1);
	return !error;
}
