/*
 * Theory of operation: who runs when. Each tick runs the ready sessions in two classes.
 *
 * - Small: sessions that are new, are closing, or move less than LANE_SMALL_BYTES at a time. All of
 *   them run first, once each, in the order in which they became ready. A session that turns out to
 *   have more to move goes on as bulk.
 * - Bulk: sessions with a bulk lane that can move bytes. Only the first of them runs, slice by
 *   slice. After each slice the engine is asked whether an event has arrived. If so the tick ends,
 *   so a small session waits for one slice of bulk at most.
 *
 * The first bulk session stays first, over several ticks, until it has nothing to move or its turn
 * of TURN_SLICES is over; then it goes behind the other bulk sessions. A long turn lets the socket
 * that is read fill up meanwhile, and the next splice moves more bytes: bytes per splice decide
 * what bulk costs (docs/performance.md).
 */
#include "relay/session.h"
#include "relay/session_parts.h"

/*
 * What a lane in bulk moves before its worker looks for events: the size of a pipe, about 100 us of
 * work. Scenarios: mixed and bulk-8-both (bench/).
 */
#define SLICE_BYTES 1048576

/* Slices that one bulk session runs before the next one does. Scenario: bulk-8-both (bench/). */
#define TURN_SLICES 16

/*
 * Slices in a tick at most, even without an event: a tick also fires timers. About 0.5 ms of work.
 * Scenario: bulk-8-both (bench/).
 */
#define TICK_SLICES 4

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

/* Whether one of the session's lanes has bulk to move now. */
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

/* Returns whether the session has more to move. */
static bool run_session(struct sessions *sessions, struct session *session, uint32_t lane_bytes)
{
	session->queued = false;
	if (session->state == SESSION_RELAYING)
		return session_relay(sessions, session, lane_bytes);
	session_continue_close(sessions, session);
	return false;
}

static void run_small(struct sessions *sessions)
{
	struct session *session = sessions->small.first;

	/* sessions that become ready from here on run in the next tick */
	session_queue_init(&sessions->small);
	while (session) {
		struct session *next = session->next;

		if (run_session(sessions, session, LANE_SMALL_BYTES))
			queue_last(&sessions->bulk, session);
		session = next;
	}
}

/* Runs one slice of the first bulk session. */
static void run_slice(struct sessions *sessions)
{
	struct session *session = take_first(&sessions->bulk);
	bool more = run_session(sessions, session, SLICE_BYTES);

	sessions->turn_slices++;
	if (more && sessions->turn_slices < TURN_SLICES) {
		queue_first(&sessions->bulk, session);
		return;
	}
	sessions->turn_slices = 0;
	if (more)
		queue_last(&sessions->bulk, session);
}

void sessions_run_ready(struct sessions *sessions)
{
	unsigned slices = 0;

	run_small(sessions);
	while (sessions->bulk.first && slices++ < TICK_SLICES) {
		run_slice(sessions);
		if (engine_has_events(sessions->engine))
			break;
	}
}

bool sessions_are_ready(const struct sessions *sessions)
{
	return sessions->small.first || sessions->bulk.first;
}
