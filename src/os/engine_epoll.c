/* SPDX-License-Identifier: MIT */
/*
 * The epoll engine, for hosts without io_uring. This is the only file that knows epoll(7).
 *
 * Theory of operation. All descriptors but listeners are registered edge-triggered.
 *
 * - A wait calls EPOLL_CTL_ADD or EPOLL_CTL_MOD. Both make the kernel check the socket's present
 *   state. So a condition that holds already is reported, as engine.h promises.
 * - A watch is armed once. Each later edge is an event of the watch.
 * - If the only request of a descriptor is a wait to read, EPOLLONESHOT is set. Then bytes that
 *   arrive while the session does not wait do not wake the worker.
 * - A socket that is registered for reading has nothing to read until epoll reports an arrival
 *   (`arrival_seen`). Before that, a wait to read needs no system call. An example is the first
 *   wait after a connect.
 *
 * Answers to requests go through a queue, because one event of epoll can answer several requests,
 * and no event of epoll answers a cancel or a hand-over.
 *
 * A socket is handed over through the mailbox of the other worker, a socket pair. The message has
 * only the number of the descriptor, because all workers share one descriptor table.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "os/engine_ops.h"
#include "os/host.h"
#include "os/sock.h"

/* The most events that a worker takes at a time. Scenario: small-512 (bench/). */
#define EPOLL_EVENT_LIMIT 256

/* The most connections or messages taken before the next descriptor. Scenario: crc-64 (bench/). */
#define ACCEPT_LIMIT 64

/* The largest descriptor table, whatever the limit on descriptors is. */
#define DESCRIPTOR_MOST (1U << 24)

/*
 * The most answers in the queue: one for each request of a descriptor, and one for a hand-over.
 * Events are taken from epoll only while the queue has fewer answers than the worker asks for.
 */
#define ANSWERS_PER_DESCRIPTOR (REQUEST_COUNT + 1)

#define FAILURE		       (EPOLLERR | EPOLLHUP)
#define ARRIVAL		       (EPOLLIN | EPOLLRDHUP)

/* The requests that a descriptor can have in flight, one of each. */
enum request {
	REQUEST_READABLE, /* or accept */
	REQUEST_WRITABLE, /* or connect */
	REQUEST_FAILED,
	REQUEST_WATCH,
	REQUEST_COUNT
};

struct descriptor {
	uint64_t tokens[REQUEST_COUNT]; /* 0: no request */
	uint32_t mask;			/* the events that epoll reports; 0: none */
	bool registered;
	bool arrival_seen; /* epoll reported an arrival since the descriptor was armed */
	bool many;	   /* the accept goes on after a connection */
};

struct message {
	uint64_t token;
	int32_t fd;
};

struct epoll_engine {
	struct engine engine;
	struct descriptor *descriptors;
	unsigned descriptor_count;
	struct engine_answers answers;
	int epoll_fd;
	int mailbox[2]; /* other workers write to [1] */
};

static struct epoll_engine *epoll(struct engine *engine)
{
	return CONTAINER_OF(engine, struct epoll_engine, engine);
}

/* NULL if `fd` is beyond the limit at the start: prlimit(2) has raised the limit since. */
static struct descriptor *descriptor_of(struct epoll_engine *self, int fd)
{
	return (unsigned)fd < self->descriptor_count ? &self->descriptors[fd] : NULL;
}

/* Answers -------------------------------------------------------------------------------------- */

static void answer(struct epoll_engine *self, uint64_t token, int32_t result, bool more)
{
	engine_answers_add(&self->answers, token, result, more);
}

/* Answers a request for the last time. */
static void finish(struct epoll_engine *self, struct descriptor *descriptor, enum request request,
		   int32_t result)
{
	answer(self, descriptor->tokens[request], result, false);
	descriptor->tokens[request] = 0;
}

/* Arming --------------------------------------------------------------------------------------- */

static bool is_accept(uint64_t token)
{
	return engine_token_op(token) == ENGINE_OP_ACCEPT;
}

static bool is_connect(uint64_t token)
{
	return engine_token_op(token) == ENGINE_OP_CONNECT;
}

/* The events to ask epoll for, given the requests in flight. */
static uint32_t mask_for(const struct descriptor *descriptor)
{
	const uint64_t *tokens = descriptor->tokens;
	uint32_t mask = EPOLLET;

	/*
	 * Level-triggered: connections left in the backlog are reported again. If workers share the
	 * socket, a connection wakes one of them, not all: EPOLLEXCLUSIVE, Linux 4.5.
	 */
	if (is_accept(tokens[REQUEST_READABLE]))
		return descriptor->many ? EPOLLIN | EPOLLEXCLUSIVE : EPOLLIN | EPOLLONESHOT;
	/* with ARRIVAL, the first wait to read needs no system call */
	if (is_connect(tokens[REQUEST_WRITABLE]))
		return mask | EPOLLOUT | ARRIVAL;
	if (tokens[REQUEST_READABLE] || tokens[REQUEST_WATCH])
		mask |= ARRIVAL;
	if (tokens[REQUEST_WRITABLE])
		mask |= EPOLLOUT;
	if (tokens[REQUEST_READABLE] && !tokens[REQUEST_WRITABLE] && !tokens[REQUEST_FAILED] &&
	    !tokens[REQUEST_WATCH])
		mask |= EPOLLONESHOT;
	return mask;
}

/*
 * Arms epoll for all requests in flight. If epoll refuses, all are answered with its error.
 */
static void arm(struct epoll_engine *self, int fd, struct descriptor *descriptor)
{
	struct epoll_event event = {.events = mask_for(descriptor), .data.fd = fd};
	int operation = descriptor->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (epoll_ctl(self->epoll_fd, operation, fd, &event)) {
		int error = -errno;

		for (unsigned i = 0; i < REQUEST_COUNT; i++)
			if (descriptor->tokens[i])
				finish(self, descriptor, (enum request)i, error);
		return;
	}
	descriptor->registered = true;
	descriptor->mask = event.events;
	descriptor->arrival_seen = false;
}

static void request(struct epoll_engine *self, int fd, enum request request, uint64_t token)
{
	struct descriptor *descriptor = descriptor_of(self, fd);
	bool reads = request == REQUEST_READABLE || request == REQUEST_WATCH;

	if (!descriptor) {
		answer(self, token, -EMFILE, false);
		return;
	}
	CHECK(!descriptor->tokens[request]);
	descriptor->tokens[request] = token;
	if (!reads || !(descriptor->mask & EPOLLIN) || descriptor->arrival_seen ||
	    (request == REQUEST_WATCH && descriptor->mask & EPOLLONESHOT))
		arm(self, fd, descriptor);
}

static void epoll_wait_for(struct engine *engine, int fd, enum engine_condition condition,
			   bool peer_ended, uint64_t token)
{
	static const enum request requests[] = {
		[ENGINE_READABLE] = REQUEST_READABLE,
		[ENGINE_WRITABLE] = REQUEST_WRITABLE,
		[ENGINE_FAILED] = REQUEST_FAILED,
	};

	(void)peer_ended; /* epoll reports only what was asked for */
	request(epoll(engine), fd, requests[condition], token);
}

static void epoll_watch(struct engine *engine, int fd, uint64_t token)
{
	request(epoll(engine), fd, REQUEST_WATCH, token);
}

static void epoll_accept(struct engine *engine, int fd, bool many, uint64_t token)
{
	struct epoll_engine *self = epoll(engine);
	struct descriptor *descriptor = descriptor_of(self, fd);

	if (descriptor)
		descriptor->many = many;
	request(self, fd, REQUEST_READABLE, token);
}

static void epoll_connect(struct engine *engine, int fd, const struct sockaddr *address,
			  socklen_t length_bytes, uint64_t token)
{
	struct epoll_engine *self = epoll(engine);

	if (!connect(fd, address, length_bytes))
		answer(self, token, 0, false);
	else if (errno != EINPROGRESS)
		answer(self, token, -errno, false);
	else
		request(self, fd, REQUEST_WRITABLE, token);
}

/*
 * Answers an accept for the last time and removes the listener from epoll. If it stayed in epoll, a
 * listener with clients in its backlog would be reported again and again, and so would a destroyed
 * listener, with any mask.
 */
static void stop_accepting(struct epoll_engine *self, int fd, struct descriptor *descriptor,
			   int32_t result)
{
	finish(self, descriptor, REQUEST_READABLE, result);
	if (!epoll_ctl(self->epoll_fd, EPOLL_CTL_DEL, fd, NULL)) {
		descriptor->registered = false;
		descriptor->mask = 0;
	}
}

static void epoll_cancel(struct engine *engine, int fd, uint64_t token)
{
	struct epoll_engine *self = epoll(engine);
	struct descriptor *descriptor = descriptor_of(self, fd);

	for (unsigned i = 0; descriptor && i < REQUEST_COUNT; i++)
		if (descriptor->tokens[i] == token && is_accept(token))
			stop_accepting(self, fd, descriptor, -ECANCELED);
		else if (descriptor->tokens[i] == token)
			/* stays registered: mostly a close or a new wait follows */
			finish(self, descriptor, (enum request)i, -ECANCELED);
}

static void epoll_forget(struct engine *engine, int fd, bool shared)
{
	struct descriptor *descriptor = descriptor_of(epoll(engine), fd);

	/* if no other process has the socket, close(2) removes it from epoll: epoll(7) */
	if (descriptor && descriptor->registered && shared)
		(void)epoll_ctl(epoll(engine)->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	if (descriptor)
		memset(descriptor, 0, sizeof(*descriptor));
}

static void epoll_hand_over(struct engine *engine, struct engine *target, int fd,
			    uint64_t target_token, uint64_t token)
{
	struct message message = {.token = target_token, .fd = fd};
	ssize_t sent = send(epoll(target)->mailbox[1], &message, sizeof(message),
			    MSG_DONTWAIT | MSG_NOSIGNAL);

	answer(epoll(engine), token, sent < 0 ? -errno : 0, false);
}

/* Events --------------------------------------------------------------------------------------- */

static void on_wake(struct epoll_engine *self)
{
	engine_take_wakes(&self->engine);
	answer(self, engine_token(ENGINE_OP_WAKE, 0, 0, 0), 0, false);
}

static void on_mail(struct epoll_engine *self)
{
	struct message message;

	/* level-triggered: if messages are left, epoll reports again */
	for (unsigned i = 0; i < ACCEPT_LIMIT; i++) {
		ssize_t got = recv(self->mailbox[0], &message, sizeof(message), MSG_DONTWAIT);

		if (got != (ssize_t)sizeof(message))
			return;
		answer(self, message.token, message.fd, false);
	}
}

static void accept_some(struct epoll_engine *self, int fd, struct descriptor *descriptor)
{
	for (unsigned i = 0; i < ACCEPT_LIMIT; i++) {
		int accepted = sock_accept(fd);

		if (accepted == -EAGAIN) {
			/* the client gave up before it was accepted */
			if (!descriptor->many)
				arm(self, fd, descriptor);
			return;
		}
		if (accepted == -ECONNABORTED || accepted == -EINTR)
			continue;
		if (accepted >= 0 && !descriptor_of(self, accepted)) {
			close(accepted);
			accepted = -EMFILE;
		}
		if (accepted >= 0 && descriptor->many) {
			answer(self, descriptor->tokens[REQUEST_READABLE], accepted, true);
			continue;
		}
		stop_accepting(self, fd, descriptor, accepted);
		return;
	}
	if (!descriptor->many)
		arm(self, fd, descriptor);
}

static int32_t found_by(uint32_t events)
{
	return ENGINE_FOUND_CONDITION | (events & (EPOLLRDHUP | FAILURE) ? ENGINE_FOUND_END : 0);
}

static void on_arrival(struct epoll_engine *self, int fd, struct descriptor *descriptor,
		       uint32_t events)
{
	descriptor->arrival_seen = true;
	if (descriptor->tokens[REQUEST_READABLE])
		finish(self, descriptor, REQUEST_READABLE, found_by(events));
	else if (!descriptor->tokens[REQUEST_WATCH] && descriptor->mask & EPOLLIN)
		arm(self, fd, descriptor); /* no request wants arrivals: stop the reports */
	if (descriptor->tokens[REQUEST_WATCH])
		answer(self, descriptor->tokens[REQUEST_WATCH], found_by(events), true);
}

/*
 * The outcome of a connect: 0 or -errno. A failed connect shows EPOLLERR or EPOLLHUP. Without
 * either, the connect has succeeded, and reading SO_ERROR is not needed
 * (tests/kernel/probe_connect_failure_shows).
 */
static int32_t connect_result(int fd, uint32_t events)
{
	return events & FAILURE ? -sock_take_error(fd) : 0;
}

static void on_event(struct epoll_engine *self, int fd, uint32_t events)
{
	struct descriptor *descriptor = descriptor_of(self, fd);
	uint64_t *tokens = descriptor->tokens;

	if (descriptor->mask & EPOLLONESHOT)
		descriptor->mask = 0;
	if (is_accept(tokens[REQUEST_READABLE])) {
		accept_some(self, fd, descriptor);
		return;
	}
	if (events & (EPOLLOUT | FAILURE) && tokens[REQUEST_WRITABLE])
		finish(self, descriptor, REQUEST_WRITABLE,
		       is_connect(tokens[REQUEST_WRITABLE]) ? connect_result(fd, events)
							    : found_by(events));
	if (events & FAILURE && tokens[REQUEST_FAILED])
		finish(self, descriptor, REQUEST_FAILED, found_by(events));
	if (events & (ARRIVAL | FAILURE))
		on_arrival(self, fd, descriptor, events);
}

static int epoll_engine_wait(struct engine *engine, int64_t timeout_ms, struct engine_event *events,
			     unsigned limit)
{
	struct epoll_engine *self = epoll(engine);
	struct epoll_event reported[EPOLL_EVENT_LIMIT];
	size_t waiting = engine_answers_count(&self->answers);
	int count;

	if (waiting >= limit)
		return (int)engine_answers_take(&self->answers, events, limit);
	if (waiting)
		timeout_ms = 0;
	count = epoll_wait(self->epoll_fd, reported, EPOLL_EVENT_LIMIT,
			   timeout_ms < 0 ? -1 : (int)MIN(timeout_ms, INT_MAX));
	if (count < 0 && errno != EINTR)
		return -errno;
	for (int i = 0; i < count; i++) {
		if (reported[i].data.fd == self->engine.wake_fd)
			on_wake(self);
		else if (reported[i].data.fd == self->mailbox[0])
			on_mail(self);
		else
			on_event(self, reported[i].data.fd, reported[i].events);
	}
	return (int)engine_answers_take(&self->answers, events, limit);
}

static bool epoll_has_events(struct engine *engine)
{
	struct epoll_engine *self = epoll(engine);
	struct pollfd polled = {.fd = self->epoll_fd, .events = POLLIN};

	return engine_answers_count(&self->answers) || poll(&polled, 1, 0) > 0;
}

/* Making --------------------------------------------------------------------------------------- */

static void close_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void epoll_destroy(struct engine *engine)
{
	struct epoll_engine *self = epoll(engine);

	close_open(self->epoll_fd);
	close_open(self->mailbox[0]);
	close_open(self->mailbox[1]);
	if (self->descriptors)
		host_release_memory(self->descriptors,
				    self->descriptor_count * sizeof(*self->descriptors));
	engine_answers_finish(&self->answers);
	free(self);
}

static const struct engine_ops epoll_ops = {
	.name = "epoll",
	.destroy = epoll_destroy,
	.accept = epoll_accept,
	.connect = epoll_connect,
	.wait_for = epoll_wait_for,
	.watch = epoll_watch,
	.cancel = epoll_cancel,
	.forget = epoll_forget,
	.hand_over = epoll_hand_over,
	.has_events = epoll_has_events,
	.wait = epoll_engine_wait,
};

static int make_tables(struct epoll_engine *self)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	self->descriptor_count = (unsigned)MIN(limit.rlim_cur, (rlim_t)DESCRIPTOR_MOST);
	self->descriptors =
		host_reserve_memory(self->descriptor_count * sizeof(*self->descriptors));
	if (!self->descriptors)
		return -ENOMEM;
	return engine_answers_init(&self->answers,
				   (size_t)self->descriptor_count * ANSWERS_PER_DESCRIPTOR +
					   2 * EPOLL_EVENT_LIMIT);
}

static int listen_to(struct epoll_engine *self, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(self->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int make_descriptors(struct epoll_engine *self)
{
	int error;

	self->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (self->epoll_fd < 0)
		return -errno;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, self->mailbox))
		return -errno;
	error = listen_to(self, self->engine.wake_fd);
	return error ? error : listen_to(self, self->mailbox[0]);
}

int engine_epoll_create(struct engine **engine, int wake_fd)
{
	struct epoll_engine *self = calloc(1, sizeof(*self));
	int error;

	if (!self)
		return -ENOMEM;
	self->engine = (struct engine){
		.ops = &epoll_ops, .features = "edge_triggered", .wake_fd = wake_fd};
	self->epoll_fd = self->mailbox[0] = self->mailbox[1] = -1;
	error = make_tables(self);
	if (!error)
		error = make_descriptors(self);
	if (error) {
		epoll_destroy(&self->engine);
		return error;
	}
	*engine = &self->engine;
	return 0;
}
