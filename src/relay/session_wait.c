/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A lane that cannot move bytes waits for one thing: its read side, its write
 * side or an allowance. This file makes the requests of relaying sessions to the engine and takes
 * the answers. It reports an answer to the lane and makes the session ready. The lane moves bytes
 * when the session runs (session_ready.c).
 *
 * For its read side a lane uses a wait or a watch of the engine:
 *
 * - A wait is answered once. It also finds bytes that were there before.
 * - A watch is answered at every arrival, until it is cancelled. It costs no request per message.
 *   But it does not find bytes that a read has left behind, and it would wake a bulk lane for bytes
 *   that the lane cannot take yet.
 *
 * So a lane gets a watch when it becomes chatty (lane.h). It loses the watch when it becomes bulk,
 * waits for an allowance, or has been silent for QUIET_MS.
 *
 * In a half-closed session, the side that has ended is not read from any more. If the session stays
 * half-closed, a third request, the guard, waits for that side to fail.
 */
#include "relay/session_private.h"

#include <errno.h>
#include <poll.h>

#include "base/check.h"
#include "os/sock.h"

/*
 * How often the worker looks for chatty lanes that have fallen silent. A read stops in front of
 * urgent data, and a watch does not report the bytes behind. So a silent lane changes from the
 * watch to a wait, which finds them, after at most twice this time. Scenario: small-512 (bench/).
 */
#define QUIET_MS 50

static void unlist_chatty(struct session *session)
{
	if (!session->chatty_link)
		return;
	*session->chatty_link = session->chatty_next;
	if (session->chatty_next)
		session->chatty_next->chatty_link = session->chatty_link;
	session->chatty_link = NULL;
}

/* Cancels the lane's watch; harmless without a watch, or if it was cancelled before. */
static void drop_watch(struct sessions *sessions, struct session *session, unsigned lane)
{
	if (session->watched[lane])
		engine_cancel(sessions->engine, session->fd[lane],
			      session_token(session, SESSION_REQUEST_WATCH, lane));
}

void session_wait_writable(struct sessions *sessions, struct session *session, unsigned lane,
			   bool peer_ended)
{
	engine_wait_for(sessions->engine, session->fd[!lane], ENGINE_WRITABLE, peer_ended,
			session_token(session, SESSION_REQUEST_WAIT, lane));
	session->waits[lane] = SESSION_WAIT_WRITABLE;
	session->in_flight++;
	if (!lane_is_chatty(&session->lane[lane]))
		drop_watch(sessions, session, lane);
}

static void arm_quiet_timer(struct sessions *sessions)
{
	sessions->quiet_timer.kind = SESSION_QUIET_TIMER;
	timer_arm(sessions->wheel, &sessions->quiet_timer, QUIET_MS);
}

static void list_chatty(struct sessions *sessions, struct session *session)
{
	if (session->chatty_link)
		return;
	if (!sessions->chatty_first)
		arm_quiet_timer(sessions);
	session->chatty_link = &sessions->chatty_first;
	session->chatty_next = sessions->chatty_first;
	if (session->chatty_next)
		session->chatty_next->chatty_link = &session->chatty_next;
	sessions->chatty_first = session;
}

void session_wait_readable(struct sessions *sessions, struct session *session, unsigned lane)
{
	if (lane_is_chatty(&session->lane[lane])) {
		list_chatty(sessions, session);
		session->waits[lane] = SESSION_WAIT_ARRIVAL;
		if (session->watched[lane])
			return;
		engine_watch(sessions->engine, session->fd[lane],
			     session_token(session, SESSION_REQUEST_WATCH, lane));
		session->watched[lane] = true;
	} else {
		drop_watch(sessions, session, lane);
		engine_wait_for(sessions->engine, session->fd[lane], ENGINE_READABLE, false,
				session_token(session, SESSION_REQUEST_WAIT, lane));
		session->waits[lane] = SESSION_WAIT_READABLE;
	}
	session->in_flight++;
}

void session_wait_allowance(struct sessions *sessions, struct session *session, unsigned lane)
{
	/* a watch would wake the session for bytes that the lane may not take yet */
	lane_on_quiet(&session->lane[lane]);
	drop_watch(sessions, session, lane);
	session->waits[lane] = SESSION_WAIT_ALLOWANCE;
}

void session_wait_failed(struct sessions *sessions, struct session *session)
{
	unsigned side = session->guarded_side = session->lane[SESSION_BACKEND].state == LANE_SHUT;

	engine_wait_for(sessions->engine, session->fd[side], ENGINE_FAILED, true,
			session_token(session, SESSION_REQUEST_GUARD, side));
	session->guarding = true;
	session->in_flight++;
}

/* The guard's answer: the side that ended its stream has failed, or both sides have ended. */
static void on_guard(struct sessions *sessions, struct session *session, unsigned side)
{
	int error;

	CHECK(session->guarding);
	session->guarding = false;
	if (session->state != SESSION_RELAYING)
		return;
	error = sock_take_error(session->fd[side]);
	if (error)
		lane_on_read_failed(&session->lane[side], error);
	session_make_ready(sessions, session);
}

static void on_arrival(struct session *session, unsigned lane, int32_t answer)
{
	lane_on_arrival(&session->lane[lane], answer > 0 && answer & ENGINE_FOUND_END);
	/* the engine could not make the request; repeating the request would spin */
	if (answer < 0 && answer != -ECANCELED)
		lane_on_read_failed(&session->lane[lane], -answer);
}

static void on_writable(struct session *session, unsigned lane, int32_t answer)
{
	if (answer >= 0 || answer == -ECANCELED)
		lane_on_writable(&session->lane[lane]);
	else if (session->lane[lane].state != LANE_SHUT)
		lane_on_write_failed(&session->lane[lane], -answer);
}

/* The answer to a lane's wait. */
static void on_wait(struct sessions *sessions, struct session *session, unsigned lane,
		    int32_t answer)
{
	unsigned wait = session->waits[lane];

	CHECK(wait == SESSION_WAIT_READABLE || wait == SESSION_WAIT_WRITABLE);
	session->waits[lane] = SESSION_WAIT_NONE;
	if (session->state != SESSION_RELAYING)
		return;
	if (!answer && wait == SESSION_WAIT_WRITABLE) {
		/* the write side's peer has ended its stream; the other lane will read the end */
		session_wait_writable(sessions, session, lane, true);
		return;
	}
	if (wait == SESSION_WAIT_READABLE)
		on_arrival(session, lane, answer);
	else
		on_writable(session, lane, answer);
	session_make_ready(sessions, session);
}

/* An answer of the watch on a lane's read side. Without `more` the watch has ended. */
static void on_watch(struct sessions *sessions, struct session *session, unsigned lane,
		     const struct engine_event *event)
{
	CHECK(session->watched[lane]);
	session->watched[lane] = event->more;
	if (session->state != SESSION_RELAYING)
		return;
	if (event->result != -ECANCELED)
		on_arrival(session, lane, event->result);
	if (session->waits[lane] != SESSION_WAIT_ARRIVAL)
		return;
	session->waits[lane] = SESSION_WAIT_NONE;
	session_make_ready(sessions, session);
}

void session_on_answer(struct sessions *sessions, struct session *session,
		       const struct engine_event *event)
{
	unsigned number = engine_token_lane(event->token);

	CHECK(number < SESSION_REQUEST_END);
	switch (number & ~1U) {
	case SESSION_REQUEST_WAIT:
		on_wait(sessions, session, number & 1, event->result);
		break;
	case SESSION_REQUEST_WATCH:
		on_watch(sessions, session, number & 1, event);
		break;
	default:
		on_guard(sessions, session, number & 1);
	}
}

/*
 * Makes the lanes that have fallen silent wait without a watch. Each lane is looked at by itself:
 * the other lane may be busy while the watch of a silent lane has missed bytes.
 */
static void look_for_quiet(struct sessions *sessions, struct session *session)
{
	bool chatty = false;

	for (unsigned i = 0; i < 2; i++) {
		if (!session->watched[i])
			continue;
		if (lane_take_stirred(&session->lane[i])) {
			chatty = true;
			continue;
		}
		lane_on_quiet(&session->lane[i]);
		if (session->waits[i] == SESSION_WAIT_ARRIVAL)
			session_wait_readable(sessions, session, i);
		else
			drop_watch(sessions, session, i);
	}
	if (!chatty)
		unlist_chatty(session);
}

void sessions_on_quiet_timer(struct sessions *sessions)
{
	struct session *session = sessions->chatty_first;

	while (session) {
		struct session *next = session->chatty_next;

		look_for_quiet(sessions, session);
		session = next;
	}
	if (sessions->chatty_first)
		arm_quiet_timer(sessions);
}

bool session_stop_waiting_to_read(struct sessions *sessions, struct session *session, unsigned lane)
{
	if (session->waits[lane] == SESSION_WAIT_ARRIVAL)
		session->waits[lane] = SESSION_WAIT_NONE;
	else if (session->waits[lane] == SESSION_WAIT_READABLE)
		engine_cancel(sessions->engine, session->fd[lane],
			      session_token(session, SESSION_REQUEST_WAIT, lane));
	return session->waits[lane] == SESSION_WAIT_NONE;
}

/* Asks the socket whether the condition of the lane's wait holds, so that an event will come. */
static bool lane_awaits_event(const struct session *session, unsigned lane)
{
	switch (session->waits[lane]) {
	case SESSION_WAIT_READABLE:
	case SESSION_WAIT_ARRIVAL:
		return sock_is_ready(session->fd[lane], POLLIN | POLLRDHUP);
	case SESSION_WAIT_WRITABLE:
		return sock_is_ready(session->fd[!lane], POLLOUT);
	default:
		/* a lane that waits for an allowance has bytes to move, so it is not silent */
		return session->waits[lane] == SESSION_WAIT_ALLOWANCE;
	}
}

bool session_awaits_event(const struct session *session)
{
	if (session->connecting)
		return sock_is_ready(session->fd[SESSION_BACKEND], POLLOUT);
	return lane_awaits_event(session, SESSION_CLIENT) ||
	       lane_awaits_event(session, SESSION_BACKEND);
}

void session_cancel_waits(struct sessions *sessions, struct session *session)
{
	struct engine *engine = sessions->engine;

	unlist_chatty(session);
	for (unsigned i = 0; i < 2; i++) {
		unsigned wait = session->waits[i];

		if (wait == SESSION_WAIT_READABLE || wait == SESSION_WAIT_WRITABLE)
			engine_cancel(engine, session->fd[wait == SESSION_WAIT_WRITABLE ? !i : i],
				      session_token(session, SESSION_REQUEST_WAIT, i));
		drop_watch(sessions, session, i);
	}
	if (session->guarding)
		engine_cancel(engine, session->fd[session->guarded_side],
			      session_token(session, SESSION_REQUEST_GUARD, session->guarded_side));
	if (session->connecting)
		engine_cancel(engine, session->fd[SESSION_BACKEND], session_connect_token(session));
}
