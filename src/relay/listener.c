/*
 * Theory of operation. Each worker has a socket of its own for every listener (SO_REUSEPORT): the
 * kernel spreads connections by hash, and a worker that has got two more sessions than the least
 * loaded one hands the connection over.
 *
 * A multishot accept takes everything that waits in the backlog at once, so it is used only while
 * there is room for a whole backlog of every worker; near the limit connections are accepted one by
 * one. What is accepted and cannot be admitted, because another worker was faster, waits
 * in `waiting_fd`.
 *
 * A session needs a descriptor of its own, besides that of its client. So accepting goes on only with one
 * in reserve (reserve.h), which is tried for again and again: a client in the backlog
 * waits, one that was accepted could only be reset.
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
 * After a want of descriptors: a multishot accept would take those that the accepted sessions need
 * for their backends, and so would connections on their way to another worker.
 */
#define CAREFUL_ACCEPTS 1024

static const char forward_full[] = "maxconn_forward"; /* why a listener pauses */

static uint64_t accept_token(unsigned index)
{
	return engine_token(ENGINE_OP_ACCEPT, 0, index, 0);
}

int listeners_init(struct listeners *self, const int *fds, struct sessions *sessions,
		   struct engine **engines, unsigned worker_count)
{
	struct forwards *forwards = sessions->forwards;

	memset(self, 0, sizeof(*self));
	self->listeners = calloc(forwards->count, sizeof(*self->listeners));
	if (!self->listeners)
		return -ENOMEM;
	self->count = forwards->count;
	self->sessions = sessions;
	self->engines = engines;
	self->look_timer.kind = LISTENER_TIMER;
	for (unsigned i = 0; i < self->count; i++) {
		self->listeners[i].forward = &forwards->list[i];
		self->listeners[i].fd = fds[i];
		self->listeners[i].waiting_fd = -1;
		self->listeners[i].timer.kind = LISTENER_TIMER;
		self->listeners[i].backlog = (uint32_t)forwards->list[i].config->options.backlog;
		listener_learn_device(&self->listeners[i]);
		self->listeners[i].many_room = worker_count * (self->listeners[i].backlog + 1);
	}
	return 0;
}

void listeners_finish(struct listeners *self)
{
	for (unsigned i = 0; i < self->count; i++)
		if (self->listeners[i].fd >= 0)
			close(self->listeners[i].fd);
	free(self->listeners);
	memset(self, 0, sizeof(*self));
}

/* Of all sessions, or of those of a listener that has its own limit. */
static uint32_t count_sessions(const struct listeners *self, const char *reason, int index)
{
	const struct sessions *sessions = self->sessions;

	if (reason == forward_full) {
		const struct forward *forward = self->listeners[index].forward;

		return (uint32_t)forward->config->options.maxconn_forward -
		       admission_room(forward->admission);
	}
	return sessions->load->limit - load_room(sessions->load);
}

/* `index` is that of the listener, or -1 for all. */
static void log_pause(struct listeners *self, enum log_event event, const char *reason, int index)
{
	struct log_line line;

	if (!log_begin(&line, event))
		return;
	log_text(&line, "reason", reason);
	if (index >= 0)
		log_addr(&line, "listen", &self->listeners[index].forward->listen);
	log_number(&line, "sessions", count_sessions(self, reason, index));
	log_end(&line);
}

static void refuse(struct listeners *self, int fd)
{
	close(fd);
	metrics_add(self->sessions->metrics, METRIC_connections_shed, 1);
}

/* Gives an accepted connection to a worker, or returns false: a maxconn is reached. */
static bool admit(struct listeners *self, unsigned index, int fd)
{
	struct sessions *sessions = self->sessions;
	struct forward *forward = self->listeners[index].forward;
	struct tenancy tenancy;
	int worker;

	if (!tenancy_begin(&tenancy, forward))
		return false;
	worker = self->listeners[index].careful_count
			 ? load_admit_here(sessions->load, sessions->worker)
			 : load_admit(sessions->load, sessions->worker);
	if (worker < 0) {
		/*
		 * another worker may have met the limit meanwhile: it can take no session until one
		 * ends, which wakes all who wait
		 */
		tenancy_end(&tenancy, sessions->now_ms);
		return false;
	}
	if ((unsigned)worker == sessions->worker) {
		session_open(sessions, forward, fd);
		return true;
	}
	engine_hand_over(
		sessions->engine, self->engines[worker], fd,
		engine_token(ENGINE_OP_HANDED_OVER, 0, index, 0),
		engine_token(ENGINE_OP_HAND_OVER_SENT, (unsigned)worker, index, (unsigned)fd));
	self->sending_count++;
	metrics_add(sessions->metrics, METRIC_handed_over, 1);
	return true;
}

/* Sessions that a listener may still bring. */
static uint32_t room_for(const struct listeners *self, unsigned index)
{
	uint32_t room = load_room(self->sessions->load);
	uint32_t own = admission_room(self->listeners[index].forward->admission);

	return MIN(room, own);
}

/* The listener has its --maxconn-forward, and there would be room for others. */
static void pause_listener(struct listeners *self, unsigned index)
{
	if (self->listeners[index].full)
		return;
	self->listeners[index].full = true;
	metrics_add(self->sessions->metrics, METRIC_accept_pauses_forward, 1);
	log_pause(self, LOG_EVENT_accept_paused, forward_full, (int)index);
}

static void resume_listener(struct listeners *self, unsigned index)
{
	if (!self->listeners[index].full || !room_for(self, index))
		return;
	self->listeners[index].full = false;
	log_pause(self, LOG_EVENT_accept_resumed, forward_full, (int)index);
}

/*
 * Waits for room, or returns true when there is some after all: a session that ended between the
 * look and the wait has seen nobody waiting.
 */
static bool pause_full(struct listeners *self, unsigned index)
{
	load_wait(self->sessions->load, self->sessions->worker);
	if (room_for(self, index))
		return true;
	if (load_room(self->sessions->load)) {
		pause_listener(self, index);
	} else if (!self->full) {
		self->full = true;
		metrics_add(self->sessions->metrics, METRIC_accept_pauses_maxconn, 1);
		log_pause(self, LOG_EVENT_accept_paused, "maxconn", (int)index);
	}
	return false;
}

static void pause_starved(struct listeners *self, unsigned index)
{
	struct listener *listener = &self->listeners[index];

	timer_arm(self->sessions->wheel, &listener->timer, LISTENER_RETRY_MS);
	listener->careful_count = CAREFUL_ACCEPTS;
	if (listener->starved)
		return;
	listener->starved = true;
	metrics_add(self->sessions->metrics, METRIC_accept_pauses_descriptors, 1);
	log_pause(self, LOG_EVENT_accept_paused, "descriptors", (int)index);
}

static void admit_waiting(struct listeners *self, unsigned index)
{
	struct listener *listener = &self->listeners[index];

	while (listener->waiting_fd >= 0) {
		if (!reserve_keep(&self->sessions->reserve)) {
			pause_starved(self, index);
			return;
		}
		if (admit(self, index, listener->waiting_fd))
			listener->waiting_fd = -1;
		else if (!pause_full(self, index))
			return;
	}
}

/* The end of a listener: what waits in its backlog is still served. */
static void drain_backlog(struct listeners *self, unsigned index)
{
	struct listener *listener = &self->listeners[index];
	int fd;

	if (listener->waiting_fd >= 0 && !admit(self, index, listener->waiting_fd))
		refuse(self, listener->waiting_fd);
	listener->waiting_fd = -1;
	/* the backlog holds one more than its number; what comes meanwhile is not waited for */
	for (uint64_t i = 0; i <= listener->backlog; i++) {
		fd = sock_accept(listener->fd);
		if (fd < 0 && fd != -ECONNABORTED)
			break;
		if (fd >= 0 && !admit(self, index, fd))
			refuse(self, fd);
	}
	engine_forget(self->sessions->engine, listener->fd);
	close(listener->fd);
	listener->fd = -1;
}

/* Arms an accept where nothing stands against it. */
static void arm(struct listeners *self, unsigned index)
{
	struct listener *listener = &self->listeners[index];
	uint32_t room;

	if (listener->armed || listener->waiting_fd >= 0 || timer_is_armed(&listener->timer))
		return;
	if (listener->fault && !listener_repair(self, index))
		return;
	if (!reserve_keep(&self->sessions->reserve)) {
		pause_starved(self, index);
		return;
	}
	if (!room_for(self, index) && !pause_full(self, index))
		return;
	room = room_for(self, index);
	listener->many =
		!self->no_multishot && !listener->careful_count && room > listener->many_room;
	engine_accept(self->sessions->engine, listener->fd, listener->many, accept_token(index));
	listener->armed = true;
}

static void cancel_accept(struct listeners *self, unsigned index)
{
	struct listener *listener = &self->listeners[index];

	if (!listener->armed || listener->cancelled)
		return;
	engine_cancel(self->sessions->engine, self->listeners[index].fd, accept_token(index));
	listener->cancelled = true;
}

/* Lets go of listeners whose interface is gone, so that arm() can open them again. */
static void drop_lost(struct listeners *self)
{
	if (!listeners_find_lost(self))
		return;
	for (unsigned i = 0; i < self->count; i++)
		if (self->listeners[i].fault)
			cancel_accept(self, i);
}

void listeners_resume(struct listeners *self)
{
	if (self->closing)
		return;
	drop_lost(self);
	for (unsigned i = 0; i < self->count; i++) {
		admit_waiting(self, i);
		arm(self, i);
		resume_listener(self, i);
	}
	if (self->full && load_room(self->sessions->load)) {
		self->full = false;
		log_pause(self, LOG_EVENT_accept_resumed, "maxconn", -1);
	}
}

static void on_accepted(struct listeners *self, unsigned index, int fd)
{
	struct listener *listener = &self->listeners[index];

	listener->careful_count -= MIN(listener->careful_count, 1);
	if (listener->starved) {
		listener->starved = false;
		log_pause(self, LOG_EVENT_accept_resumed, "descriptors", (int)index);
	}
	if (listener->waiting_fd >= 0)
		refuse(self, fd);
	else
		listener->waiting_fd = fd;
	/* that of one that was refused may be what the other waits for */
	admit_waiting(self, index);
}

static void on_accept_failed(struct listeners *self, unsigned index, int error)
{
	struct listener *listener = &self->listeners[index];
	struct log_line line;

	if (error == -ECANCELED || self->closing)
		return;
	listener->fault = sock_listener_error(listener->fd);
	if (listener->fault)
		return;
	if (error == -EINVAL && listener->many) {
		self->no_multishot = true;
		return;
	}
	if (sock_classify(error) == SOCK_DESCRIPTORS) {
		pause_starved(self, index);
		return;
	}
	metrics_add(self->sessions->metrics, METRIC_accept_failures, 1);
	/* the connection was gone, or a firewall refused it: the next may do better */
	if (error != -ECONNABORTED && error != -EPROTO && error != -EPERM)
		timer_arm(self->sessions->wheel, &listener->timer, LISTENER_RETRY_MS);
	if (!log_begin(&line, LOG_EVENT_accept_failed))
		return;
	log_addr(&line, "listen", &self->listeners[index].forward->listen);
	log_error(&line, "error", error);
	log_end(&line);
}

static void on_accept(struct listeners *self, const struct engine_event *event)
{
	unsigned index = engine_token_slot(event->token);
	struct listener *listener = &self->listeners[index];

	CHECK(index < self->count && listener->armed);
	if (event->result >= 0)
		on_accepted(self, index, event->result);
	else
		on_accept_failed(self, index, event->result);
	if (event->more) {
		if (listener->many && room_for(self, index) <= listener->many_room)
			cancel_accept(self, index);
		return;
	}
	listener->armed = false;
	listener->cancelled = false;
	if (self->closing)
		drain_backlog(self, index);
	else
		arm(self, index);
}

/* The connection comes back to us: its worker could not be reached. */
static void on_hand_over_failed(struct listeners *self, const struct engine_event *event)
{
	struct sessions *sessions = self->sessions;

	unsigned target = engine_token_lane(event->token);

	load_move(sessions->load, target, sessions->worker);
	/* in a drain it may sleep until this connection comes, and end without it */
	engine_wake(self->engines[target]);
	session_open(sessions, self->listeners[engine_token_slot(event->token)].forward,
		     (int)engine_token_generation(event->token));
}

void listeners_on_event(struct listeners *self, const struct engine_event *event)
{
	switch (engine_token_op(event->token)) {
	case ENGINE_OP_ACCEPT:
		on_accept(self, event);
		break;
	case ENGINE_OP_HANDED_OVER:
		session_open(self->sessions,
			     self->listeners[engine_token_slot(event->token)].forward,
			     event->result);
		break;
	default:
		CHECK(self->sending_count > 0);
		self->sending_count--;
		if (event->result < 0)
			on_hand_over_failed(self, event);
		break;
	}
}

void listeners_pause(struct listeners *self)
{
	for (unsigned i = 0; i < self->count && !self->closing; i++) {
		pause_starved(self, i);
		cancel_accept(self, i);
	}
}

void listeners_close(struct listeners *self)
{
	self->closing = true;
	timer_cancel(self->sessions->wheel, &self->look_timer);
	for (unsigned i = 0; i < self->count; i++) {
		struct listener *listener = &self->listeners[i];

		timer_cancel(self->sessions->wheel, &listener->timer);
		if (listener->armed)
			cancel_accept(self, i);
		else if (listener->fd >= 0)
			drain_backlog(self, i);
	}
}

bool listeners_are_closed(const struct listeners *self)
{
	for (unsigned i = 0; i < self->count; i++)
		if (self->listeners[i].fd >= 0)
			return false;
	return !self->sending_count;
}
