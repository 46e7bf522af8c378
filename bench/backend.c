/* SPDX-License-Identifier: MIT */
#include "backend.h"

#include "wire.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_PER_WAIT	 128
#define ACCEPTS_PER_TURN 64
#define BUFFER_BYTES	 (256u * 1024u)
#define CLOSE_WAIT_MS	 3000

struct session {
	int fd;
	uint32_t flow;
	uint32_t interest;
	bool streaming; /* DATA goes to the client until it has sent END */
	bool end_due;
	bool end_sent;
	struct wire_reader reader;
	struct wire_writer writer;
};

struct totals {
	uint64_t accepted;
	uint64_t closed;
	uint64_t requests;
	uint64_t flows;
	uint64_t received_bytes;
	uint64_t sent_bytes;
	uint64_t resets; /* of connections with nothing under way */
	uint64_t errors;
	char first_error[96];
};

/*
 * One thread. The first thread owns the listener and distributes connections among the first half
 * of the threads; a connection that becomes a bulk flow moves to the second half.
 */
struct server {
	int epoll_fd;
	int listen_fd; /* -1 except for the first thread */
	bool is_bulk;
	bool background;
	pthread_t thread;
	struct server *peers; /* the threads that get connections */
	struct server *bulk_peers;
	unsigned peer_count; /* of each kind */
	unsigned next;
	struct totals totals;
	uint8_t buffer[BUFFER_BYTES];
};

static atomic_bool stopping;
static atomic_uint open_sessions;

static void server_fail(struct server *server, const char *what, int error)
{
	if (server->totals.errors++ == 0)
		snprintf(server->totals.first_error, sizeof(server->totals.first_error),
			 "backend: %s: %s", what, strerror(error));
}

static void session_close(struct server *server, struct session *session)
{
	server->totals.received_bytes += session->reader.data_bytes;
	server->totals.sent_bytes += session->writer.data_bytes;
	server->totals.closed++;
	atomic_fetch_sub(&open_sessions, 1);
	close(session->fd);
	free(session);
}

static void session_want(struct server *server, struct session *session, uint32_t interest)
{
	struct epoll_event event = {.events = interest, .data.ptr = session};

	if (session->interest == interest)
		return;
	session->interest = interest;
	epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, session->fd, &event);
}

/* The next message once the writer is idle. False if there is none. */
static bool session_begin_next(struct session *session)
{
	struct wire_header end = {
		.kind = WIRE_END,
		.flow = session->flow,
		.number = session->writer.data_bytes,
		.value = session->reader.data_bytes,
	};

	if (session->end_due && !session->end_sent) {
		session->end_sent = true;
		wire_writer_begin(&session->writer, &end);
		return true;
	}
	if (session->streaming && !session->end_sent) {
		wire_writer_begin_data(&session->writer, session->flow);
		return true;
	}
	return false;
}

/* One message at a time, so that the thread's other connections are served in between. */
static int session_send(struct server *server, struct session *session)
{
	int rc;

	if (wire_writer_is_idle(&session->writer) && !session_begin_next(session)) {
		session_want(server, session, EPOLLIN);
		return 0;
	}
	rc = wire_writer_send(&session->writer, session->fd);
	if (rc < 0)
		return rc;
	if (rc == 0 || session->streaming || session->end_due)
		session_want(server, session, EPOLLIN | EPOLLOUT);
	return 0;
}

static int session_on_message(struct server *server, struct session *session)
{
	const struct wire_header *header = &session->reader.header;
	struct wire_header response = {
		.kind = WIRE_RESPONSE,
		.flow = header->flow,
		.payload_bytes = (uint32_t)header->value - WIRE_HEADER_BYTES,
		.number = header->number,
	};

	session->flow = header->flow;
	switch (header->kind) {
	case WIRE_REQUEST:
		if (!wire_writer_is_idle(&session->writer) || header->value < WIRE_HEADER_BYTES)
			return -EBADMSG;
		server->totals.requests++;
		wire_writer_begin(&session->writer, &response);
		break;
	case WIRE_START:
		net_pace(session->fd, header->value);
		session->streaming = true;
		break;
	case WIRE_DATA:
		return 0;
	case WIRE_END:
		if (header->number != session->reader.data_bytes)
			return -EBADMSG;
		server->totals.flows++;
		session->end_due = true;
		break;
	default:
		return -EBADMSG;
	}
	return session_send(server, session);
}

static bool session_is_bulk(const struct session *session)
{
	return session->streaming || (session->reader.header_got == WIRE_HEADER_BYTES &&
				      session->reader.header.kind == WIRE_DATA);
}

/* Hands a session over to a bulk thread, which owns it from now on. */
static int session_move(struct server *server, struct session *session)
{
	struct server *owner = &server->bulk_peers[session->flow % server->peer_count];
	struct epoll_event event = {.events = session->interest, .data.ptr = session};

	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, session->fd, NULL) != 0 ||
	    epoll_ctl(owner->epoll_fd, EPOLL_CTL_ADD, session->fd, &event) != 0)
		return -errno;
	return 0;
}

/* Returns 0, or a negative errno; -ESHUTDOWN means that the connection ended cleanly. */
static int session_receive(struct server *server, struct session *session)
{
	const uint8_t *data = server->buffer;
	ssize_t n = recv(session->fd, server->buffer, sizeof(server->buffer), 0);
	size_t length;
	int rc;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ESHUTDOWN;
	length = (size_t)n;
	while ((rc = wire_reader_next(&session->reader, &data, &length)) == 1) {
		rc = session_on_message(server, session);
		if (rc < 0)
			return rc;
	}
	if (rc == 0 && !server->is_bulk && session_is_bulk(session))
		return session_move(server, session);
	return rc;
}

/* Whether nothing is under way in either direction, so that the client may close. */
static bool session_is_finished(const struct session *session)
{
	if ((session->streaming || session->reader.data_count > 0) && !session->end_sent)
		return false;
	return wire_reader_is_clean(&session->reader) && wire_writer_is_idle(&session->writer);
}

static void session_on_event(struct server *server, struct session *session, uint32_t events)
{
	int rc = 0;

	if (events & EPOLLOUT)
		rc = session_send(server, session);
	if (rc == 0 && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		rc = session_receive(server, session);
	if (rc == 0)
		return;
	if (!session_is_finished(session))
		server_fail(server, "connection", rc == -ESHUTDOWN ? EPIPE : -rc);
	else if (rc == -ECONNRESET || rc == -EPIPE)
		server->totals.resets++;
	else if (rc != -ESHUTDOWN)
		server_fail(server, "connection", -rc);
	session_close(server, session);
}

static void server_adopt(struct server *server, int fd)
{
	struct server *owner = &server->peers[server->next++ % server->peer_count];
	struct session *session = calloc(1, sizeof(*session));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = session};

	server->totals.accepted++;
	if (session == NULL) {
		server_fail(server, "session", ENOMEM);
		close(fd);
		return;
	}
	atomic_fetch_add(&open_sessions, 1);
	session->fd = fd;
	session->interest = EPOLLIN;
	if (epoll_ctl(owner->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
		server_fail(server, "epoll_ctl", errno);
		session_close(server, session);
	}
}

static void server_accept(struct server *server)
{
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			server_adopt(server, fd);
		else if (errno != ECONNABORTED && errno != EAGAIN)
			server_fail(server, "accept", errno);
		if (fd < 0)
			return;
	}
}

static void *server_main(void *argument)
{
	struct server *server = argument;
	struct epoll_event events[EVENTS_PER_WAIT];

	if (server->background)
		net_yield_cpu();
	while (!atomic_load_explicit(&stopping, memory_order_relaxed)) {
		int count = epoll_wait(server->epoll_fd, events, EVENTS_PER_WAIT, 100);

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == NULL)
				server_accept(server);
			else
				session_on_event(server, events[i].data.ptr, events[i].events);
		}
	}
	return NULL;
}

static int print_totals(struct server *servers, unsigned count)
{
	struct totals sum = {0};

	for (unsigned i = 0; i < count; i++) {
		const struct totals *part = &servers[i].totals;

		sum.accepted += part->accepted;
		sum.closed += part->closed;
		sum.requests += part->requests;
		sum.flows += part->flows;
		sum.received_bytes += part->received_bytes;
		sum.sent_bytes += part->sent_bytes;
		sum.resets += part->resets;
		sum.errors += part->errors;
		if (part->errors > 0 && sum.first_error[0] == '\0')
			memcpy(sum.first_error, part->first_error, sizeof(sum.first_error));
	}
	printf("{\"accepted\": %lu, \"closed\": %lu, \"requests\": %lu, \"flows\": %lu, "
	       "\"received_bytes\": %lu, \"sent_bytes\": %lu, \"resets\": %lu, \"errors\": %lu, "
	       "\"first_error\": \"%s\", \"cpu_seconds\": %.6f}\n",
	       sum.accepted, sum.closed, sum.requests, sum.flows, sum.received_bytes,
	       sum.sent_bytes, sum.resets, sum.errors, sum.first_error, net_cpu_seconds());
	fflush(stdout);
	return sum.errors == 0 ? 0 : 1;
}

/* Waits until the forwarder has passed every close on, or has had enough time. */
static void wait_until_closed(void)
{
	for (int i = 0; i < CLOSE_WAIT_MS && atomic_load(&open_sessions) > 0; i++)
		usleep(1000);
}

static void wait_until_told(void)
{
	char line[64];

	while (fgets(line, sizeof(line), stdin) != NULL)
		continue;
}

static bool server_init(struct server *server)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (server->epoll_fd < 0)
		return false;
	return server->listen_fd < 0 ||
	       epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->listen_fd, &event) == 0;
}

static bool start_servers(struct server *servers, const struct backend_options *options,
			  int listen_fd)
{
	unsigned peer_count = options->thread_count;

	for (unsigned i = 0; i < 2 * peer_count; i++) {
		servers[i].peers = servers;
		servers[i].bulk_peers = servers + peer_count;
		servers[i].peer_count = peer_count;
		servers[i].is_bulk = i >= peer_count;
		servers[i].background = i >= peer_count && options->background_bulk;
		servers[i].listen_fd = i == 0 ? listen_fd : -1;
		if (!server_init(&servers[i]))
			return false;
	}
	for (unsigned i = 0; i < 2 * peer_count; i++) {
		if (pthread_create(&servers[i].thread, NULL, server_main, &servers[i]) != 0)
			return false;
	}
	return true;
}

int backend_run(struct backend_options *options)
{
	char text[ENDPOINT_TEXT_BYTES];
	unsigned count = 2 * options->thread_count;
	struct server *servers = calloc(count, sizeof(*servers));
	int listen_fd = net_listen(&options->listen);
	int rc;

	if (listen_fd < 0) {
		fprintf(stderr, "load: cannot listen: %s\n", strerror(-listen_fd));
		free(servers);
		return 1;
	}
	if (servers == NULL || !start_servers(servers, options, listen_fd)) {
		perror("load: cannot start");
		return 1;
	}
	endpoint_print(&options->listen, text);
	printf("listening %s\n", text);
	fflush(stdout);
	wait_until_told();
	wait_until_closed();
	atomic_store(&stopping, true);
	for (unsigned i = 0; i < count; i++)
		pthread_join(servers[i].thread, NULL);
	rc = print_totals(servers, count);
	free(servers);
	return rc;
}
