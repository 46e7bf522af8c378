/* SPDX-License-Identifier: MIT */
/* session_move.c: sessions in each state, whose process is replaced. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "os/sock.h"
#include "os/timer.h"
#include "relay/session_private.h"
#include "relay/worker_parts.h"
#include "support.h"
#include "worker_fixture.h"

TestSuite(session_move, .init = fixture_open_log, .fini = fixture_close_log);

#define PIECE	  3000
#define BULK	  (4 * CHUNK)
#define CHUNK	  65536
#define RETRY_US  500
#define SMALL_BUF 4608
#define MEASURED  4 /* pieces, after which a lane has measured the room */

/* One session, the workers that have it, and the next ones. */
struct setup {
	struct fixture_place places[2];
	unsigned now;
	char words[512];
	struct addr backend_address;
	int backend_listener;
	int client, backend;
	uint64_t up, down; /* bytes passed so far */
};

/* `options` end with a space, or are "". */
static void begin(struct setup *setup, const char *options)
{
	char text[ADDR_TEXT_BYTES];

	memset(setup, 0, sizeof(*setup));
	setup->client = setup->backend = -1;
	setup->backend_listener = support_listen(&setup->backend_address, 10);
	snprintf(setup->words, sizeof(setup->words), "--workers 1 %s[::1]:0 %s", options,
		 addr_print(&setup->backend_address, text));
	fixture_make(&setup->places[0], NULL, setup->words);
	fixture_start(&setup->places[0]);
}

static struct fixture_place *here(struct setup *setup)
{
	return &setup->places[setup->now];
}

static void finish(struct setup *setup)
{
	fixture_await(here(setup), METRIC_sessions_open, 0);
	cr_expect_eq(workers_metric(here(setup)->workers, METRIC_sessions_opened), 1);
	cr_expect_eq(workers_metric(here(setup)->workers, METRIC_sessions_closed), 1);
	fixture_end(here(setup));
	close(setup->backend_listener);
	if (setup->client >= 0)
		close(setup->client);
	if (setup->backend >= 0)
		close(setup->backend);
}

static void connect_client(struct setup *setup)
{
	setup->client = support_connect(fixture_address(here(setup), 0));
}

static void accept_backend(struct setup *setup)
{
	support_poll(setup->backend_listener, POLLIN);
	setup->backend = accept(setup->backend_listener, NULL, NULL);
	cr_assert_geq(setup->backend, 0);
}

static void open_session(struct setup *setup)
{
	connect_client(setup);
	accept_backend(setup);
}

/* Moves the session to the next workers, and ends those that had it. */
static void move(struct setup *setup)
{
	struct fixture_place *before = here(setup);

	setup->now = !setup->now;
	fixture_make(here(setup), before, setup->words);
	fixture_move(before, here(setup));
	workers_join(before->workers);
	cr_expect_eq(workers_metric(before->workers, METRIC_sessions_closed), 0);
	fixture_end(before);
}

static void send_piece(int fd, size_t count, uint64_t *at)
{
	char *bytes = malloc(count);

	cr_assert_not_null(bytes);
	support_fill_pattern(bytes, count, *at);
	support_send(fd, bytes, count);
	*at += count;
	free(bytes);
}

static void receive_piece(int fd, size_t count, uint64_t at)
{
	char *bytes = malloc(count);

	cr_assert_not_null(bytes);
	support_receive(fd, bytes, count);
	cr_assert_eq(support_check_pattern(bytes, count, at), count);
	free(bytes);
}

static void pass_up(struct setup *setup, size_t count)
{
	send_piece(setup->client, count, &setup->up);
	receive_piece(setup->backend, count, setup->up - count);
}

static void pass_down(struct setup *setup, size_t count)
{
	send_piece(setup->backend, count, &setup->down);
	receive_piece(setup->client, count, setup->down - count);
}

static void expect_end(int fd)
{
	char byte;
	ssize_t got = recv(fd, &byte, 1, 0);

	cr_expect_eq(got, 0, "a FIN, not %zd: %s", got, strerror(errno));
}

/* The client ends the session, and the backend sees the end. */
static void end_from_client(struct setup *setup)
{
	close(setup->client);
	setup->client = -1;
	expect_end(setup->backend);
	close(setup->backend);
	setup->backend = -1;
	finish(setup);
}

static void expect_reset(int fd)
{
	char byte;

	cr_expect_eq(recv(fd, &byte, 1, 0), -1);
	cr_expect_eq(errno, ECONNRESET);
}

/* The only session. Only while the workers stand still. */
static struct session *find_session(struct setup *setup)
{
	struct sessions *sessions = &here(setup)->workers->list[0].sessions;
	struct session *found = NULL;

	for (uint32_t slot = 0; slot < sessions_slot_end(sessions); slot++)
		found = found ? found : sessions_at(sessions, slot);
	cr_assert_not_null(found);
	return found;
}

/* Waits until the session is in a state that `is_so` likes. */
static void await(struct setup *setup, bool (*is_so)(const struct session *session))
{
	uint64_t deadline_ms = timer_now_ms() + SUPPORT_PATIENCE_MS;
	bool so = false;

	while (!so) {
		cr_assert_lt(timer_now_ms(), deadline_ms);
		fixture_freeze(here(setup));
		so = is_so(find_session(setup));
		workers_thaw(here(setup)->workers);
		if (!so)
			usleep(RETRY_US);
	}
}

/* States --------------------------------------------------------------------------------------- */

Test(session_move, half_closed)
{
	for (unsigned client_ends = 0; client_ends < 2; client_ends++) {
		struct setup setup;

		begin(&setup, "");
		open_session(&setup);
		pass_up(&setup, PIECE);
		cr_assert_eq(shutdown(client_ends ? setup.client : setup.backend, SHUT_WR), 0);
		expect_end(client_ends ? setup.backend : setup.client);
		for (unsigned times = 0; times < 2; times++) {
			move(&setup);
			if (client_ends)
				pass_down(&setup, PIECE);
			else
				pass_up(&setup, PIECE);
		}
		cr_assert_eq(shutdown(client_ends ? setup.backend : setup.client, SHUT_WR), 0);
		expect_end(client_ends ? setup.client : setup.backend);
		finish(&setup);
		cr_expect_eq(setup.up + setup.down, (uint64_t)3 * PIECE);
	}
}

/* The guard is made again: a reset of the side that has ended is found. */
Test(session_move, half_closed_and_then_reset)
{
	struct setup setup;

	begin(&setup, "");
	open_session(&setup);
	cr_assert_eq(shutdown(setup.client, SHUT_WR), 0);
	expect_end(setup.backend);
	move(&setup);
	support_reset(setup.client);
	setup.client = -1;
	cr_expect(support_poll(setup.backend, 0) & POLLERR);
	finish(&setup);
}

static bool holds_bytes(const struct session *session)
{
	return session->state == SESSION_RELAYING && session->pipe[SESSION_BACKEND] &&
	       session->lane[SESSION_BACKEND].held_bytes;
}

static void *send_bulk(void *argument)
{
	struct setup *setup = argument;

	for (unsigned i = 0; i < BULK / CHUNK; i++)
		send_piece(setup->backend, CHUNK, &setup->down);
	return NULL;
}

static void set_buffer(int fd, int option, int bytes)
{
	cr_assert_eq(setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof(bytes)), 0);
}

/* The client's side takes less than the lane has measured, so that a rest stays in the pipe. */
static void stall(struct setup *setup, pthread_t *sender)
{
	set_buffer(setup->client, SO_RCVBUF, SMALL_BUF);
	for (unsigned i = 0; i < MEASURED; i++)
		pass_down(setup, PIECE);
	fixture_freeze(here(setup));
	set_buffer(find_session(setup)->fd[SESSION_CLIENT], SO_SNDBUF, SMALL_BUF);
	workers_thaw(here(setup)->workers);
	cr_assert_eq(pthread_create(sender, NULL, send_bulk, setup), 0);
	await(setup, holds_bytes);
}

Test(session_move, stalled_with_bytes_in_the_pipe)
{
	struct setup setup;
	pthread_t sender;

	begin(&setup, "");
	open_session(&setup);
	stall(&setup, &sender);
	move(&setup);
	await(&setup, holds_bytes);
	move(&setup);
	set_buffer(setup.client, SO_RCVBUF, BULK);
	receive_piece(setup.client, BULK, MEASURED * PIECE);
	pthread_join(sender, NULL);
	pass_up(&setup, PIECE);
	close(setup.backend);
	setup.backend = -1;
	expect_end(setup.client);
	close(setup.client);
	setup.client = -1;
	finish(&setup);
	cr_expect_eq(setup.down, MEASURED * PIECE + BULK);
}

static bool is_closing(const struct session *session)
{
	return session->state == SESSION_CLOSING;
}

/* The backend has failed, and the client still gets what is on the way, and then the reset. */
Test(session_move, closing_with_undelivered_bytes)
{
	struct setup setup;

	begin(&setup, "");
	open_session(&setup);
	pass_down(&setup, PIECE);
	set_buffer(setup.client, SO_RCVBUF, SMALL_BUF);
	send_piece(setup.backend, CHUNK, &setup.down);
	/* the bytes have left the backend, or its reset would drop them */
	while (sock_undelivered_bytes(setup.backend))
		usleep(RETRY_US);
	support_reset(setup.backend);
	setup.backend = -1;
	await(&setup, is_closing);
	for (unsigned times = 0; times < 2; times++) {
		move(&setup);
		fixture_freeze(here(&setup));
		cr_expect_eq(find_session(&setup)->reason, CLOSE_backend_reset);
		workers_thaw(here(&setup)->workers);
	}
	receive_piece(setup.client, CHUNK, PIECE);
	expect_reset(setup.client);
	fixture_await(here(&setup), METRIC_sessions_open, 0);
	cr_expect_eq(workers_closed_count(here(&setup)->workers, CLOSE_backend_reset), 1);
	cr_expect_eq(workers_metric(here(&setup)->workers, METRIC_bytes_down), PIECE + CHUNK);
	finish(&setup);
}

static bool awaits_header(const struct session *session)
{
	return session->state == SESSION_OPENING && session->wanted_bytes;
}

Test(session_move, waiting_for_a_proxy_header)
{
	static const char header[] = "PROXY TCP6 2001:db8::1 2001:db8::2 1000 2000\r\n";
	struct setup setup;

	begin(&setup, "--accept-proxy --trust ::/0 ");
	connect_client(&setup);
	for (unsigned i = 0; i < 2; i++) {
		/* the first move: nothing has come; the second: a part */
		if (i) {
			support_send(setup.client, header, 20);
			await(&setup, awaits_header);
		} else {
			fixture_await(here(&setup), METRIC_sessions_opened, 1);
		}
		move(&setup);
	}
	support_send(setup.client, header + 20, strlen(header) - 20);
	accept_backend(&setup);
	pass_up(&setup, PIECE);
	fixture_freeze(here(&setup));
	cr_expect_eq(addr_port(&find_session(&setup)->client), 1000);
	workers_thaw(here(&setup)->workers);
	end_from_client(&setup);
}

static bool is_connecting(const struct session *session)
{
	return session->state == SESSION_CONNECTING;
}

/* The backend's backlog is full, so its answer waits until the SYN is sent again: 1 s. */
Test(session_move, connecting)
{
	struct setup setup;
	int fillers[2];

	begin(&setup, "");
	cr_assert_eq(listen(setup.backend_listener, 0), 0);
	for (unsigned i = 0; i < ARRAY_COUNT(fillers); i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(fillers[i], &setup.backend_address.any,
			      setup.backend_address.length_bytes);
	}
	support_poll(setup.backend_listener, POLLIN);
	connect_client(&setup);
	await(&setup, is_connecting);
	for (unsigned times = 0; times < 3; times++) {
		move(&setup);
		await(&setup, is_connecting);
	}
	for (unsigned i = 0; i < ARRAY_COUNT(fillers); i++) {
		close(fillers[i]);
		if (!i)
			close(accept(setup.backend_listener, NULL, NULL));
	}
	send_piece(setup.client, PIECE, &setup.up);
	do
		accept_backend(&setup);
	while (recv(setup.backend, (char[1]){0}, 1, MSG_PEEK) <= 0 && !close(setup.backend));
	receive_piece(setup.backend, PIECE, 0);
	pass_down(&setup, PIECE);
	cr_expect_eq(workers_metric(here(&setup)->workers, METRIC_connects), 1);
	end_from_client(&setup);
}

/* --timeout-connect goes on from where it was. */
Test(session_move, connecting_until_a_timeout)
{
	struct setup setup;

	begin(&setup, "--timeout-connect 300ms ");
	cr_assert_eq(listen(setup.backend_listener, 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		setup.backend = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(setup.backend, &setup.backend_address.any,
			      setup.backend_address.length_bytes);
	}
	support_poll(setup.backend_listener, POLLIN);
	connect_client(&setup);
	await(&setup, is_connecting);
	move(&setup);
	expect_reset(setup.client);
	fixture_await(here(&setup), METRIC_sessions_open, 0);
	cr_expect_eq(workers_closed_count(here(&setup)->workers, CLOSE_connect_failed), 1);
	finish(&setup);
}

Test(session_move, paced)
{
	struct setup setup;

	begin(&setup, "--limit-up 1MiB --limit-down-total 1MiB ");
	open_session(&setup);
	send_piece(setup.client, CHUNK * 2, &setup.up);
	send_piece(setup.backend, CHUNK * 2, &setup.down);
	for (unsigned times = 0; times < 4; times++)
		move(&setup);
	receive_piece(setup.backend, CHUNK * 2, 0);
	receive_piece(setup.client, CHUNK * 2, 0);
	pass_up(&setup, PIECE);
	end_from_client(&setup);
}

/* A record that ends early, wherever: nothing is left of it. */
Test(session_move, records_that_are_cut_short_are_refused)
{
	struct fixture_place other;
	struct setup setup;
	unsigned descriptors;

	begin(&setup, "");
	open_session(&setup);
	pass_up(&setup, PIECE);
	fixture_freeze(here(&setup));
	descriptors = support_count_descriptors();
	for (unsigned values = 0; values < 12; values++) {
		enum carrier_kind kind;
		struct carrier *ends[2];
		int fds[2];

		fixture_make(&other, here(&setup), setup.words);
		cr_assert_eq(carrier_pair(fds), 0);
		for (unsigned i = 0; i < 2; i++)
			cr_assert_eq(carrier_create(&ends[i], fds[i]), 0);
		carrier_begin(ends[0], CARRIER_SESSION);
		carrier_put_fd(ends[0], setup.client);
		for (unsigned i = 0; i < values; i++)
			carrier_put(ends[0], i == 1);
		carrier_end(ends[0]);
		cr_assert_eq(carrier_flush(ends[0]), 0);
		cr_assert_eq(carrier_next(ends[1], &kind), 0);
		cr_expect_lt(workers_read(other.workers, ends[1], kind), 0);
		cr_expect_eq(workers_metric(other.workers, METRIC_sessions_open), 0);
		cr_expect_eq(load_count(&other.workers->load), 0);
		for (unsigned i = 0; i < 2; i++)
			carrier_destroy(ends[i]);
		fixture_end(&other);
		cr_expect_eq(support_count_descriptors(), descriptors);
	}
	workers_thaw(here(&setup)->workers);
	pass_up(&setup, PIECE);
	end_from_client(&setup);
}
