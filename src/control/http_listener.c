/* SPDX-License-Identifier: MIT */
#include "control/http_listener.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "config/config_origin.h"
#include "forward/listener_bind.h"
#include "os/sock.h"
#include "os/timer.h"
#include "relay/listener.h"

/* The pause in accepting without descriptors; a waiting connection wakes the loop all the time. */
#define STARVED_PAUSE_MS 100

/* Large, so that a probe is not refused when many others connect. */
#define BACKLOG 1024

/*
 * The kernel shows a connection when its first bytes have come, or after about this long. So a
 * request of one packet is there when its connection is accepted, and is answered before others
 * need the slot.
 */
#define DEFER_ACCEPT_MS 1000

/* Describes why the listener cannot be opened. */
static void explain(const struct config *config, int result, struct fault *fault)
{
	if (result != -EADDRINUSE ||
	    !listener_describe_holder(&config->metrics, config->inherited, fault))
		listener_describe_error(&config->metrics, result, false, fault);
	fault->option = "metrics";
}

/* The listener of the process before, if it has the same address. NULL: there is none. */
static struct inherited_socket *find_inherited(const struct config *config)
{
	char given[ADDR_TEXT_BYTES];

	return inherited_find(config->inherited, INHERITED_METRICS,
			      addr_print(&config->metrics, given));
}

void http_listener_check(const struct config *config, struct config_errors *errors)
{
	const struct sock_tuning tuning = {0};
	struct fault fault;
	int result;

	if (!config->metrics.length_bytes || find_inherited(config))
		return;
	result = sock_try_bind(&config->metrics, &tuning);
	if (!result)
		return;
	explain(config, result, &fault);
	config_origin_add_to(errors, config, NULL, &fault);
}

int http_listener_open(struct http_listener *self, const struct config *config, struct fault *fault)
{
	const struct sock_tuning tuning = {.defer_accept_ms = DEFER_ACCEPT_MS};
	struct inherited_socket *inherited = find_inherited(config);
	unsigned waited_ms = config->inherited ? SOCK_WAITED_LONG : 0;
	int result;

	*self = (struct http_listener){.fd = -1, .address = config->metrics};
	if (inherited) {
		self->fd = inherited_take(inherited);
		if (!addr_is_local(&self->address))
			sock_get_local(self->fd, &self->address);
		return 0;
	}
	do
		result = sock_open_listeners(&self->address, &tuning, BACKLOG, &self->fd, 1);
	while (sock_may_try_again(result, &waited_ms));
	if (result) {
		self->fd = -1;
		explain(config, result, fault);
	}
	return result;
}

void http_listener_close(struct http_listener *self)
{
	if (self->fd >= 0)
		close(self->fd);
	self->fd = -1;
}

void http_listener_write(const struct http_listener *self, const struct addr *given,
			 struct carrier *carrier)
{
	struct inherited_socket record = {.role = INHERITED_METRICS, .fd = self->fd};
	char text[ADDR_TEXT_BYTES];

	snprintf(record.given, sizeof(record.given), "%s", addr_print(given, text));
	inherited_write(&record, carrier);
}

void http_listener_prepare_poll(const struct http_listener *self, struct poll_set *set)
{
	if (timer_now_ms() < self->accept_again_ms)
		poll_set_due(set, self->accept_again_ms);
	else
		poll_set_add(set, self->fd, POLLIN);
}

/* A listener that was destroyed (ss -K) would wake the loop all the time, so it is opened again. */
static void on_accept_failed(struct http_listener *self, int error)
{
	if (sock_listener_error(self->fd) == -ECONNABORTED) {
		error = sock_listen_again(self->fd, &self->address, BACKLOG);
		if (!error || !self->failed)
			listener_log_repair(NULL, &self->address, -ECONNABORTED, error);
		self->failed = error;
	}
	if (error && error != -EAGAIN && error != -ECONNABORTED)
		self->accept_again_ms = timer_now_ms() + STARVED_PAUSE_MS;
}

int http_listener_accept(struct http_listener *self)
{
	int fd;

	if (self->fd < 0 || timer_now_ms() < self->accept_again_ms)
		return -EAGAIN;
	fd = sock_accept(self->fd);
	if (fd < 0)
		on_accept_failed(self, fd);
	return fd;
}
