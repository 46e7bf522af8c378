/*
 * Theory of operation. Two things end a listening socket for good. It is destroyed from outside (ss -K): an accept
 * fails, and the same socket can listen again. Or the interface that it is bound to is deleted: there is no event, so such sockets
 * are looked at every LISTENER_REPAIR_MS; and a new socket is needed, for an interface of the same name is another.
 * A socket that is only bound to an address serves again by itself once the address is there again.
 */
#include "relay/listener.h"

#include <errno.h>
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
	bool found = false, watches = false;

	if (timer_is_armed(&self->look_timer))
		return false;
	for (unsigned i = 0; i < self->count; i++) {
		struct listener *listener = &self->listeners[i];

		if (!*listener->device)
			continue;
		watches = true;
		if (!listener->fault)
			listener->fault = sock_listener_error(listener->fd);
		found |= listener->fault != 0;
	}
	if (watches)
		timer_arm(self->sessions->wheel, &self->look_timer, LISTENER_REPAIR_MS);
	return found;
}

static const char *find_remedy(int fault, int error)
{
	if (error == -ENODEV)
		return "make the interface again";
	if (error == -EADDRNOTAVAIL)
		return "give the interface its address again";
	if (error == -EADDRINUSE)
		return "stop the program that has the port now";
	if (fault == -ENODEV)
		return "restart sixpipe: this needs the privileges of its start";
	return "restart sixpipe";
}

void listener_tell_repair(const struct addr *listen, int fault, int error)
{
	struct log_line line;

	if (!log_begin(&line, error ? LOG_EVENT_listener_failed : LOG_EVENT_listener_reopened))
		return;
	log_addr(&line, "listen", listen);
	log_text(&line, "cause",
		 fault == -ENODEV ? "its interface was deleted"
				  : "its socket was destroyed from outside (ss -K)");
	if (error) {
		log_error(&line, "error", error);
		log_text(&line, "remedy", find_remedy(fault, error));
	}
	log_end(&line);
}

/* A socket in place of the one whose interface is gone. Returns 0 or -errno. */
static int replace_socket(struct listeners *self, struct listener *listener)
{
	struct addr address = listener->forward->listen;
	int fd;

	if (address.any.sa_family == AF_INET6 && address.v6.sin6_scope_id) {
		address.v6.sin6_scope_id = if_nametoindex(listener->device);
		if (!address.v6.sin6_scope_id)
			return -ENODEV;
	}
	fd = sock_join_listeners(&address, &listener->forward->tuning, listener->backlog);
	if (fd < 0)
		return fd;
	engine_forget(self->sessions->engine, listener->fd);
	close(listener->fd);
	listener->fd = fd;
	return 0;
}

static void set_failed(struct listeners *self, struct listener *listener, bool failed)
{
	if (failed == atomic_load(&listener->failed))
		return;
	atomic_store(&listener->failed, failed);
	if (failed)
		metrics_add(self->sessions->metrics, METRIC_listeners_failed, 1);
	else
		metrics_subtract(self->sessions->metrics, METRIC_listeners_failed, 1);
}

bool listener_repair(struct listeners *self, unsigned index)
{
	struct listener *listener = &self->listeners[index];
	const struct addr *listen = &listener->forward->listen;
	int error = listener->fault == -ENODEV
			    ? replace_socket(self, listener)
			    : sock_listen_again(listener->fd, listen, listener->backlog);

	if (!error || !atomic_load(&listener->failed))
		listener_tell_repair(listen, listener->fault, error);
	if (error)
		timer_arm(self->sessions->wheel, &listener->timer, LISTENER_REPAIR_MS);
	else
		listener->fault = 0;
	set_failed(self, listener, error);
	return !error;
}
