/*
 * Theory of operation. Each lane waits for one thing at a time, its source or its target: a bulk
 * lane for one event at a time, so that what it cannot use yet does not wake it; a chatty one has a
 * watch on its source, so that a wait costs nothing. An event makes the session ready. When it
 * runs (session_ready.c), each lane moves a limited number of bytes; a lane that stops is armed for
 * what it waits for.
 */
#include "relay/session.h"

#include <errno.h>

#include "base/check.h"
#include "os/sock.h"
#include "relay/session_parts.h"

/*
 * The side that has ended its stream is not read from any more, so its RST would go unnoticed until
 * something is written to it. Sessions that stay half-closed longer than this guard it; the others,
 * which are most, do not pay for it. Scenario: crc-64 (bench/).
 */
#define GUARD_DELAY_MS 100

/* Relaying ------------------------------------------------------------------------------------- */

static bool is_half_closed(const struct session *session)
{
	return (session->lane[SESSION_CLIENT].state == LANE_SHUT) !=
	       (session->lane[SESSION_BACKEND].state == LANE_SHUT);
}

static enum close_reason reason_of_lane(const struct session *session, unsigned source)
{
	return close_reason_of_error(source, session->lane[source].read_error);
}

static void shut_target(struct session *session, unsigned lane)
{
	const struct lane *other = &session->lane[!lane];
	int error = 0;

	/* when both streams have ended, closing the socket says the same */
	if (other->state != LANE_SHUT || other->write_error)
		error = sock_shut_write(session->fd[!lane]);
	else
		error = sock_take_error(session->fd[!lane]);

	if (!error) {
		lane_on_shut(&session->lane[lane]);
		return;
	}
	/* ENOTCONN says that the socket is dead; what it died of may still wait on it */
	error = sock_take_error(session->fd[!lane]);
	lane_on_write_failed(&session->lane[lane], error ? error : ENOTCONN);
}

/* Whether a lane at this step goes on to take bytes, and so keeps the credit that it has. */
static bool wants_allowance(enum lane_step step)
{
	return step == LANE_MEASURE || step == LANE_FILL || step == LANE_FLUSH ||
	       step == LANE_WAIT_ALLOWANCE;
}

/*
 * A backend's socket gets TCP_NODELAY only when more than one message was passed to it. Nothing is
 * in flight before the first message, so TCP sends that at once in any case, and sessions with one
 * short message save the call. `moved_before_bytes` is what the lane had moved before it ran now.
 * Scenario: crc-64 (bench/).
 */
static void end_delay(struct session *session, uint64_t moved_before_bytes)
{
	const struct lane *lane = &session->lane[SESSION_CLIENT];

	if (session->sends_at_once || lane->moved_bytes == moved_before_bytes)
		return;
	/* a first run that moves no more than the first fill takes is one message */
	if (!moved_before_bytes && lane->moved_bytes < LANE_ROOM_FLOOR_BYTES)
		return;
	session_send_at_once(session);
}

void session_send_at_once(struct session *session)
{
	sock_send_at_once(session->fd[SESSION_BACKEND]);
	session->sends_at_once = true;
}

/* Runs one lane until it waits, and arms what it waits for. Returns whether it has more to move. */
static bool run_lane(struct sessions *sessions, struct session *session, unsigned i,
		     uint32_t budget_bytes)
{
	const struct pump_flow flow = session_flow(session, i);
	struct lane *lane = flow.lane;
	uint64_t moved_before_bytes = lane->moved_bytes;

	if (session->waits[i])
		return false;
	do {
		if (pump_run(&sessions->pump, &flow, &budget_bytes))
			session->active_ms = sessions->now_ms;
	} while (lane_next(lane) == LANE_WAIT_ALLOWANCE && budget_bytes &&
		 session_pace_take(sessions, session, i, budget_bytes));
	if (i == SESSION_CLIENT)
		end_delay(session, moved_before_bytes);
	if (lane->paced && !wants_allowance(lane_next(lane)))
		session_pace_leave(sessions, session, i);
	switch (lane_next(lane)) {
	case LANE_WAIT_ALLOWANCE:
		return !session->waits[i];
	case LANE_WAIT_READABLE:
		session_wait_readable(sessions, session, i);
		return false;
	case LANE_WAIT_WRITABLE:
		session_wait_writable(sessions, session, i, session->lane[!i].state != LANE_OPEN);
		return false;
	case LANE_SHUT_WRITE_SIDE:
		shut_target(session, i);
		return false;
	case LANE_RESET_WRITE_SIDE:
	case LANE_REST:
		return false;
	default:
		metrics_add(sessions->metrics, METRIC_slices_cut, 1);
		return true;
	}
}

/*
 * What lane i found out about its target is news about lane !i's source. Returns whether that lane
 * has something to do about it now. Its socket may know of nothing, so it is not left waiting for
 * that; what it waits for at its own target it still needs.
 */
static bool tell_other_lane(struct sessions *sessions, struct session *session, unsigned i)
{
	struct lane *lane = &session->lane[i];
	struct lane *other = &session->lane[!i];

	if (!lane->write_error || other->read_error)
		return false;
	lane_on_read_failed(other, lane->write_error);
	return session_stop_waiting_to_read(sessions, session, !i);
}

bool session_relay(struct sessions *sessions, struct session *session, uint32_t lane_bytes)
{
	bool was_half_closed = is_half_closed(session);
	bool again = false;

	/*
	 * told at once: what the first lane found failed must not look like a clean end to the
	 * second
	 */
	for (unsigned i = 0; i < 2; i++) {
		again |= run_lane(sessions, session, i, lane_bytes);
		again |= tell_other_lane(sessions, session, i);
	}

	for (unsigned i = 0; i < 2; i++) {
		const struct lane *lane = &session->lane[i];
		bool over = lane->state == LANE_SHUT && lane->read_error;

		/* a source that failed after its end was passed on has nothing left to deliver */
		if (over || lane_next(lane) == LANE_RESET_WRITE_SIDE) {
			if (i == SESSION_BACKEND && session_move_on(sessions, session))
				return false;
			session_close(sessions, session, reason_of_lane(session, i));
			return false;
		}
	}
	if (session->lane[SESSION_CLIENT].state == LANE_SHUT &&
	    session->lane[SESSION_BACKEND].state == LANE_SHUT) {
		session_close(sessions, session, CLOSE_done);
		return false;
	}
	if (is_half_closed(session) && !was_half_closed)
		session_change_limits(sessions, session, GUARD_DELAY_MS);
	return again;
}

/* Opening -------------------------------------------------------------------------------------- */

void session_open(struct sessions *sessions, struct forward *forward, int client_fd)
{
	struct session *session = session_table_take(sessions->table);

	CHECK(session);
	session->state = SESSION_OPENING;
	tenancy_resume(&session->tenancy, forward);
	session->fd[SESSION_CLIENT] = client_fd;
	session->id = ++sessions->opened_count;
	session->opened_ms = sessions->now_ms;
	session->active_ms = sessions->now_ms;
	if (addr_is_local(&forward->listen))
		sock_keep_urgent(client_fd);
	if (forward->config->wants_client)
		sock_get_peer(client_fd, &session->client);
	metrics_add(sessions->metrics, METRIC_sessions_opened, 1);
	metrics_add(sessions->metrics, METRIC_sessions_open, 1);
	if (sessions->ending)
		session_close(sessions, session, (enum close_reason)sessions->end_reason);
	/* one that is gone by now has left no address, nor anybody to answer to */
	else if (forward->config->needs_client && !session->client.length_bytes)
		session_close(sessions, session, CLOSE_client_reset);
	else if (session_options(session)->accept_proxy)
		session_await_header(sessions, session);
	else
		session_connect(sessions, session);
}

/* Events --------------------------------------------------------------------------------------- */

void sessions_on_event(struct sessions *sessions, const struct engine_event *event)
{
	struct session *session =
		session_table_find(sessions->table, engine_token_slot(event->token),
				   engine_token_generation(event->token));

	if (!session) {
		metrics_add(sessions->metrics, METRIC_stale_events, 1);
		return;
	}
	CHECK(session->in_flight > 0);
	session->in_flight -= !event->more;
	if (engine_token_op(event->token) == ENGINE_OP_CONNECT)
		session->connecting = false;
	if (engine_token_op(event->token) == ENGINE_OP_READY && session->state != SESSION_OPENING) {
		session_on_answer(sessions, session, event);
	} else if (session->state == SESSION_OPENING || session->state == SESSION_CONNECTING) {
		session->answer = event->result;
		if (session->state == SESSION_OPENING)
			session->waits[SESSION_CLIENT] = SESSION_WAIT_NONE;
		session_make_ready(sessions, session);
	}
	if (session->state == SESSION_CLOSING && !session->queued)
		session_continue_close(sessions, session);
}

void sessions_on_timer(struct sessions *sessions, struct timer *timer)
{
	struct session *session = CONTAINER_OF(timer, struct session, timer);
	enum close_reason reason;

	if (timer->kind == SESSION_QUIET_TIMER) {
		sessions_on_quiet_timer(sessions);
		return;
	}
	if (timer->kind == SESSION_PACE_TIMER) {
		session_pace_on_timer(sessions, timer);
		return;
	}
	if (session->state != SESSION_CLOSING && session_is_too_old(sessions, session)) {
		if (session->state == SESSION_CONNECTING)
			session_blame_silence(sessions, session);
		session_close(sessions, session, CLOSE_session_timeout);
		return;
	}
	switch (session->state) {
	case SESSION_OPENING:
		session_on_header_timer(sessions, session);
		break;
	case SESSION_CONNECTING:
		session_expire_connect(sessions, session);
		break;
	case SESSION_RELAYING:
		if (!session->kept_alive) {
			upstream_keep_alive(session->tenancy.forward->upstream,
					    session->fd[SESSION_BACKEND]);
			session->kept_alive = true;
		}
		if (is_half_closed(session) && !session->guarding)
			session_wait_failed(sessions, session);
		/* it has something to move, so it is not silent */
		if (session->queued)
			session->active_ms = sessions->now_ms;
		if (!session_keeps_limits(sessions, session, &reason))
			session_close(sessions, session, reason);
		break;
	default:
		session_continue_close(sessions, session);
		break;
	}
}

void session_end(struct sessions *sessions, struct session *session, enum close_reason reason)
{
	if (session->state != SESSION_CLOSING) {
		session_close(sessions, session, reason);
		return;
	}
	/* what its peer has not received by now is given up, unless its kernel delivers that in any case */
	if (close_reason_rule((enum close_reason)session->reason)->how != CLOSE_HOW_FIN)
		session->reason = (uint8_t)reason;
	if (!session->queued)
		session_continue_close(sessions, session);
}

void sessions_begin_end(struct sessions *sessions, enum close_reason reason)
{
	sessions->ending = true;
	sessions->end_reason = (uint8_t)reason;
	sessions->end_slot = 0;
}

bool sessions_end_some(struct sessions *sessions)
{
	uint32_t table_end = session_table_end(sessions->table);
	uint32_t last = MIN(sessions->end_slot + SESSION_END_SLOTS, table_end);

	while (sessions->ending && sessions->end_slot < last) {
		struct session *session = session_table_at(sessions->table, sessions->end_slot++);

		if (session)
			session_end(sessions, session, (enum close_reason)sessions->end_reason);
	}
	return sessions_are_ending(sessions);
}

bool sessions_are_ending(const struct sessions *sessions)
{
	return sessions->ending && sessions->end_slot < session_table_end(sessions->table);
}
