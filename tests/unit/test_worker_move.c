/* SPDX-License-Identifier: MIT */
/* worker_move.c, worker_carry.c: workers that stand still, and hand their sessions over. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
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

TestSuite(worker_move, .init = fixture_open_log, .fini = fixture_close_log);

#define PIECE	 5000
#define PAUSE_US 5000

/* A client, its backend, and how far each stream is. */
struct flow {
	int client;
	int backend;
	uint64_t up, down;
};

static struct addr backend_address;
static int backend_listener;

/* Two forwards to the same backend; only the first has these options. */
static const char *words_for(const char *options)
{
	static char words[512];
	char text[ADDR_TEXT_BYTES];

	addr_print(&backend_address, text);
	snprintf(words, sizeof(words),
		 "%s --listen [::1]:0 --backend %s --listen [::1]:0 --backend %s", options, text,
		 text);
	return words;
}

static void begin(struct fixture_place *place, const char *options)
{
	backend_listener = support_listen(&backend_address, 100);
	fixture_make(place, NULL, words_for(options));
	fixture_start(place);
}

static void open_flow(const struct fixture_place *place, unsigned forward, struct flow *flow)
{
	*flow = (struct flow){.client = support_connect(fixture_address(place, forward))};
	support_poll(backend_listener, POLLIN);
	flow->backend = accept(backend_listener, NULL, NULL);
	cr_assert_geq(flow->backend, 0);
}

/* Sends a piece from one end, and checks it at the other. */
static void pass(int from, int to, uint64_t *at)
{
	char sent[PIECE], received[PIECE];

	support_fill_pattern(sent, sizeof(sent), *at);
	support_send(from, sent, sizeof(sent));
	support_receive(to, received, sizeof(received));
	cr_assert_eq(support_check_pattern(received, sizeof(received), *at), sizeof(received));
	*at += sizeof(sent);
}

static void pass_both(struct flow *flow)
{
	pass(flow->client, flow->backend, &flow->up);
	pass(flow->backend, flow->client, &flow->down);
}

static void expect_end(int fd)
{
	char byte;

	cr_expect_eq(recv(fd, &byte, 1, 0), 0, "a FIN, not: %s", strerror(errno));
}

/* Both ends, in this order, and the sessions is over. */
static void end_flow(const struct flow *flow)
{
	cr_assert_eq(shutdown(flow->client, SHUT_WR), 0);
	expect_end(flow->backend);
	close(flow->backend);
	expect_end(flow->client);
	close(flow->client);
}

Test(worker_move, a_freeze_holds_all_and_a_thaw_goes_on)
{
	struct fixture_place place;
	struct flow flows[4];

	begin(&place, "--workers 2");
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
		open_flow(&place, 0, &flows[i]);
	for (unsigned round = 0; round < 20; round++) {
		struct flow late;

		for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
			pass_both(&flows[i]);
		fixture_freeze(&place);
		/* waits in the backlog */
		late.client = support_connect(fixture_address(&place, 0));
		cr_expect_eq(workers_metric(place.workers, METRIC_sessions_open), 4);
		workers_thaw(place.workers);
		support_poll(backend_listener, POLLIN);
		late.backend = accept(backend_listener, NULL, NULL);
		end_flow(&late);
		fixture_await(&place, METRIC_sessions_open, 4);
	}
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
		end_flow(&flows[i]);
	fixture_await(&place, METRIC_sessions_open, 0);
	fixture_end(&place);
	close(backend_listener);
}

/* Ends the workers that have handed everything over: they do so by themselves. */
static void end_former(struct fixture_place *place)
{
	workers_join(place->workers);
	cr_expect_eq(workers_metric(place->workers, METRIC_sessions_closed), 0);
	fixture_end(place);
}

static void finish(struct fixture_place *place, unsigned descriptors)
{
	fixture_await(place, METRIC_sessions_open, 0);
	fixture_end(place);
	close(backend_listener);
	cr_expect_eq(support_count_descriptors(), descriptors);
}

/* From each number of workers and each engine to another. */
Test(worker_move, sessions_go_on_in_another_process)
{
	static const char *const options[] = {
		"--workers 2",
		"--workers 2",
		"--workers 1",
		"--workers 3 --engine epoll",
		"--workers 2 --engine io_uring --maxconn 2 --maxpipes 2",
		"--workers 2"};
	struct fixture_place places[ARRAY_COUNT(options)];
	unsigned descriptors = support_count_descriptors();
	unsigned last = 0;
	struct flow flows[6];

	begin(&places[0], options[0]);
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
		open_flow(&places[0], i % 2, &flows[i]);
	for (; last + 1 < ARRAY_COUNT(options); last++) {
		for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
			pass_both(&flows[i]);
		fixture_make(&places[last + 1], &places[last], words_for(options[last + 1]));
		fixture_move(&places[last], &places[last + 1]);
		end_former(&places[last]);
		cr_expect_eq(workers_metric(places[last + 1].workers, METRIC_sessions_opened), 6);
		cr_expect_eq(workers_metric(places[last + 1].workers, METRIC_sessions_open), 6);
	}
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++) {
		pass_both(&flows[i]);
		end_flow(&flows[i]);
	}
	fixture_await(&places[last], METRIC_sessions_open, 0);
	cr_expect_eq(workers_metric(places[last].workers, METRIC_sessions_closed), 6);
	cr_expect_eq(workers_closed_count(places[last].workers, CLOSE_done), 6);
	cr_expect_eq(workers_metric(places[last].workers, METRIC_bytes_up),
		     ARRAY_COUNT(flows) * ARRAY_COUNT(options) * PIECE);
	finish(&places[last], descriptors);
}

static struct session *session_of(const struct fixture_place *place, uint32_t slot)
{
	return sessions_at(&place->workers->list[0].sessions, slot);
}

/* A session that sleeps, and another one. Limits of the first pass in the pause, but bytes have come. */
static void check_sleep(const char *options)
{
	unsigned descriptors = support_count_descriptors();
	struct fixture_place place, other;
	struct flow flows[2];
	char byte;

	begin(&place, options);
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++) {
		open_flow(&place, 0, &flows[i]);
		pass_both(&flows[i]);
	}
	fixture_make(&other, &place, words_for(options));
	fixture_stand(&other);
	fixture_freeze(&place);
	session_of(&place, 0)->active_ms -= 10000;
	support_send(flows[0].client, "x", 1);
	session_of(&place, 1)->active_ms = timer_now_ms();
	fixture_carry(&place, &other, fixture_all);
	cr_expect_not(session_of(&other, 0)->queued);
	cr_expect(session_of(&other, 1)->queued);
	usleep(PAUSE_US);
	fixture_start(&other);
	support_receive(flows[0].backend, &byte, 1);
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
		pass_both(&flows[i]);
	workers_await_sessions(other.workers, timer_now_ms() + SUPPORT_PATIENCE_MS);
	/* the end of a session does not wait until the other process has closed its copy */
	end_flow(&flows[0]);
	workers_leave(place.workers, fixture_all);
	end_former(&place);
	end_flow(&flows[1]);
	finish(&other, descriptors);
}

Test(worker_move, a_silent_session_sleeps_until_a_sweep)
{
	check_sleep("--workers 1");
}

Test(worker_move, a_session_that_sleeps_is_not_idle)
{
	check_sleep(
		"--workers 1 --timeout-idle 2s --timeout-client-fin 2s --timeout-server-fin 2s");
}

Test(worker_move, a_takeover_that_fails_changes_nothing)
{
	unsigned descriptors = support_count_descriptors();
	struct fixture_place place, other;
	struct workers_pipes pipes;
	struct flow flows[4];

	begin(&place, "--workers 2");
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
		open_flow(&place, i % 2, &flows[i]);
	for (unsigned times = 0; times < 3; times++) {
		for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
			pass_both(&flows[i]);
		fixture_make(&other, &place, words_for("--workers 2"));
		fixture_freeze(&place);
		fixture_carry(&place, &other, fixture_all);
		pipes = workers_pipes(place.workers);
		cr_expect_eq(workers_pipes(other.workers).free_count, pipes.free_count);
		/* it has never run */
		fixture_end(&other);
		workers_thaw(place.workers);
	}
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++) {
		pass_both(&flows[i]);
		end_flow(&flows[i]);
	}
	finish(&place, descriptors);
}

Test(worker_move, a_forward_that_stays_is_drained)
{
	static const bool moves[] = {false, true};
	unsigned descriptors = support_count_descriptors();
	struct fixture_place place, other;
	struct flow flows[4];

	begin(&place, "--workers 2");
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
		open_flow(&place, i % 2, &flows[i]);
	fixture_make(&other, &place, words_for("--workers 2"));
	fixture_freeze(&place);
	fixture_carry(&place, &other, moves);
	workers_leave(place.workers, moves);
	fixture_start(&other);
	fixture_await(&place, METRIC_sessions_open, 2);
	cr_expect_eq(workers_metric(other.workers, METRIC_sessions_open), 2);
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
		pass_both(&flows[i]);
	cr_expect_geq(workers_running_count(place.workers), 1);
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
		end_flow(&flows[i]);
	workers_join(place.workers);
	cr_expect_eq(workers_closed_count(place.workers, CLOSE_done), 2);
	/* the others have all pipes */
	cr_expect_eq(workers_pipes(place.workers).count, 0);
	fixture_end(&place);
	finish(&other, descriptors);
}

/* A connection that was accepted and waits for room gets its session in the other process. */
Test(worker_move, a_connection_that_waits_is_taken_along)
{
	unsigned descriptors = support_count_descriptors();
	struct fixture_place place, other;
	struct listener *listener;
	struct flow flow = {0};

	begin(&place, "--workers 1");
	fixture_freeze(&place);
	listener = &place.workers->list[0].listeners.listeners[1];
	flow.client = support_connect(fixture_address(&place, 1));
	support_poll(listener->fd, POLLIN);
	listener->waiting_fd = sock_accept(listener->fd);
	cr_assert_geq(listener->waiting_fd, 0);
	fixture_make(&other, &place, words_for("--workers 2"));
	fixture_carry(&place, &other, fixture_all);
	workers_leave(place.workers, fixture_all);
	fixture_start(&other);
	end_former(&place);
	support_poll(backend_listener, POLLIN);
	flow.backend = accept(backend_listener, NULL, NULL);
	pass_both(&flow);
	end_flow(&flow);
	finish(&other, descriptors);
}

static uint64_t find_id(const struct fixture_place *place, uint32_t slot)
{
	return sessions_at(&place->workers->list[0].sessions, slot)->id;
}

Test(worker_move, ids_stay_unique)
{
	unsigned descriptors = support_count_descriptors();
	struct fixture_place place, other;
	struct flow flows[2], gone;
	uint64_t first;

	begin(&place, "--workers 1");
	open_flow(&place, 0, &flows[0]);
	open_flow(&place, 0, &gone);
	end_flow(&gone);
	fixture_await(&place, METRIC_sessions_open, 1);
	fixture_make(&other, &place, words_for("--workers 1"));
	fixture_freeze(&place);
	first = find_id(&place, 0);
	fixture_carry(&place, &other, fixture_all);
	workers_leave(place.workers, fixture_all);
	fixture_start(&other);
	cr_expect_eq(workers_boot_id(other.workers), workers_boot_id(place.workers));
	workers_join(place.workers);
	fixture_end(&place);
	open_flow(&other, 0, &flows[1]);
	fixture_freeze(&other);
	cr_expect_eq(find_id(&other, 0), first);
	/* the second id was that of the session that is over */
	cr_expect_eq(find_id(&other, 1), first + (uint64_t)2 * CONFIG_WORKER_LIMIT);
	workers_thaw(other.workers);
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
		end_flow(&flows[i]);
	finish(&other, descriptors);
}

Test(worker_move, a_freeze_that_fails_freezes_none)
{
	unsigned descriptors = support_count_descriptors();
	struct fixture_place place;
	struct flow flow;

	begin(&place, "--workers 2");
	open_flow(&place, 0, &flow);
	for (unsigned times = 0; times < 100; times++) {
		int result = workers_freeze(place.workers, times % 2 ? timer_now_ms() : 0);

		cr_expect(!result || result == -ETIMEDOUT);
		if (!result)
			workers_thaw(place.workers);
	}
	pass_both(&flow);
	fixture_freeze(&place);
	workers_thaw(place.workers);
	workers_enter(place.workers, WORKER_DRAIN);
	cr_expect_eq(workers_freeze(place.workers, timer_now_ms() + SUPPORT_PATIENCE_MS), -EBUSY);
	end_flow(&flow);
	workers_join(place.workers);
	finish(&place, descriptors);
}

/* Whole transfers --------------------------------------------------------------------------- */

#define BULK_BYTES  (16 << 20)
#define BULK_BUFFER 65536

struct stream {
	int from, to;
	atomic_bool failed;
};

static void *send_stream(void *argument)
{
	struct stream *stream = argument;
	char bytes[BULK_BUFFER];

	for (uint64_t at = 0; at < BULK_BYTES; at += sizeof(bytes)) {
		support_fill_pattern(bytes, sizeof(bytes), at);
		for (size_t sent = 0; sent < sizeof(bytes) && !stream->failed;) {
			ssize_t result = send(stream->from, bytes + sent, sizeof(bytes) - sent,
					      MSG_NOSIGNAL);

			if (result < 0)
				stream->failed = true;
			else
				sent += (size_t)result;
		}
	}
	return NULL;
}

static void *receive_stream(void *argument)
{
	struct stream *stream = argument;
	char bytes[BULK_BUFFER];

	for (uint64_t at = 0; at < BULK_BYTES && !stream->failed;) {
		ssize_t got = recv(stream->to, bytes, sizeof(bytes), 0);

		if (got <= 0 || support_check_pattern(bytes, (size_t)got, at) != (size_t)got)
			stream->failed = true;
		else
			at += (uint64_t)got;
	}
	return NULL;
}

Test(worker_move, transfers_go_through_many_moves)
{
	unsigned descriptors = support_count_descriptors();
	struct fixture_place places[2];
	struct flow flows[3];
	struct stream streams[2 * ARRAY_COUNT(flows)];
	pthread_t threads[2 * ARRAY_COUNT(streams)];
	unsigned now = 0;

	begin(&places[0], "--workers 2");
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++) {
		open_flow(&places[0], 0, &flows[i]);
		streams[2 * i] = (struct stream){.from = flows[i].client, .to = flows[i].backend};
		streams[2 * i + 1] =
			(struct stream){.from = flows[i].backend, .to = flows[i].client};
	}
	for (unsigned i = 0; i < ARRAY_COUNT(streams); i++) {
		cr_assert(!pthread_create(&threads[2 * i], NULL, send_stream, &streams[i]));
		cr_assert(!pthread_create(&threads[2 * i + 1], NULL, receive_stream, &streams[i]));
	}
	for (unsigned times = 0; times < 20; times++) {
		struct fixture_place *before = &places[now];

		now = !now;
		fixture_make(&places[now], before,
			     words_for(times % 2 ? "--workers 2" : "--workers 3"));
		fixture_move(before, &places[now]);
		end_former(before);
	}
	for (unsigned i = 0; i < ARRAY_COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < ARRAY_COUNT(streams); i++)
		cr_expect(!streams[i].failed, "stream %u", i);
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
		end_flow(&flows[i]);
	fixture_await(&places[now], METRIC_sessions_open, 0);
	cr_expect_eq(workers_metric(places[now].workers, METRIC_bytes_down),
		     (uint64_t)ARRAY_COUNT(flows) * BULK_BYTES);
	finish(&places[now], descriptors);
}
