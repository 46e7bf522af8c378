/* SPDX-License-Identifier: MIT */
/* session_wait.c: what a relaying session waits for. On a fake engine. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "engine_fake.h"
#include "relay/session_private.h"
#include "support.h"

TestSuite(session_wait, .fini = support_check_leaks);

#define CLIENT_FD  1001 /* numbers for the fake engine, not open */
#define BACKEND_FD 1002

struct setup {
	struct sessions sessions;
	struct metrics metrics;
	struct timer_wheel wheel;
	struct fake_engine fake;
	struct session *session; /* relaying */
};

static const struct config no_forwards;

static void begin(struct setup *setup)
{
	memset(setup, 0, sizeof(*setup));
	timer_wheel_init(&setup->wheel, 0);
	fake_engine_init(&setup->fake);
	setup->sessions.wheel = &setup->wheel;
	setup->sessions.metrics = &setup->metrics;
	setup->sessions.engine = &setup->fake.engine;
	setup->sessions.config = &no_forwards;
	cr_assert_eq(sessions_init(&setup->sessions, 1), 0);
	setup->session = session_table_take(setup->sessions.table);
	setup->session->state = SESSION_RELAYING;
	setup->session->fd[SESSION_CLIENT] = CLIENT_FD;
	setup->session->fd[SESSION_BACKEND] = BACKEND_FD;
	for (unsigned i = 0; i < 2; i++)
		lane_init(&setup->session->lane[i], false);
}

/* Also checks that the session knows how many requests are in flight. */
static void finish(struct setup *setup)
{
	cr_expect_eq(setup->session->in_flight, setup->fake.count);
	setup->session->in_flight = 0;
	setup->session->queued = false;
	session_table_give(setup->sessions.table, setup->session);
	sessions_finish(&setup->sessions);
}

static const struct fake_request *find(const struct setup *setup, enum session_request request,
				       unsigned index)
{
	return fake_engine_find(&setup->fake, session_token(setup->session, request, index));
}

static void answer(struct setup *setup, enum session_request request, unsigned index,
		   int32_t result)
{
	uint64_t token = session_token(setup->session, request, index);
	struct engine_event event = fake_engine_answer(&setup->fake, token, result, false);

	sessions_on_event(&setup->sessions, &event);
}

/* Takes the session out of its queue, as if it had run. */
static void unqueue(struct setup *setup)
{
	setup->session->queued = false;
	session_queue_init(&setup->sessions.small);
	session_queue_init(&setup->sessions.bulk);
}

/* The watch of the client's lane tells of an arrival. */
static void arrive(struct setup *setup)
{
	uint64_t token = session_token(setup->session, SESSION_REQUEST_WATCH, SESSION_CLIENT);
	struct engine_event event =
		fake_engine_answer(&setup->fake, token, ENGINE_FOUND_CONDITION, true);

	sessions_on_event(&setup->sessions, &event);
}

/* Waits -------------------------------------------------------------------------------------- */

Test(session_wait, a_wait_is_for_the_socket_of_its_side)
{
	for (unsigned lane = 0; lane < 2; lane++) {
		const struct fake_request *request;
		struct setup setup;

		begin(&setup);
		session_wait_readable(&setup.sessions, setup.session, lane);
		request = find(&setup, SESSION_REQUEST_WAIT, lane);
		cr_assert_not_null(request);
		cr_expect_eq(request->fd, setup.session->fd[lane]);
		cr_expect_eq(request->condition, ENGINE_READABLE);
		answer(&setup, SESSION_REQUEST_WAIT, lane, ENGINE_FOUND_CONDITION);

		session_wait_writable(&setup.sessions, setup.session, lane, true);
		request = find(&setup, SESSION_REQUEST_WAIT, lane);
		cr_assert_not_null(request);
		cr_expect_eq(request->fd, setup.session->fd[!lane]);
		cr_expect_eq(request->condition, ENGINE_WRITABLE);
		cr_expect(request->peer_ended);
		finish(&setup);
	}
}

struct answer_row {
	bool writable; /* the lane waits for its write side, not for its read side */
	int32_t result;
	bool read_ready;
	int read_error;
	int write_error;
};

Test(session_wait, an_answer_is_reported_to_the_lane_and_makes_the_session_ready)
{
	static const struct answer_row rows[] = {
		{false, ENGINE_FOUND_CONDITION, true, 0, 0},
		{false, ENGINE_FOUND_CONDITION | ENGINE_FOUND_END, true, 0, 0},
		{false, -ECANCELED, true, 0, 0},
		{false, -ENOMEM, true, ENOMEM, 0},
		{true, ENGINE_FOUND_CONDITION, false, 0, 0},
		{true, -ECANCELED, false, 0, 0},
		{true, -ENOMEM, false, 0, ENOMEM},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct answer_row *row = &rows[i];
		struct setup setup;
		struct lane *lane;

		begin(&setup);
		lane = &setup.session->lane[SESSION_CLIENT];
		if (row->writable) {
			lane_on_write_full(lane);
			session_wait_writable(&setup.sessions, setup.session, SESSION_CLIENT,
					      false);
		} else {
			session_wait_readable(&setup.sessions, setup.session, SESSION_CLIENT);
		}
		cr_expect(!sessions_are_ready(&setup.sessions));
		answer(&setup, SESSION_REQUEST_WAIT, SESSION_CLIENT, row->result);
		cr_expect_eq(setup.session->waits[SESSION_CLIENT], SESSION_WAIT_NONE, "row %zu", i);
		cr_expect(setup.session->queued, "row %zu", i);
		cr_expect_eq(lane->read_ready, row->read_ready, "row %zu", i);
		cr_expect_eq(lane->read_ended, row->result > ENGINE_FOUND_CONDITION, "row %zu", i);
		cr_expect_eq(lane->read_error, row->read_error, "row %zu", i);
		cr_expect_eq(lane->write_error, row->write_error, "row %zu", i);
		cr_expect_neq(lane_next(lane), LANE_WAIT_WRITABLE, "row %zu", i);
		finish(&setup);
	}
}

/* The answer 0: the write side's peer has ended its stream, and the socket is not writable yet. */
Test(session_wait, a_wait_that_was_not_met_is_made_again)
{
	const struct fake_request *request;
	struct setup setup;

	begin(&setup);
	session_wait_writable(&setup.sessions, setup.session, SESSION_CLIENT, false);
	answer(&setup, SESSION_REQUEST_WAIT, SESSION_CLIENT, 0);
	request = find(&setup, SESSION_REQUEST_WAIT, SESSION_CLIENT);
	cr_assert_not_null(request);
	cr_expect(request->peer_ended);
	cr_expect(!setup.session->queued);
	finish(&setup);
}

Test(session_wait, answers_that_come_too_late_change_nothing)
{
	struct setup setup;

	begin(&setup);
	session_wait_readable(&setup.sessions, setup.session, SESSION_CLIENT);
	session_cancel_waits(&setup.sessions, setup.session);
	setup.session->state = SESSION_CLOSING;
	setup.session->queued = true; /* so that the answer does not end the session */
	answer(&setup, SESSION_REQUEST_WAIT, SESSION_CLIENT, ENGINE_FOUND_CONDITION);
	cr_expect(!setup.session->lane[SESSION_CLIENT].read_ready);
	finish(&setup);
}

/* Watches ------------------------------------------------------------------------------------ */

/* A session whose client's lane is chatty and waits for its watch. */
static void begin_chatty(struct setup *setup)
{
	begin(setup);
	setup->session->lane[SESSION_CLIENT].small_fills = LANE_CHATTY_FILLS;
	session_wait_readable(&setup->sessions, setup->session, SESSION_CLIENT);
}

Test(session_wait, a_chatty_lane_waits_by_its_watch)
{
	const struct fake_request *request;
	struct setup setup;

	begin_chatty(&setup);
	request = find(&setup, SESSION_REQUEST_WATCH, SESSION_CLIENT);
	cr_assert_not_null(request);
	cr_expect_eq(request->fd, CLIENT_FD);
	cr_expect_eq(setup.fake.count, 1);
	for (unsigned i = 0; i < 3; i++) {
		setup.session->lane[SESSION_CLIENT].read_ready = false;
		arrive(&setup);
		cr_expect(setup.session->queued);
		cr_expect(setup.session->lane[SESSION_CLIENT].read_ready);

		/* the next wait needs no request */
		unqueue(&setup);
		session_wait_readable(&setup.sessions, setup.session, SESSION_CLIENT);
		cr_expect_eq(setup.fake.count, 1);
	}
	finish(&setup);
}

Test(session_wait, a_watch_does_not_wake_a_lane_that_waits_for_its_write_side)
{
	struct setup setup;

	begin_chatty(&setup);
	arrive(&setup);
	unqueue(&setup);
	session_wait_writable(&setup.sessions, setup.session, SESSION_CLIENT, false);
	arrive(&setup);
	cr_expect(!setup.session->queued);
	cr_expect_eq(setup.session->waits[SESSION_CLIENT], SESSION_WAIT_WRITABLE);
	finish(&setup);
}

static void wait_to_read(struct setup *setup)
{
	lane_on_quiet(&setup->session->lane[SESSION_CLIENT]);
	session_wait_readable(&setup->sessions, setup->session, SESSION_CLIENT);
}

static void wait_to_write(struct setup *setup)
{
	lane_on_quiet(&setup->session->lane[SESSION_CLIENT]);
	session_wait_writable(&setup->sessions, setup->session, SESSION_CLIENT, false);
}

/* A chatty lane without an allowance would be woken for bytes that it may not take. */
static void wait_for_allowance(struct setup *setup)
{
	session_wait_allowance(&setup->sessions, setup->session, SESSION_CLIENT);
}

Test(session_wait, a_watch_is_dropped_when_the_lane_has_no_use_for_it)
{
	static void (*const waits[])(struct setup *) = {wait_to_read, wait_to_write,
							wait_for_allowance};

	for (size_t i = 0; i < ARRAY_COUNT(waits); i++) {
		const struct fake_request *watch;
		struct setup setup;
		uint8_t wait;

		begin_chatty(&setup);
		arrive(&setup);
		unqueue(&setup);
		waits[i](&setup);
		watch = find(&setup, SESSION_REQUEST_WATCH, SESSION_CLIENT);
		cr_assert_not_null(watch);
		cr_expect(watch->cancelled, "wait %zu", i);
		cr_expect(!lane_is_chatty(&setup.session->lane[SESSION_CLIENT]), "wait %zu", i);

		/* the watch's last event does not end the lane's wait */
		wait = setup.session->waits[SESSION_CLIENT];
		answer(&setup, SESSION_REQUEST_WATCH, SESSION_CLIENT, -ECANCELED);
		cr_expect(!setup.session->watched[SESSION_CLIENT]);
		cr_expect_eq(setup.session->waits[SESSION_CLIENT], wait, "wait %zu", i);
		cr_expect(!setup.session->queued, "wait %zu", i);
		finish(&setup);
	}
}

Test(session_wait, a_silent_lane_gets_a_wait_instead_of_its_watch)
{
	struct setup setup;

	begin_chatty(&setup);
	setup.session->lane[SESSION_BACKEND].small_fills = LANE_CHATTY_FILLS;
	session_wait_readable(&setup.sessions, setup.session, SESSION_BACKEND);
	cr_expect(timer_is_armed(&setup.sessions.quiet_timer));

	/* the backend's lane has had bytes since the last look */
	setup.session->lane[SESSION_BACKEND].stirred = true;
	sessions_on_quiet_timer(&setup.sessions);
	cr_expect_eq(setup.session->waits[SESSION_CLIENT], SESSION_WAIT_READABLE);
	cr_expect_not_null(find(&setup, SESSION_REQUEST_WAIT, SESSION_CLIENT));
	cr_expect(find(&setup, SESSION_REQUEST_WATCH, SESSION_CLIENT)->cancelled);
	cr_expect_eq(setup.session->waits[SESSION_BACKEND], SESSION_WAIT_ARRIVAL);
	cr_expect_eq(setup.sessions.chatty_first, setup.session);

	answer(&setup, SESSION_REQUEST_WATCH, SESSION_CLIENT, -ECANCELED);
	sessions_on_quiet_timer(&setup.sessions);
	cr_expect_eq(setup.session->waits[SESSION_BACKEND], SESSION_WAIT_READABLE);
	cr_expect_null(setup.sessions.chatty_first);
	finish(&setup);
}

/* Ends of waits -------------------------------------------------------------------------------- */

Test(session_wait, a_wait_to_read_can_be_stopped)
{
	struct setup setup;

	begin(&setup);
	cr_expect(session_stop_waiting_to_read(&setup.sessions, setup.session, SESSION_CLIENT));
	session_wait_readable(&setup.sessions, setup.session, SESSION_CLIENT);
	cr_expect(!session_stop_waiting_to_read(&setup.sessions, setup.session, SESSION_CLIENT));
	cr_expect(find(&setup, SESSION_REQUEST_WAIT, SESSION_CLIENT)->cancelled);
	answer(&setup, SESSION_REQUEST_WAIT, SESSION_CLIENT, -ECANCELED);
	cr_expect(setup.session->queued);
	finish(&setup);

	/* no request ends with a wait for the watch */
	begin_chatty(&setup);
	cr_expect(session_stop_waiting_to_read(&setup.sessions, setup.session, SESSION_CLIENT));
	cr_expect(!find(&setup, SESSION_REQUEST_WATCH, SESSION_CLIENT)->cancelled);
	finish(&setup);
}

Test(session_wait, all_requests_are_cancelled_at_the_end)
{
	struct setup setup;

	begin_chatty(&setup);
	session_wait_writable(&setup.sessions, setup.session, SESSION_CLIENT, false);
	session_wait_readable(&setup.sessions, setup.session, SESSION_BACKEND);
	session_wait_failed(&setup.sessions, setup.session);
	cr_expect_eq(setup.fake.count, 4);
	session_cancel_waits(&setup.sessions, setup.session);
	for (unsigned i = 0; i < setup.fake.count; i++)
		cr_expect(setup.fake.requests[i].cancelled, "request %u", i);
	cr_expect_null(setup.sessions.chatty_first);
	finish(&setup);
}

/* The guard ------------------------------------------------------------------------------------ */

Test(session_wait, the_guard_learns_how_the_ended_side_failed)
{
	for (unsigned side = 0; side < 2; side++) {
		const struct fake_request *request;
		struct support_tcp tcp;
		struct setup setup;

		begin(&setup);
		support_tcp_open(&tcp, 0, 0);
		setup.session->fd[side] = tcp.ours;
		setup.session->lane[side].state = LANE_SHUT;
		session_wait_failed(&setup.sessions, setup.session);
		request = find(&setup, SESSION_REQUEST_GUARD, side);
		cr_assert_not_null(request);
		cr_expect_eq(request->fd, tcp.ours);
		cr_expect_eq(request->condition, ENGINE_FAILED);

		support_reset(tcp.peer);
		tcp.peer = -1;
		support_poll(tcp.ours, POLLERR);
		answer(&setup, SESSION_REQUEST_GUARD, side, ENGINE_FOUND_CONDITION);
		cr_expect_eq(setup.session->lane[side].read_error, ECONNRESET);
		cr_expect(setup.session->queued);
		cr_expect(!setup.session->guarding);
		support_tcp_close(&tcp);
		finish(&setup);
	}
}

/* Time limits ---------------------------------------------------------------------------------- */

struct awaits_row {
	enum session_wait wait; /* of the client's lane */
	bool arrived;		/* bytes from the client */
	bool awaits;
};

Test(session_wait, tells_whether_an_event_is_on_the_way)
{
	static const struct awaits_row rows[] = {
		{SESSION_WAIT_NONE, true, false},      {SESSION_WAIT_READABLE, false, false},
		{SESSION_WAIT_READABLE, true, true},   {SESSION_WAIT_ARRIVAL, false, false},
		{SESSION_WAIT_ARRIVAL, true, true},    {SESSION_WAIT_WRITABLE, false, true},
		{SESSION_WAIT_ALLOWANCE, false, true},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		int client[2], backend[2];
		struct setup setup;

		begin(&setup);
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, client), 0);
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, backend), 0);
		setup.session->fd[SESSION_CLIENT] = client[0];
		setup.session->fd[SESSION_BACKEND] = backend[0];
		setup.session->waits[SESSION_CLIENT] = (uint8_t)rows[i].wait;
		if (rows[i].arrived)
			support_send(client[1], "x", 1);
		cr_expect_eq(session_awaits_event(setup.session), rows[i].awaits, "row %zu", i);
		for (unsigned end = 0; end < 2; end++) {
			close(client[end]);
			close(backend[end]);
		}
		finish(&setup);
	}
}
