/* SPDX-License-Identifier: MIT */
/* listener.c: connections that a worker's listeners hand over to other workers. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "config/config_parse.h"
#include "engine_fixture.h"
#include "forward_fixture.h"
#include "os/sock.h"
#include "relay/listener.h"
#include "support.h"

TestSuite(listener, .fini = support_check_leaks);

#define SLOTS 4

/* Worker 0 of two. Its sessions end at once, because their clients are not in --trust. */
struct job {
	struct config config;
	struct timer_wheel wheel;
	struct load load;
	struct metrics metrics;
	struct sessions sessions;
	struct listeners listeners;
	struct engine *engines[2];
};

static struct job *begin(void)
{
	static char words[][24] = {"sixpipe",	     "[::1]:2000", "192.0.2.80:80",
				   "--accept-proxy", "--trust",	   "2001:db8::/32"};
	char *argv[ARRAY_COUNT(words)];
	struct job *job = aligned_alloc(CACHE_LINE_BYTES, sizeof(*job));
	struct command_line line = {0};
	struct fault fault = {0};
	struct forward_socket socket = {.fd = -1};
	const struct forward_sockets sockets = {.list = &socket, .count = 1};

	cr_assert_not_null(job);
	memset(job, 0, sizeof(*job));
	for (unsigned i = 0; i < ARRAY_COUNT(words); i++)
		argv[i] = words[i];
	config_init(&job->config);
	line.config = &job->config;
	cr_assert_eq(support_parse(&line, ARRAY_COUNT(argv), argv, &fault), 0, "%s",
		     support_text(&fault));
	timer_wheel_init(&job->wheel, 0);
	cr_assert_eq(load_init(&job->load, SLOTS, UINT32_MAX, 2), 0);
	for (unsigned i = 0; i < 2; i++)
		job->engines[i] = fixture_open();
	job->sessions.config = &job->config;
	job->sessions.wheel = &job->wheel;
	job->sessions.load = &job->load;
	job->sessions.engine = job->engines[0];
	job->sessions.metrics = job->sessions.pump.metrics = &job->metrics;
	cr_assert_eq(sessions_init(&job->sessions, SLOTS), 0);
	job->sessions.forwards = fixture_forwards(&job->config, SLOTS);
	cr_assert_eq(listeners_init(&job->listeners, &sockets, &job->sessions, job->engines), 0);
	return job;
}

static void finish(struct job *job)
{
	listeners_finish(&job->listeners);
	sessions_finish(&job->sessions);
	forwards_destroy(job->sessions.forwards);
	for (unsigned i = 0; i < 2; i++)
		engine_destroy(job->engines[i]);
	load_finish(&job->load);
	config_finish(&job->config);
	free(job);
}

/*
 * In a drain a worker ends when no session is admitted for it. If it sleeps because it waits for a
 * connection from another worker, and the connection does not come, it must be woken.
 */
Test(listener, a_hand_over_that_fails_wakes_the_worker_that_waits_for_it)
{
	struct job *job = begin();
	struct engine_event event = {.result = -EAGAIN};
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	cr_assert_eq(load_admit_here(&job->load, 1), 1);
	cr_assert(!load_retire(&job->load, 1));
	cr_assert(fixture_is_quiet(job->engines[1]));
	job->listeners.sending_count = 1;
	event.token = engine_token(ENGINE_OP_HAND_OVER_SENT, 1, 0, (unsigned)fds[0]);
	listeners_on_event(&job->listeners, &event);
	cr_expect_eq(engine_token_op(fixture_next(job->engines[1]).token), ENGINE_OP_WAKE);
	cr_expect(load_retire(&job->load, 1));
	cr_expect_eq(metrics_get(&job->metrics, METRIC_sessions_opened), 1, "served here");
	cr_expect_eq(load_room(&job->load), SLOTS, "and over: the client is not trusted");
	cr_expect(listeners_are_closed(&job->listeners));
	close(fds[1]);
	finish(job);
}

/* The workers of the same process can have different listeners, but have the same forwards. */
Test(listener, a_connection_handed_over_names_its_forward)
{
	struct job *job = begin();
	struct engine_event event = {.token = engine_token(ENGINE_OP_HANDED_OVER, 0, 0, 0)};
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	cr_assert_eq(load_admit_here(&job->load, 0), 0);
	event.result = fds[0];
	job->listeners.count = 0;
	listeners_on_event(&job->listeners, &event);
	cr_expect_eq(metrics_get(&job->metrics, METRIC_sessions_opened), 1);
	close(fds[1]);
	finish(job);
}

/* At the end of its listener a worker serves the backlog, unless the next process has the listener. */
Test(listener, the_backlog_of_a_listener_given_away_stays)
{
	for (unsigned given_away = 0; given_away < 2; given_away++) {
		struct job *job = begin();
		struct addr address;
		int fd = support_listen(&address, 4), next = dup(fd), client;

		cr_assert(!fcntl(fd, F_SETFL, O_NONBLOCK));
		client = support_connect(&address);
		job->listeners.listeners[0].fd = fd;
		job->sessions.forwards->list[0].given_away = given_away;
		listeners_close(&job->listeners);
		cr_expect_eq(metrics_get(&job->metrics, METRIC_sessions_opened), !given_away);
		cr_expect(listeners_are_closed(&job->listeners));
		fd = sock_accept(next);
		cr_expect_eq(fd >= 0, given_away);
		if (fd >= 0)
			close(fd);
		close(next);
		close(client);
		finish(job);
	}
}

/*
 * A forward can go on in the next process with another listener. Then its old listener ends as any
 * other: with its backlog served.
 */
Test(listener, a_held_listener_is_left_only_if_it_was_given_away)
{
	static const struct {
		bool moves, given_away, waits; /* a connection waits in the listener */
		bool left;		       /* its socket is closed by listeners_leave() */
		unsigned served; /* by listeners_close(): one waits in the backlog too */
	} rows[] = {
		{true, true, false, true, 0},	{true, true, true, true, 0},
		{true, false, false, false, 1}, {true, false, true, false, 1},
		{false, true, false, true, 0},	{false, true, true, false, 1},
		{false, false, true, false, 2},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct job *job = begin();
		struct listener *listener = &job->listeners.listeners[0];
		struct addr address;
		int next, clients[2];

		listener->fd = support_listen(&address, 4);
		cr_assert(!fcntl(listener->fd, F_SETFL, O_NONBLOCK));
		next = dup(listener->fd);
		clients[0] = support_connect(&address);
		if (rows[i].waits)
			listener->waiting_fd = sock_accept(next);
		clients[1] = rows[i].waits ? support_connect(&address) : -1;
		listener->forward->given_away = rows[i].given_away;
		listeners_hold(&job->listeners);
		listeners_leave(&job->listeners, &rows[i].moves);
		cr_expect_eq(listener->fd < 0, rows[i].left, "row %zu", i);
		cr_expect_eq(metrics_get(&job->metrics, METRIC_sessions_opened), 0, "row %zu", i);
		listeners_close(&job->listeners);
		cr_expect(listeners_are_closed(&job->listeners), "row %zu", i);
		cr_expect_eq(metrics_get(&job->metrics, METRIC_sessions_opened), rows[i].served,
			     "row %zu", i);
		close(next);
		close(clients[0]);
		if (clients[1] >= 0)
			close(clients[1]);
		finish(job);
	}
}
