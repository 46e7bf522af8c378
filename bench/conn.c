/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* A slot that fails so often in a run is given up. */
#define ERROR_LIMIT 1000u

static void conn_mark_up(struct worker *worker, struct conn *conn)
{
	if (conn->up)
		return;
	conn->up = true;
	worker->pending--;
	atomic_fetch_add(&worker->client->up_count, 1);
}

static void conn_mark_drained(struct worker *worker, struct conn *conn)
{
	if (conn->drained)
		return;
	conn->drained = true;
	atomic_store(&worker->client->drained_ns, net_now_ns());
	atomic_fetch_add(&worker->client->drained_count, 1);
}

static void conn_close(struct conn *conn)
{
	close(conn->fd);
	conn->state = CONN_CLOSED;
}

static void conn_fail(struct worker *worker, struct conn *conn, const char *what, int error)
{
	if (worker->stats.errors++ == 0)
		snprintf(worker->stats.first_error, sizeof(worker->stats.first_error),
			 "client: %s: %s", what, strerror(error));
	if (conn->state == CONN_CONNECTING || conn->state == CONN_OPEN)
		conn_close(conn);
	conn->state = CONN_FAILED;
	conn_mark_up(worker, conn);
	if (conn->role == ROLE_CONNECTS && worker->phase == PHASE_RUN &&
	    worker->stats.errors < ERROR_LIMIT)
		conn_open(worker, conn);
	else
		conn_mark_drained(worker, conn);
}

static void conn_want(struct worker *worker, struct conn *conn, uint32_t interest)
{
	struct epoll_event event = {.events = interest, .data.ptr = conn};

	if (conn->interest == interest)
		return;
	conn->interest = interest;
	epoll_ctl(worker->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
}

void conn_open(struct worker *worker, struct conn *conn)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = conn};
	int fd;

	conn->began_ns = net_now_ns();
	conn->reader = (struct wire_reader){0};
	conn->writer = (struct wire_writer){0};
	fd = net_connect(&worker->client->options->connect);
	if (fd < 0) {
		/* No retry: without descriptors or ports it would spin. */
		worker->stats.errors += ERROR_LIMIT;
		conn_fail(worker, conn, "connect", -fd);
		return;
	}
	conn->fd = fd;
	conn->state = CONN_CONNECTING;
	conn->interest = event.events;
	if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		conn_fail(worker, conn, "epoll_ctl", errno);
}

/* Whether the writer got a message to send. */
static bool bulk_begin_next(struct worker *worker, struct conn *conn)
{
	struct wire_header end = {
		.kind = WIRE_END,
		.flow = conn->flow,
		.number = conn->writer.data_bytes,
	};

	if (conn->end_due && !conn->end_sent) {
		conn->end_sent = true;
		wire_writer_begin(&conn->writer, &end);
		return true;
	}
	if (worker->phase >= PHASE_RUN && worker->client->options->bulk_up && !conn->end_sent) {
		wire_writer_begin_data(&conn->writer, conn->flow);
		return true;
	}
	return false;
}

/* One message at a time, so that the thread's other connections are served in between. */
static void conn_send(struct worker *worker, struct conn *conn)
{
	int rc;

	if (wire_writer_is_idle(&conn->writer) &&
	    (conn->role != ROLE_BULK || !bulk_begin_next(worker, conn))) {
		conn_want(worker, conn, EPOLLIN);
		return;
	}
	rc = wire_writer_send(&conn->writer, conn->fd);
	if (rc < 0)
		conn_fail(worker, conn, "send", -rc);
	else if (rc == 0 || (conn->role == ROLE_BULK && worker->phase >= PHASE_RUN))
		conn_want(worker, conn, EPOLLIN | EPOLLOUT);
	else
		conn_want(worker, conn, EPOLLIN);
}

static void conn_send_request(struct worker *worker, struct conn *conn, uint64_t began_ns)
{
	const struct client_options *options = worker->client->options;
	struct wire_header request = {
		.kind = WIRE_REQUEST,
		.flow = conn->flow,
		.payload_bytes = options->request_bytes - WIRE_HEADER_BYTES,
		.number = ++conn->request_no,
		.value = options->response_bytes,
	};

	conn->busy = true;
	conn->began_ns = began_ns;
	wire_writer_begin(&conn->writer, &request);
	conn_send(worker, conn);
}

void conn_send_due(struct worker *worker, struct conn *conn)
{
	uint64_t due_ns = conn->due_ns;

	conn->due_ns += worker->client->options->interval_ns;
	conn_send_request(worker, conn, due_ns);
}

/* A response has arrived whole. */
static void conn_on_response(struct worker *worker, struct conn *conn)
{
	const struct client_options *options = worker->client->options;
	uint64_t now = net_now_ns();
	bool measured = conn->up && worker->phase >= PHASE_RUN;

	conn->busy = false;
	worker->stats.exchanges++;
	if (measured) {
		histogram_record(&worker->stats.latency, now - conn->began_ns);
		worker->stats.requests++;
	}
	if (conn->role == ROLE_CONNECTS) {
		conn_close(conn);
		if (measured)
			worker->stats.connections++;
	}
	conn_mark_up(worker, conn);
	if (worker->phase == PHASE_DRAIN && conn->role != ROLE_BULK)
		conn_mark_drained(worker, conn);
	else if (worker->phase == PHASE_RUN && conn->role == ROLE_CONNECTS)
		conn_open(worker, conn);
	else if (worker->phase == PHASE_RUN && conn->role == ROLE_SMALL) {
		if (options->interval_ns == 0)
			conn_send_request(worker, conn, now);
		else if (conn->due_ns <= now)
			conn_send_due(worker, conn);
	}
}

/* The backend's last message: both ends must have the same counts. */
static void conn_on_end(struct worker *worker, struct conn *conn)
{
	const struct wire_header *header = &conn->reader.header;

	if (header->number != conn->reader.data_bytes || header->value != conn->writer.data_bytes) {
		conn_fail(worker, conn, "byte counts differ", EBADMSG);
		return;
	}
	worker->stats.flows++;
	worker->stats.up_bytes += conn->writer.data_bytes;
	worker->stats.down_bytes += conn->reader.data_bytes;
	conn_mark_drained(worker, conn);
}

/* False if the message is wrong. */
static bool conn_on_message(struct worker *worker, struct conn *conn)
{
	const struct wire_header *header = &conn->reader.header;

	if (header->flow != conn->flow)
		return false;
	switch (header->kind) {
	case WIRE_RESPONSE:
		if (!conn->busy || header->number != conn->request_no ||
		    header->payload_bytes + WIRE_HEADER_BYTES !=
			    worker->client->options->response_bytes)
			return false;
		conn_on_response(worker, conn);
		return true;
	case WIRE_DATA:
		return conn->role == ROLE_BULK;
	case WIRE_END:
		if (!conn->end_sent)
			return false;
		conn_on_end(worker, conn);
		return true;
	default:
		return false;
	}
}

static void conn_receive(struct worker *worker, struct conn *conn)
{
	const uint8_t *data = worker->buffer;
	ssize_t n = recv(conn->fd, worker->buffer, sizeof(worker->buffer), 0);
	size_t length;
	int rc;

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			conn_fail(worker, conn, "receive", errno);
		return;
	}
	if (n == 0) {
		conn_fail(worker, conn, "closed early", EPIPE);
		return;
	}
	length = (size_t)n;
	/* A response may end the connection, or begin the next one: no bytes follow in this one. */
	do {
		rc = wire_reader_next(&conn->reader, &data, &length);
		if (rc < 0 || (rc == 1 && !conn_on_message(worker, conn))) {
			conn_fail(worker, conn, "wrong bytes", EBADMSG);
			return;
		}
	} while (rc == 1 && length > 0 && conn->state == CONN_OPEN);
}

static void conn_on_connect(struct worker *worker, struct conn *conn)
{
	const struct client_options *options = worker->client->options;
	socklen_t length = sizeof(int);
	int error = 0;

	if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
		error = errno;
	if (error != 0) {
		conn_fail(worker, conn, "connect", error);
		return;
	}
	conn->state = CONN_OPEN;
	worker->stats.opened++;
	if (conn->role == ROLE_BULK)
		net_pace(conn->fd, options->rate);
	conn_send_request(worker, conn, conn->began_ns);
}

void conn_on_event(struct worker *worker, struct conn *conn, uint32_t events)
{
	if (conn->state == CONN_CONNECTING) {
		conn_on_connect(worker, conn);
		return;
	}
	if (conn->state == CONN_OPEN && (events & EPOLLOUT))
		conn_send(worker, conn);
	if (conn->state == CONN_OPEN && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		conn_receive(worker, conn);
}

void conn_start_run(struct worker *worker, struct conn *conn)
{
	const struct client_options *options = worker->client->options;
	struct wire_header start = {
		.kind = WIRE_START,
		.flow = conn->flow,
		.value = options->rate,
	};

	if (conn->state == CONN_FAILED)
		return;
	if (conn->role == ROLE_BULK) {
		if (options->bulk_down)
			wire_writer_begin(&conn->writer, &start);
		conn_send(worker, conn);
	} else if (conn->role == ROLE_SMALL && options->interval_ns == 0) {
		conn_send_request(worker, conn, net_now_ns());
	} else if (conn->role == ROLE_CONNECTS) {
		conn_open(worker, conn);
	}
}

void conn_start_drain(struct worker *worker, struct conn *conn)
{
	if (conn->state == CONN_FAILED || conn->drained)
		return;
	if (conn->role == ROLE_BULK) {
		conn->end_due = true;
		conn_send(worker, conn);
	} else if (!conn->busy && conn->state != CONN_CONNECTING) {
		conn_mark_drained(worker, conn);
	}
}

void conn_give_up(struct worker *worker, struct conn *conn, const char *what)
{
	conn_fail(worker, conn, what, ETIMEDOUT);
}
