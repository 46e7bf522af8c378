/* SPDX-License-Identifier: MIT */
/* worker_move.c, worker_carry.c: workers that stand still, and hand their sessions over. */
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
#include "relay/worker_parts.h"
#include "support.h"
#include "worker_fixture.h"

TestSuite(worker_move, .init = fixture_open_log, .fini = fixture_close_log);

#define PIECE 5000

/* A client, its backend, and how far each stream is. */
struct flow {
	int client;
	int backend;
	uint64_t up, down;
};

static struct addr backend_address;
static int backend_listener;

static const char *words_for(const char *options)
{
	static char words[512];
	char text[ADDR_TEXT_BYTES];

	snprintf(words, sizeof(words), "--workers 2%s%s [::1]:0 %s", *options ? " " : "", options,
		 addr_print(&backend_address, text));
	return words;
}

static void begin(struct fixture_place *place, const char *options)
{
	backend_listener = support_listen(&backend_address, 100);
	fixture_make(place, NULL, words_for(options));
	fixture_start(place);
}

static void open_flow(const struct fixture_place *place, struct flow *flow)
{
	*flow = (struct flow){.client = support_connect(fixture_address(place, 0))};
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

	begin(&place, "");
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
		open_flow(&place, &flows[i]);
	for (unsigned round = 0; round < 20; round++) {
		struct flow late;

		for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
			pass_both(&flows[i]);
		cr_assert_eq(workers_freeze(place.workers, timer_now_ms() + SUPPORT_PATIENCE_MS),
			     0);
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

Test(worker_move, sessions_go_on_in_another_process)
{
	struct fixture_place places[3];
	struct flow flows[6];
	unsigned last = 0;

	begin(&places[0], "");
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
		open_flow(&places[0], &flows[i]);
	for (; last < 2; last++) {
		for (unsigned i = 0; i < ARRAY_COUNT(flows); i++)
			pass_both(&flows[i]);
		fixture_make(&places[last + 1], &places[last], words_for(""));
		fixture_move(&places[last], &places[last + 1]);
		workers_join(places[last].workers);
		cr_expect_eq(workers_metric(places[last].workers, METRIC_sessions_open), 0);
		cr_expect_eq(workers_metric(places[last].workers, METRIC_sessions_closed), 0);
		cr_expect_eq(workers_metric(places[last + 1].workers, METRIC_sessions_opened), 6);
		fixture_end(&places[last]);
	}
	for (unsigned i = 0; i < ARRAY_COUNT(flows); i++) {
		pass_both(&flows[i]);
		end_flow(&flows[i]);
	}
	fixture_await(&places[last], METRIC_sessions_open, 0);
	cr_expect_eq(workers_metric(places[last].workers, METRIC_sessions_closed), 6);
	cr_expect_eq(workers_closed_count(places[last].workers, CLOSE_done), 6);
	cr_expect_eq(workers_metric(places[last].workers, METRIC_bytes_up),
		     ARRAY_COUNT(flows) * 3 * PIECE);
	fixture_end(&places[last]);
	close(backend_listener);
}
