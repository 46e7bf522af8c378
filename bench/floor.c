/* SPDX-License-Identifier: MIT */
/*
 * floor: a minimal forwarder, which does little beyond its system calls. The bench measures it for
 * reference. A forwarder that makes fewer and larger calls can need less CPU.
 *
 * The floor is no competitor and must not be used as one. It has no timeouts, no limits, no log, no
 * drain, no checks of a backend, no choice between backends and no protection against a peer that
 * stalls. It keeps both pipes of a flow while the flow is idle. It works on one flow for as long as
 * that flow has bytes, however long the others wait. It does not pass a reset on: after an error on
 * one side, it closes both. When it runs out of descriptors, it spins.
 *
 * It does move every byte, and it passes on the end of each direction by itself, because the load
 * generator checks both.
 *
 *   splice   socket -> pipe -> socket, up to 1 MiB at a time, one pipe per direction
 *   copy     recv and send, up to 16 KiB at a time
 *
 * Each worker is a thread with a listener (SO_REUSEPORT) and an edge-triggered epoll of its own.
 * An event of a socket makes the worker try both directions of its flow. With small messages every
 * second read finds nothing. A forwarder that remembers which direction is blocked saves that
 * read.
 */
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_PER_WAIT 256
#define LISTEN_BACKLOG	4096
#define MAX_WORKERS	1024u
#define SPLICE_BYTES	(1u << 20)
#define SPLICE_FLAGS	(SPLICE_F_NONBLOCK | SPLICE_F_MOVE)
#define COPY_BYTES	(16u * 1024u)

struct flow;

/* One socket of a flow, and the bytes that were read from it but not yet written to the other. */
struct side {
	int fd;
	int pipe[2];	  /* splice: holds these bytes */
	uint8_t *rest;	  /* copy: holds them; NULL unless a send took less than was read */
	size_t rest_sent; /* copy: so many bytes at the start of the rest are sent */
	size_t held;	  /* so many bytes wait in the pipe or in the rest */
	bool hung_up;	  /* the peer has ended its stream; unread bytes may remain */
	bool at_end;	  /* the last byte of the stream is read */
	bool done;	  /* the last byte is written, and the other peer knows of the end */
	struct side *other;
	struct flow *flow;
};

struct flow {
	struct side sides[2]; /* client, backend */
	bool failed;
	bool closed;
	struct flow *next_closed;
};

struct worker {
	pthread_t thread;
	int listener_fd;
	int epoll_fd;
	bool splicing;
	struct endpoint backend;
	/* freed at the end of the batch of events, because later events may point to them */
	struct flow *closed;
	uint8_t buffer[COPY_BYTES];
};

enum step {
	STEP_MORE,    /* bytes were moved; there may be more */
	STEP_BLOCKED, /* nothing to read, or no room to write: an event will tell when */
	STEP_END,     /* the end of the stream was read */
	STEP_FAILED,
};

_Noreturn static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* The step after a call that moved no bytes; reads errno if `result` is -1. */
static enum step step_of(ssize_t result)
{
	if (result == 0)
		return STEP_END;
	if (errno == EINTR)
		return STEP_MORE; /* the edge-triggered epoll reports nothing new: try again */
	return errno == EAGAIN ? STEP_BLOCKED : STEP_FAILED;
}

static enum step splice_step(struct side *from)
{
	ssize_t n;

	if (from->held == 0) {
		if (from->at_end)
			return STEP_END;
		n = splice(from->fd, NULL, from->pipe[1], NULL, SPLICE_BYTES, SPLICE_FLAGS);
		if (n <= 0)
			return step_of(n);
		from->held = (size_t)n;
	}
	n = splice(from->pipe[0], NULL, from->other->fd, NULL, from->held, SPLICE_FLAGS);
	if (n < 0)
		return step_of(n);
	from->held -= (size_t)n;
	return STEP_MORE;
}

static enum step send_rest(struct side *from)
{
	ssize_t n = send(from->other->fd, from->rest + from->rest_sent, from->held, MSG_NOSIGNAL);

	if (n < 0)
		return step_of(n);
	from->rest_sent += (size_t)n;
	from->held -= (size_t)n;
	if (from->held == 0) {
		free(from->rest);
		from->rest = NULL;
	}
	return STEP_MORE;
}

static void keep_rest(struct side *from, const uint8_t *bytes, size_t length)
{
	from->rest = malloc(length);
	if (from->rest == NULL)
		fail("floor: malloc");
	memcpy(from->rest, bytes, length);
	from->rest_sent = 0;
	from->held = length;
}

static enum step copy_step(struct side *from, uint8_t *buffer)
{
	ssize_t received, sent;

	if (from->held > 0)
		return send_rest(from);
	if (from->at_end)
		return STEP_END;
	received = recv(from->fd, buffer, COPY_BYTES, 0);
	if (received <= 0)
		return step_of(received);
	sent = send(from->other->fd, buffer, (size_t)received, MSG_NOSIGNAL);
	if (sent < 0 && step_of(sent) == STEP_FAILED)
		return STEP_FAILED;
	if (sent < 0)
		sent = 0;
	if (sent < received) {
		keep_rest(from, buffer + sent, (size_t)(received - sent));
		return STEP_MORE; /* after a failed send the kernel reports when there is room */
	}
	/* A short read has emptied the socket: bytes that come later make an event of their own. */
	return received < (ssize_t)COPY_BYTES && !from->hung_up ? STEP_BLOCKED : STEP_MORE;
}

/* Moves bytes from a side to the other, until the flow is empty or blocked. */
static void side_move(struct side *from, struct worker *worker)
{
	enum step step;

	if (from->done)
		return;
	do {
		step = worker->splicing ? splice_step(from) : copy_step(from, worker->buffer);
	} while (step == STEP_MORE);
	if (step == STEP_FAILED)
		from->flow->failed = true;
	if (step == STEP_END) {
		from->at_end = true;
		from->done = true;
		shutdown(from->other->fd, SHUT_WR);
	}
}

static void flow_close(struct flow *flow, struct worker *worker)
{
	for (unsigned i = 0; i < 2; i++) {
		struct side *side = &flow->sides[i];

		close(side->fd);
		free(side->rest);
		if (worker->splicing) {
			close(side->pipe[0]);
			close(side->pipe[1]);
		}
	}
	flow->closed = true;
	flow->next_closed = worker->closed;
	worker->closed = flow;
}

static void side_on_event(struct side *side, struct worker *worker, uint32_t events)
{
	struct flow *flow = side->flow;

	if (flow->closed)
		return;
	if (events & EPOLLERR)
		flow->failed = true;
	if (events & EPOLLRDHUP)
		side->hung_up = true;
	if (events & (EPOLLIN | EPOLLRDHUP) && !flow->failed)
		side_move(side, worker);
	if (events & EPOLLOUT && !flow->failed)
		side_move(side->other, worker);
	if (flow->failed || (side->done && side->other->done))
		flow_close(flow, worker);
}

static bool is_loopback(const struct endpoint *endpoint)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&endpoint->address;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&endpoint->address;

	if (endpoint->address.ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
	return ntohl(v4->sin_addr.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
}

/* A socket that sends small messages at once, and that is not paced on loopback. */
static int open_socket(const struct endpoint *endpoint)
{
	int on = 1;
	int fd = socket(endpoint->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("floor: socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	/* Without privileges the kernel may refuse cubic. It allows reno by default. */
	if (is_loopback(endpoint) && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) != 0)
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
	return fd;
}

static void side_init(struct side *side, struct flow *flow, struct side *other, int fd)
{
	side->fd = fd;
	side->flow = flow;
	side->other = other;
}

static void side_watch(struct side *side, struct worker *worker)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = side,
	};

	if (worker->splicing) {
		if (pipe2(side->pipe, O_NONBLOCK | O_CLOEXEC) != 0)
			fail("floor: pipe");
		fcntl(side->pipe[0], F_SETPIPE_SZ, SPLICE_BYTES);
	}
	if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, side->fd, &event) != 0)
		fail("floor: epoll_ctl");
}

static void worker_accept(struct worker *worker)
{
	const struct sockaddr *backend = (const struct sockaddr *)&worker->backend.address;
	int fd;

	while ((fd = accept4(worker->listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct flow *flow = calloc(1, sizeof(*flow));
		struct side *sides;

		if (flow == NULL)
			fail("floor: calloc");
		sides = flow->sides;
		side_init(&sides[0], flow, &sides[1], fd);
		side_init(&sides[1], flow, &sides[0], open_socket(&worker->backend));
		/*
		 * A later error of connect comes as an event. After an error here, the first event closes
		 * the flow.
		 */
		if (connect(sides[1].fd, backend, worker->backend.length) != 0 &&
		    errno != EINPROGRESS)
			flow->failed = true;
		side_watch(&sides[1], worker);
		side_watch(&sides[0], worker);
	}
}

static void *worker_main(void *argument)
{
	struct worker *worker = argument;
	struct epoll_event events[EVENTS_PER_WAIT];

	for (;;) {
		int count = epoll_wait(worker->epoll_fd, events, EVENTS_PER_WAIT, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == NULL)
				worker_accept(worker);
			else
				side_on_event(events[i].data.ptr, worker, events[i].events);
		}
		while (worker->closed != NULL) {
			struct flow *flow = worker->closed;

			worker->closed = flow->next_closed;
			free(flow);
		}
	}
	return NULL;
}

static void worker_init(struct worker *worker, const struct endpoint *listen)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	int on = 1;
	int fd = open_socket(listen);

	worker->listener_fd = fd;
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (worker->epoll_fd < 0 || epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		fail("floor: epoll");
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
	    bind(fd, (const struct sockaddr *)&listen->address, listen->length) != 0)
		fail("floor: bind");
}

int main(int argc, char **argv)
{
	unsigned long worker_count = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
	struct endpoint listen_at, backend;
	struct worker *workers;

	if (worker_count == 0 || worker_count > MAX_WORKERS ||
	    (strcmp(argv[1], "splice") != 0 && strcmp(argv[1], "copy") != 0) ||
	    !endpoint_parse(&listen_at, argv[2]) || !endpoint_parse(&backend, argv[3])) {
		fputs("usage: floor copy|splice LISTEN_ADDR:PORT BACKEND_ADDR:PORT WORKERS\n",
		      stderr);
		return 2;
	}
	workers = calloc(worker_count, sizeof(*workers));
	if (workers == NULL)
		fail("floor: calloc");
	for (unsigned long i = 0; i < worker_count; i++) {
		workers[i].splicing = strcmp(argv[1], "splice") == 0;
		workers[i].backend = backend;
		worker_init(&workers[i], &listen_at);
	}
	/* All are bound before the first one listens, so that each gets its share from the start. */
	for (unsigned long i = 0; i < worker_count; i++) {
		if (listen(workers[i].listener_fd, LISTEN_BACKLOG) != 0 ||
		    pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) != 0)
			fail("floor: cannot start");
	}
	pthread_join(workers[0].thread, NULL);
	return 0;
}
