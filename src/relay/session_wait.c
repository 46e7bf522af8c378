/*
 * Theory of operation. A wait is answered once, and finds out by itself what is there already. A
 * watch speaks at every arrival: it makes the waits of a chatty lane free, and would wake a bulk
 * lane for bytes that it has no use for yet. So a lane gets a watch when it turns chatty, and loses
 * it when it turns to bulk or falls silent.
 */
#include "relay/session_parts.h"

#include <errno.h>
#include <poll.h>

#include "base/check.h"
#include "os/sock.h"

/*
 * How often chatty lanes are looked at, whether they have fallen silent. A read stops short of
 * urgent data, and then a watch does not tell of what is behind it: a lane that falls silent waits
 * anew, which does. Meanwhile such bytes wait for up to twice this. Scenario: small-512 (bench/).
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

/* Harmless where there is no watch, or it is being cancelled already. */
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
	/* a watch would wake us for what arrives meanwhile */
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

/* The side that ended its stream first has failed since, or both sides have ended now. */
static void session_on_guard(struct sessions *sessions, struct session *session, unsigned side)
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

static void on_arrival(struct session *session, unsigned lane, int32_t news)
{
	lane_on_arrival(&session->lane[lane], news > 0 && news & ENGINE_NEWS_ENDED);
	/* the engine has no room for the request: to ask again at once would be to spin */
	if (news < 0 && news != -ECANCELED)
		lane_on_read_failed(&session->lane[lane], -news);
}

static void on_room(struct session *session, unsigned lane, int32_t news)
{
	if (news >= 0 || news == -ECANCELED)
		lane_on_writable(&session->lane[lane]);
	else if (session->lane[lane].state != LANE_SHUT)
		lane_on_write_failed(&session->lane[lane], -news);
}

/* What a lane waited for, once, is there. */
static void session_on_wait(struct sessions *sessions, struct session *session, unsigned lane,
			    int32_t news)
{
	unsigned wait = session->waits[lane];

	CHECK(wait == SESSION_WAIT_READABLE || wait == SESSION_WAIT_WRITABLE);
	session->waits[lane] = SESSION_WAIT_NONE;
	if (session->state != SESSION_RELAYING)
		return;
	if (!news && wait == SESSION_WAIT_WRITABLE) {
		/* the target's peer has ended its stream, which the other lane has yet to find out */
		session_wait_writable(sessions, session, lane, true);
		return;
	}
	if (wait == SESSION_WAIT_READABLE)
		on_arrival(session, lane, news);
	else
		on_room(session, lane, news);
	session_make_ready(sessions, session);
}

/* The watch on a lane's source tells of something, or has come to its end. */
static void session_on_watch(struct sessions *sessions, struct session *session, unsigned lane,
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
		session_on_wait(sessions, session, number & 1, event->result);
		break;
	case SESSION_REQUEST_WATCH:
		session_on_watch(sessions, session, number & 1, event);
		break;
	default:
		session_on_guard(sessions, session, number & 1);
	}
}

/*
 * Lets the lanes that have fallen silent wait anew, without a watch. Each lane by itself: what one
 * has to say must not wait until the other is silent too.
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

/* Whether what the lane waits for is there. */
static bool lane_awaits_event(const struct session *session, unsigned lane)
{
	switch (session->waits[lane]) {
	case SESSION_WAIT_READABLE:
	case SESSION_WAIT_ARRIVAL:
		return sock_is_ready(session->fd[lane], POLLIN | POLLRDHUP);
	case SESSION_WAIT_WRITABLE:
		return sock_is_ready(session->fd[!lane], POLLOUT);
	default:
		/* there are bytes to move, and a timer that says when */
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

/* Each request in flight has a last event to come; the session is freed after all of them. */
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
