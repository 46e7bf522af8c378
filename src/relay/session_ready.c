/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. An event only notes what the engine answered, and makes the session ready:
 * session_make_ready() puts it into one of two queues. This file runs the queues, once in each tick
 * (worker.c). A session does its work when it runs: it reads a PROXY header, takes the answer to a
 * connect, relays or closes. There are two classes of ready sessions:
 *
 * - Small: sessions that are new, are closing, or move less than LANE_SMALL_BYTES at a time. All of
 *   them run first in each tick, once each, in the order in which they became ready.
 * - Bulk: sessions with a bulk lane that can move bytes. They run after the small sessions, one
 *   slice each, and go to the end of the queue if they have more to move. After each slice the
 *   worker asks the engine for events. An event ends the tick. So a small session waits for at most
 *   one slice, and for the small sessions that became ready earlier.
 *
 * A session that has just become bulk goes to the head of the bulk queue. Most responses fit into
 * one slice, so they do not wait behind downloads.
 *
 * A session that becomes ready while the small sessions run waits for the next tick.
 */
#include "relay/session_private.h"

/*
 * The most bytes that each lane of a bulk session moves in a slice: the size of a pipe. A lane
 * needs about 100 us for this on loopback, and 600 us with MTU-sized segments. Scenarios: mixed and
 * bulk-8-both (bench/).
 */
#define SLICE_BYTES 1048576

/*
 * The most slices in a tick. Timers fire once in a tick, so a tick must end even without an event.
 * Scenario: bulk-8-both (bench/).
 */
#define TICK_SLICES 4

void session_queue_init(struct session_queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
}

static void queue_last(struct session_queue *queue, struct session *session)
{
	session->queued = true;
	session->next = NULL;
	*queue->last = session;
	queue->last = &session->next;
}

static void queue_first(struct session_queue *queue, struct session *session)
{
	session->queued = true;
	session->next = queue->first;
	if (!queue->first)
		queue->last = &session->next;
	queue->first = session;
}

static struct session *take_first(struct session_queue *queue)
{
	struct session *session = queue->first;

	queue->first = session->next;
	if (!queue->first)
		queue->last = &queue->first;
	return session;
}

/* Whether the session has a bulk lane that waits for nothing. */
static bool is_bulk(const struct session *session)
{
	if (session->state != SESSION_RELAYING)
		return false;
	for (unsigned i = 0; i < 2; i++)
		if (session->lane[i].bulk && session->waits[i] == SESSION_WAIT_NONE)
			return true;
	return false;
}

void session_make_ready(struct sessions *sessions, struct session *session)
{
	if (!session->queued)
		queue_last(is_bulk(session) ? &sessions->bulk : &sessions->small, session);
}

/*
 * Runs a session in any state, each lane up to `lane_bytes`. Returns whether the session has more
 * to move. False: the session waits, or has ended and must not be touched any more.
 */
static bool run_session(struct sessions *sessions, struct session *session, uint32_t lane_bytes)
{
	session->queued = false;
	switch (session->state) {
	case SESSION_OPENING:
		session_read_header(sessions, session);
		return false;
	case SESSION_CONNECTING:
		return session_finish_connect(sessions, session) &&
		       session_relay(sessions, session, lane_bytes);
	case SESSION_RELAYING:
		return session_relay(sessions, session, lane_bytes);
	default:
		session_continue_close(sessions, session);
		return false;
	}
}

static void run_small(struct sessions *sessions)
{
	struct session *session = sessions->small.first;

	/* sessions that become ready from here on run in the next tick */
	session_queue_init(&sessions->small);
	while (session) {
		struct session *next = session->next;

		if (run_session(sessions, session, LANE_SMALL_BYTES)) {
			if (is_bulk(session))
				queue_first(&sessions->bulk, session);
			else
				queue_last(&sessions->small, session);
		}
		session = next;
	}
}

/* Runs closing sessions at the head of the bulk queue, so that they use up no slice. */
static void skip_closing(struct sessions *sessions)
{
	while (sessions->bulk.first && sessions->bulk.first->state != SESSION_RELAYING)
		run_session(sessions, take_first(&sessions->bulk), 0);
}

static void run_slice(struct sessions *sessions)
{
	struct session *session = take_first(&sessions->bulk);

	if (run_session(sessions, session, SLICE_BYTES))
		session_make_ready(sessions, session);
}

void sessions_run_ready(struct sessions *sessions)
{
	unsigned slices = 0;

	run_small(sessions);
	skip_closing(sessions);
	while (sessions->bulk.first && slices++ < TICK_SLICES) {
		run_slice(sessions);
		skip_closing(sessions);
		if (engine_has_events(sessions->engine))
			break;
	}
}

bool sessions_are_ready(const struct sessions *sessions)
{
	return sessions->small.first || sessions->bulk.first;
}
