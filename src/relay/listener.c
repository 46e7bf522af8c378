/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Each worker has its own socket for every forward (SO_REUSEPORT). The kernel
 * spreads connections over these sockets by a hash. A worker that has at least two sessions more
 * than the least loaded worker hands a new connection over to that worker.
 *
 * A multishot accept takes everything that is in the backlog at once. So it is used only while
 * there is room for a full backlog of every worker; near the limit connections are accepted one by
 * one. If a connection was accepted and another worker has taken the last room, it waits in
 * `waiting_fd`.
 *
 * A session needs a descriptor for its backend, besides the client's. So a worker accepts only
 * while it has a descriptor in reserve (reserve.h), and otherwise tries again and again to get one:
 * a client in the backlog waits, but an accepted client could only be reset.
 */
#include "relay/listener.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "forward/tenancy.h"
#include "os/sock.h"

/*
 * So many connections are accepted one by one, and not handed over, after descriptors were short. A
 * multishot accept would take the descriptors that accepted sessions need for their backends, and
 * so would connections on their way to another worker.
 */
#define CAREFUL_ACCEPTS 1024

static uint64_t token_of(const struct listeners *self, const struct listener *listener,
			 enum engine_op op)
{
	return engine_token(op, 0, (unsigned)(listener - self->listeners), 0);
}

/* The sockets of one worker. */
static unsigned count_own(const struct forward_sockets *sockets, unsigned worker)
{
	unsigned count = 0;

	for (unsigned i = 0; i < sockets->count; i++)
		count += sockets->list[i].worker == worker;
	return count;
}

static void init_listener(struct listener *listener, struct forward *forward, int fd)
{
	listener->forward = forward;
	listener->fd = fd;
	listener->waiting_fd = -1;
	listener->timer.kind = LISTENER_TIMER;
	listener->backlog = (uint32_t)forward->config->options.backlog;
	listener->many_room = forward->socket_count * (listener->backlog + 1);
	listener_learn_device(listener);
}

int listeners_init(struct listeners *self, const struct forward_sockets *sockets,
		   struct sessions *sessions, struct engine **engines)
{
	unsigned count = count_own(sockets, sessions->worker);

	memset(self, 0, sizeof(*self));
	self->listeners = calloc(count, sizeof(*self->listeners));
	if (!self->listeners)
		return -ENOMEM;
	self->sessions = sessions;
	self->engines = engines;
	self->device_timer.kind = LISTENER_TIMER;
	for (unsigned i = 0; i < sockets->count; i++) {
		const struct forward_socket *socket = &sockets->list[i];

		if (socket->worker == sessions->worker)
			init_listener(&self->listeners[self->count++],
				      &sessions->forwards->list[socket->forward], socket->fd);
	}
	return 0;
}

void listeners_finish(struct listeners *self)
{
	for (unsigned i = 0; i < self->count; i++) {
		if (self->listeners[i].fd >= 0)
			close(self->listeners[i].fd);
		/* only of workers that never started */
		if (self->listeners[i].waiting_fd >= 0)
			close(self->listeners[i].waiting_fd);
	}
	free(self->listeners);
	memset(self, 0, sizeof(*self));
}

/* Logs that accepting pauses or goes on. `listener`: NULL for all. */
static void log_pause(const struct listener *listener, enum log_event event, const char *reason,
		      uint32_t session_count)
{
	struct log_line line;

	if (!log_begin(&line, event))
		return;
	if (listener)
		forward_log(listener->forward, &line);
	log_text(&line, "reason", reason);
	log_number(&line, "sessions", session_count);
	log_end(&line);
}

static uint32_t count_sessions(const struct listeners *self)
{
	return load_count(self->sessions->load);
}

static uint32_t count_forward_sessions(const struct listener *listener)
{
	return (uint32_t)listener->forward->config->options.maxconn_forward -
	       admission_room(listener->forward->admission);
}

static void refuse(struct listeners *self, int fd)
{
	close(fd);
	metrics_add(self->sessions->metrics, METRIC_connections_shed, 1);
}

/* Sets the options of a connection that was in the backlog of a passed socket at the start. */
static void tune_early(struct forward *forward, int fd)
{
	if (sock_tune_early(fd, &forward->listen, &forward->tuning))
		atomic_fetch_sub(&forward->early_count, 1);
}

/* Gives an accepted connection to a worker. Returns false if a limit is reached. */
static bool admit(struct listeners *self, struct listener *listener, int fd)
{
	struct sessions *sessions = self->sessions;
	struct tenancy tenancy;
	int worker;

	if (atomic_load_explicit(&listener->forward->early_count, memory_order_relaxed))
		tune_early(listener->forward, fd);
	if (!tenancy_begin(&tenancy, listener->forward))
		return false;
	worker = listener->careful_count ? load_admit_here(sessions->load, sessions->worker)
					 : load_admit(sessions->load, sessions->worker);
	if (worker < 0) {
		/*
		 * If another worker met the limit of the forward in the meantime, that worker waits
		 * for the end of a session. Every end of a session wakes all waiting workers.
		 */
		tenancy_end(&tenancy, sessions->now_ms);
		return false;
	}
	if ((unsigned)worker == sessions->worker) {
		session_open(sessions, listener->forward, fd);
		return true;
	}
	/* the other worker may have other listeners, but has the same forwards */
	engine_hand_over(sessions->engine, self->engines[worker], fd,
			 engine_token(ENGINE_OP_HANDED_OVER, 0, listener->forward->index, 0),
			 engine_token(ENGINE_OP_HAND_OVER_SENT, (unsigned)worker,
				      (unsigned)(listener - self->listeners), (unsigned)fd));
	self->sending_count++;
	metrics_add(sessions->metrics, METRIC_handed_over, 1);
	return true;
}

/* The number of sessions that the limits allow a listener to add. */
static uint32_t room_for(const struct listeners *self, const struct listener *listener)
{
	uint32_t room = load_room(self->sessions->load);
	uint32_t own = admission_room(listener->forward->admission);

	return MIN(room, own);
}

/*
 * Pauses at a limit. Returns true, without a pause, if there is room now: a session that ended
 * before load_wait() wakes no worker.
 */
static bool pause_full(struct listeners *self, struct listener *listener)
{
	struct sessions *sessions = self->sessions;

	load_wait(sessions->load, sessions->worker);
	if (room_for(self, listener))
		return true;
	if (load_room(sessions->load)) {
		if (!listener->full) {
			metrics_add(sessions->metrics, METRIC_accept_pauses_forward, 1);
			log_pause(listener, LOG_EVENT_accept_paused, "maxconn_forward",
				  count_forward_sessions(listener));
		}
		listener->full = true;
	} else if (!self->full) {
		self->full = true;
		metrics_add(sessions->metrics, METRIC_accept_pauses_maxconn, 1);
		log_pause(listener, LOG_EVENT_accept_paused, "maxconn", count_sessions(self));
	}
	return false;
}

static void pause_starved(struct listeners *self, struct listener *listener)
{
	timer_arm(self->sessions->wheel, &listener->timer, LISTENER_RETRY_MS);
	listener->careful_count = CAREFUL_ACCEPTS;
	if (listener->starved)
		return;
	listener->starved = true;
	metrics_add(self->sessions->metrics, METRIC_accept_pauses_descriptors, 1);
	log_pause(listener, LOG_EVENT_accept_paused, "descriptors", count_sessions(self));
}

static void admit_waiting(struct listeners *self, struct listener *listener)
{
	while (listener->waiting_fd >= 0) {
		if (!reserve_keep(&self->sessions->reserve)) {
			pause_starved(self, listener);
			return;
		}
		if (admit(self, listener, listener->waiting_fd))
			listener->waiting_fd = -1;
		else if (!pause_full(self, listener))
			return;
	}
}

static void admit_or_refuse(struct listeners *self, struct listener *listener, int fd)
{
	if (!admit(self, listener, fd))
		refuse(self, fd);
}

/* Ends a listener: serves the connections in its backlog, then closes the socket. */
static void drain_backlog(struct listeners *self, struct listener *listener)
{
	if (listener->waiting_fd >= 0)
		admit_or_refuse(self, listener, listener->waiting_fd);
	listener->waiting_fd = -1;
	/*
	 * the kernel queues one connection more than `backlog`; later arrivals are not served. The
	 * next process serves the backlog of a listener that it has.
	 */
	for (uint64_t i = 0; i <= listener->backlog && !listener->forward->given_away; i++) {
		int fd = sock_accept(listener->fd);

		if (fd >= 0)
			admit_or_refuse(self, listener, fd);
		else if (fd != -ECONNABORTED)
			break;
	}
	/* the next process or the service manager may have the socket too */
	engine_forget_shared(self->sessions->engine, listener->fd);
	close(listener->fd);
	listener->fd = -1;
}

/* Arms an accept, unless one is in flight or accepting has to pause. */
static void arm(struct listeners *self, struct listener *listener)
{
	if (listener->closing || listener->armed || listener->waiting_fd >= 0 ||
	    timer_is_armed(&listener->timer))
		return;
	if (listener->error && !listener_repair(self, listener))
		return;
	if (!reserve_keep(&self->sessions->reserve)) {
		pause_starved(self, listener);
		return;
	}
	if (!room_for(self, listener) && !pause_full(self, listener))
		return;
	listener->many = !self->no_multishot && !listener->careful_count &&
			 room_for(self, listener) > listener->many_room;
	engine_accept(self->sessions->engine, listener->fd, listener->many,
		      token_of(self, listener, ENGINE_OP_ACCEPT));
	listener->armed = true;
}

void listener_cancel_accept(struct listeners *self, struct listener *listener)
{
	if (!listener->armed || listener->cancelled)
		return;
	engine_cancel(self->sessions->engine, listener->fd,
		      token_of(self, listener, ENGINE_OP_ACCEPT));
	listener->cancelled = true;
}

void listeners_resume(struct listeners *self)
{
	bool lost;

	if (self->state != LISTENERS_OPEN)
		return;
	lost = listeners_find_lost(self);
	for (unsigned i = 0; i < self->count; i++) {
		struct listener *listener = &self->listeners[i];

		/* without its accept, arm() can open the listener again */
		if (lost && listener->error)
			listener_cancel_accept(self, listener);
		if (listener->closing) {
			/* its accept ended while the listeners were held */
			if (listener->fd >= 0 && !listener->armed)
				drain_backlog(self, listener);
			continue;
		}
		admit_waiting(self, listener);
		arm(self, listener);
		if (!listener->full || !room_for(self, listener))
			continue;
		listener->full = false;
		log_pause(listener, LOG_EVENT_accept_resumed, "maxconn_forward",
			  count_forward_sessions(listener));
	}
	if (self->full && load_room(self->sessions->load)) {
		self->full = false;
		log_pause(NULL, LOG_EVENT_accept_resumed, "maxconn", count_sessions(self));
	}
}

static void on_accepted(struct listeners *self, struct listener *listener, int fd)
{
	listener->careful_count -= MIN(listener->careful_count, 1);
	if (listener->starved) {
		listener->starved = false;
		log_pause(listener, LOG_EVENT_accept_resumed, "descriptors", count_sessions(self));
	}
	if (listener->waiting_fd >= 0)
		refuse(self, fd);
	else
		listener->waiting_fd = fd;
	/* after a refusal too: it has freed a descriptor, which the waiting connection may need */
	admit_waiting(self, listener);
}

static void on_accept_failed(struct listeners *self, struct listener *listener, int error)
{
	struct log_line line;

	if (error == -ECANCELED || listener->closing)
		return;
	listener->error = sock_listener_error(listener->fd);
	if (listener->error)
		return;
	if (error == -EINVAL && listener->many) {
		self->no_multishot = true;
		return;
	}
	if (sock_classify(error) == SOCK_DESCRIPTORS) {
		pause_starved(self, listener);
		return;
	}
	metrics_add(self->sessions->metrics, METRIC_accept_failures, 1);
	/* these are about one connection: the client has gone, or a firewall refused it */
	if (error != -ECONNABORTED && error != -EPROTO && error != -EPERM)
		timer_arm(self->sessions->wheel, &listener->timer, LISTENER_RETRY_MS);
	if (!log_begin(&line, LOG_EVENT_accept_failed))
		return;
	forward_log(listener->forward, &line);
	log_error(&line, "error", error);
	log_end(&line);
}

static void on_accept(struct listeners *self, struct listener *listener,
		      const struct engine_event *event)
{
	CHECK(listener->armed);
	if (event->result >= 0)
		on_accepted(self, listener, event->result);
	else
		on_accept_failed(self, listener, event->result);
	if (event->more) {
		if (listener->many && room_for(self, listener) <= listener->many_room)
			listener_cancel_accept(self, listener);
		return;
	}
	listener->armed = false;
	listener->cancelled = false;
	if (listener->closing && self->state != LISTENERS_HELD)
		drain_backlog(self, listener);
	else if (self->state == LISTENERS_OPEN)
		arm(self, listener);
}

/* Serves a connection here, because it could not be sent to the worker that was chosen. */
static void on_hand_over_failed(struct listeners *self, struct listener *listener,
				const struct engine_event *event)
{
	unsigned target = engine_token_lane(event->token);

	load_move(self->sessions->load, target, self->sessions->worker);
	/* in a drain, that worker may wait only for this connection, and can end now */
	engine_wake(self->engines[target]);
	session_open(self->sessions, listener->forward, (int)engine_token_generation(event->token));
}

static void on_handed_over(struct listeners *self, unsigned forward, int fd)
{
	struct forwards *forwards = self->sessions->forwards;

	CHECK(forward < forwards->count);
	session_open(self->sessions, &forwards->list[forward], fd);
}

void listeners_on_event(struct listeners *self, const struct engine_event *event)
{
	unsigned slot = engine_token_slot(event->token);
	enum engine_op op = engine_token_op(event->token);

	if (op == ENGINE_OP_HANDED_OVER) {
		on_handed_over(self, slot, event->result);
		return;
	}
	CHECK(slot < self->count);
	if (op == ENGINE_OP_ACCEPT) {
		on_accept(self, &self->listeners[slot], event);
		return;
	}
	CHECK(self->sending_count > 0);
	self->sending_count--;
	if (event->result < 0)
		on_hand_over_failed(self, &self->listeners[slot], event);
}

void listeners_pause(struct listeners *self)
{
	for (unsigned i = 0; i < self->count && self->state == LISTENERS_OPEN; i++) {
		if (self->listeners[i].closing)
			continue;
		pause_starved(self, &self->listeners[i]);
		listener_cancel_accept(self, &self->listeners[i]);
	}
}

static void close_listener(struct listeners *self, struct listener *listener)
{
	listener->closing = true;
	timer_cancel(self->sessions->wheel, &listener->timer);
	if (listener->armed)
		listener_cancel_accept(self, listener);
	else if (listener->fd >= 0)
		drain_backlog(self, listener);
}

void listeners_close(struct listeners *self)
{
	self->state = LISTENERS_CLOSING;
	timer_cancel(self->sessions->wheel, &self->device_timer);
	for (unsigned i = 0; i < self->count; i++)
		close_listener(self, &self->listeners[i]);
}

void listeners_close_drained(struct listeners *self)
{
	for (unsigned i = 0; i < self->count; i++)
		if (!self->listeners[i].closing && forward_drains(self->listeners[i].forward))
			close_listener(self, &self->listeners[i]);
}

bool listeners_are_closed(const struct listeners *self)
{
	for (unsigned i = 0; i < self->count; i++)
		if (self->listeners[i].fd >= 0)
			return false;
	return !self->sending_count;
}
