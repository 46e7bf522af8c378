/* SPDX-License-Identifier: MIT */
/* session.c: how all sessions of a worker end. There is no engine. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "config/config_parse.h"
#include "forward_fixture.h"
#include "relay/session_private.h"
#include "support.h"

TestSuite(session, .fini = support_check_leaks);

#define SLOTS 1000

struct setup {
	struct config config;
	struct timer_wheel wheel;
	struct load load;
	struct metrics metrics;
	struct sessions sessions;
};

static struct setup *begin(void)
{
	static char words[][16] = {"sixpipe", "[::1]:2000", "192.0.2.80:80"};
	char *argv[] = {words[0], words[1], words[2]};
	struct setup *setup = aligned_alloc(CACHE_LINE_BYTES, sizeof(*setup));
	struct command_line line = {0};
	struct fault fault = {0};

	cr_assert_not_null(setup);
	memset(setup, 0, sizeof(*setup));
	config_init(&setup->config);
	line.config = &setup->config;
	cr_assert_eq(support_parse(&line, ARRAY_COUNT(argv), argv, &fault), 0, "%s",
		     support_text(&fault));
	timer_wheel_init(&setup->wheel, 0);
	cr_assert_eq(load_init(&setup->load, SLOTS, UINT32_MAX, 1), 0);
	setup->sessions.config = &setup->config;
	setup->sessions.wheel = &setup->wheel;
	setup->sessions.load = &setup->load;
	setup->sessions.metrics = setup->sessions.pump.metrics = &setup->metrics;
	cr_assert_eq(sessions_init(&setup->sessions, SLOTS), 0);
	setup->sessions.forwards = fixture_forwards(&setup->config, SLOTS);
	return setup;
}

static void finish(struct setup *setup)
{
	cr_expect_eq(load_room(&setup->load), SLOTS);
	sessions_finish(&setup->sessions);
	forwards_destroy(setup->sessions.forwards);
	load_finish(&setup->load);
	config_finish(&setup->config);
	free(setup);
}

/* Opens relaying sessions; every second has a request in flight, and so does not end at once. */
static void open_sessions(struct setup *setup, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct session *session = session_table_take(setup->sessions.table);

		cr_assert_not_null(session);
		cr_assert_eq(load_admit(&setup->load, 0), 0);
		cr_assert(tenancy_begin(&session->tenancy, setup->sessions.forwards->list));
		session->state = SESSION_RELAYING;
		session->in_flight = i % 2;
	}
}

/* Takes the last answers. */
static void answer_all(struct setup *setup)
{
	for (uint32_t slot = 0; slot < session_table_end(setup->sessions.table); slot++) {
		struct session *session = session_table_at(setup->sessions.table, slot);

		if (!session)
			continue;
		session->in_flight = 0;
		session_continue_close(&setup->sessions, session);
	}
}

static uint32_t count_closing(const struct setup *setup, enum close_reason reason)
{
	uint32_t count = 0;

	for (uint32_t slot = 0; slot < session_table_end(setup->sessions.table); slot++) {
		const struct session *session = session_table_at(setup->sessions.table, slot);

		count += session && session->state == SESSION_CLOSING && session->reason == reason;
	}
	return count;
}

static uint64_t count_ended(const struct setup *setup)
{
	return metrics_get(&setup->metrics, METRIC_sessions_closed) +
	       count_closing(setup, CLOSE_drain_timeout);
}

Test(session, all_end_a_piece_at_a_time_and_each_once)
{
	struct setup *setup = begin();
	unsigned pieces = 0;

	open_sessions(setup, SLOTS);
	cr_expect(!sessions_are_ending(&setup->sessions));
	cr_expect(!sessions_end_some(&setup->sessions), "nothing ends before it is to");
	cr_expect_eq(count_ended(setup), 0);
	sessions_begin_end(&setup->sessions, CLOSE_drain_timeout);
	while (sessions_are_ending(&setup->sessions)) {
		sessions_end_some(&setup->sessions);
		pieces++;
		cr_expect_eq(count_ended(setup), MIN(pieces * SESSION_END_SLOTS, SLOTS));
	}
	cr_expect_eq(pieces, (SLOTS + SESSION_END_SLOTS - 1) / SESSION_END_SLOTS);

	/* sessions with a request in flight are not ended a second time */
	for (uint32_t slot = 1; slot < SLOTS; slot += 2)
		session_table_at(setup->sessions.table, slot)->reason = CLOSE_done;
	cr_expect(!sessions_end_some(&setup->sessions));
	cr_expect_eq(count_closing(setup, CLOSE_done), SLOTS / 2);
	answer_all(setup);
	finish(setup);
}

Test(session, a_later_end_is_for_what_is_left)
{
	struct setup *setup = begin();

	open_sessions(setup, 4);
	sessions_begin_end(&setup->sessions, CLOSE_drain_timeout);
	cr_expect(!sessions_end_some(&setup->sessions));
	sessions_begin_end(&setup->sessions, CLOSE_stopped);
	cr_expect(sessions_are_ending(&setup->sessions));
	cr_expect(!sessions_end_some(&setup->sessions));
	cr_expect_eq(count_closing(setup, CLOSE_stopped), 2);
	answer_all(setup);
	cr_expect_eq(metrics_get_closed(&setup->metrics, CLOSE_drain_timeout), 2);
	cr_expect_eq(metrics_get_closed(&setup->metrics, CLOSE_stopped), 2);
	finish(setup);
}

/* Whatever its slot is: a session from another worker may be opened late. */
Test(session, what_is_opened_during_the_end_is_over_at_once)
{
	struct setup *setup = begin();
	struct engine *engine;
	int fds[2];

	cr_assert_eq(engine_create(ENGINE_EPOLL, &engine), 0);
	setup->sessions.engine = engine;
	sessions_begin_end(&setup->sessions, CLOSE_drain_timeout);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
		cr_assert_eq(load_admit(&setup->load, 0), 0);
		session_open(&setup->sessions, setup->sessions.forwards->list, fds[0]);
		cr_expect_eq(session_table_used_count(setup->sessions.table), 0);
		close(fds[1]);
	}
	cr_expect_eq(metrics_get_closed(&setup->metrics, CLOSE_drain_timeout), 2);
	engine_destroy(engine);
	finish(setup);
}
