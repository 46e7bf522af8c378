/* session.c: how all sessions of a worker end. Sessions without an engine. */
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

struct desk {
	struct config config;
	struct timer_wheel wheel;
	struct load load;
	struct metrics metrics;
	struct sessions sessions;
};

static struct desk *begin(void)
{
	static char words[][16] = {"sixpipe", "[::1]:2000", "192.0.2.80:80"};
	char *argv[] = {words[0], words[1], words[2]};
	struct desk *desk = aligned_alloc(CACHE_LINE_BYTES, sizeof(*desk));
	struct command_line line = {0};
	struct fault fault = {0};

	cr_assert_not_null(desk);
	memset(desk, 0, sizeof(*desk));
	config_init(&desk->config);
	line.config = &desk->config;
	cr_assert_eq(support_parse(&line, ARRAY_COUNT(argv), argv, &fault), 0, "%s",
		     support_text(&fault));
	timer_wheel_init(&desk->wheel, 0);
	cr_assert_eq(load_init(&desk->load, SLOTS, UINT32_MAX, 1), 0);
	desk->sessions.config = &desk->config;
	desk->sessions.wheel = &desk->wheel;
	desk->sessions.load = &desk->load;
	desk->sessions.metrics = desk->sessions.pump.metrics = &desk->metrics;
	cr_assert_eq(sessions_init(&desk->sessions, SLOTS), 0);
	desk->sessions.forwards = fixture_forwards(&desk->config, SLOTS);
	return desk;
}

static void finish(struct desk *desk)
{
	cr_expect_eq(load_room(&desk->load), SLOTS);
	sessions_finish(&desk->sessions);
	forwards_destroy(desk->sessions.forwards);
	load_finish(&desk->load);
	config_finish(&desk->config);
	free(desk);
}

/* A relaying session; every second one awaits an answer of the engine, and so does not end at once. */
static void open_sessions(struct desk *desk, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct session *session = session_table_take(desk->sessions.table);

		cr_assert_not_null(session);
		cr_assert_eq(load_admit(&desk->load, 0), 0);
		cr_assert(tenancy_begin(&session->tenancy, desk->sessions.forwards->list));
		session->state = SESSION_RELAYING;
		session->in_flight = i % 2;
	}
}

/* The last answers come. */
static void answer_all(struct desk *desk)
{
	for (uint32_t slot = 0; slot < session_table_end(desk->sessions.table); slot++) {
		struct session *session = session_table_at(desk->sessions.table, slot);

		if (!session)
			continue;
		session->in_flight = 0;
		session_continue_close(&desk->sessions, session);
	}
}

static uint32_t count_closing(const struct desk *desk, enum close_reason reason)
{
	uint32_t count = 0;

	for (uint32_t slot = 0; slot < session_table_end(desk->sessions.table); slot++) {
		const struct session *session = session_table_at(desk->sessions.table, slot);

		count += session && session->state == SESSION_CLOSING && session->reason == reason;
	}
	return count;
}

static uint64_t count_ended(const struct desk *desk)
{
	return metrics_get(&desk->metrics, METRIC_sessions_closed) +
	       count_closing(desk, CLOSE_drain_timeout);
}

Test(session, all_end_a_piece_at_a_time_and_each_once)
{
	struct desk *desk = begin();
	unsigned pieces = 0;

	open_sessions(desk, SLOTS);
	cr_expect(!sessions_are_ending(&desk->sessions));
	cr_expect(!sessions_end_some(&desk->sessions), "nothing ends before it is to");
	cr_expect_eq(count_ended(desk), 0);
	sessions_begin_end(&desk->sessions, CLOSE_drain_timeout);
	while (sessions_are_ending(&desk->sessions)) {
		sessions_end_some(&desk->sessions);
		pieces++;
		cr_expect_eq(count_ended(desk), MIN(pieces * SESSION_END_SLOTS, SLOTS));
	}
	cr_expect_eq(pieces, (SLOTS + SESSION_END_SLOTS - 1) / SESSION_END_SLOTS);

	/* those that await an answer are not looked at again */
	for (uint32_t slot = 1; slot < SLOTS; slot += 2)
		session_table_at(desk->sessions.table, slot)->reason = CLOSE_done;
	cr_expect(!sessions_end_some(&desk->sessions));
	cr_expect_eq(count_closing(desk, CLOSE_done), SLOTS / 2);
	answer_all(desk);
	finish(desk);
}

Test(session, a_later_end_is_for_what_is_left)
{
	struct desk *desk = begin();

	open_sessions(desk, 4);
	sessions_begin_end(&desk->sessions, CLOSE_drain_timeout);
	cr_expect(!sessions_end_some(&desk->sessions));
	sessions_begin_end(&desk->sessions, CLOSE_stopped);
	cr_expect(sessions_are_ending(&desk->sessions));
	cr_expect(!sessions_end_some(&desk->sessions));
	cr_expect_eq(count_closing(desk, CLOSE_stopped), 2);
	answer_all(desk);
	cr_expect_eq(metrics_get_closed(&desk->metrics, CLOSE_drain_timeout), 2);
	cr_expect_eq(metrics_get_closed(&desk->metrics, CLOSE_stopped), 2);
	finish(desk);
}

/* Wherever its slot is: one on its way from another worker comes late. */
Test(session, what_is_opened_during_the_end_is_over_at_once)
{
	struct desk *desk = begin();
	struct engine *engine;
	int fds[2];

	cr_assert_eq(engine_create(ENGINE_EPOLL, &engine), 0);
	desk->sessions.engine = engine;
	sessions_begin_end(&desk->sessions, CLOSE_drain_timeout);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
		cr_assert_eq(load_admit(&desk->load, 0), 0);
		session_open(&desk->sessions, desk->sessions.forwards->list, fds[0]);
		cr_expect_eq(session_table_used_count(desk->sessions.table), 0);
		close(fds[1]);
	}
	cr_expect_eq(metrics_get_closed(&desk->metrics, CLOSE_drain_timeout), 2);
	engine_destroy(engine);
	finish(desk);
}
