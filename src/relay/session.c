/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. An event or a timer makes a session ready. When the session runs
 * (session_ready.c), each of its two lanes moves a limited number of bytes. A lane that stops
 * before that waits for one thing: its read side, its write side (session_wait.c) or an allowance
 * (session_pace.c).
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "identity/embedded.h"
#include "os/sock.h"
#include "relay/session_private.h"

/*
 * A side that has ended its stream is not read any more, so its RST would be noticed only at the
 * next write to it. A session that is half-closed for longer than this makes a request that finds
 * the RST. Most sessions are not, and save the request. Scenario: crc-64 (bench/).
 */
#define GUARD_DELAY_MS 100

/* Making --------------------------------------------------------------------------------------- */

int sessions_init(struct sessions *sessions, uint32_t slot_count)
{
	int result = session_table_create(&sessions->table, slot_count);

	sessions->slot_count = slot_count;
	session_queue_init(&sessions->small);
	session_queue_init(&sessions->bulk);
	return result ? result : session_paces_create(sessions);
}

void sessions_expect(struct sessions *sessions, uint32_t count)
{
	session_table_expect(sessions->table, count);
}

void sessions_finish(struct sessions *sessions)
{
	if (sessions->table)
		session_table_destroy(sessions->table);
	session_paces_destroy(sessions);
}

unsigned session_bytes(void)
{
	return sizeof(struct session);
}

/* Relaying ------------------------------------------------------------------------------------- */

bool session_is_half_closed(const struct session *session)
{
	return (session->lane[SESSION_CLIENT].state == LANE_SHUT) !=
	       (session->lane[SESSION_BACKEND].state == LANE_SHUT);
}

static enum close_reason reason_of_lane(const struct session *session, unsigned lane)
{
	return close_reason_of_error(lane, session->lane[lane].read_error);
}

static void shut_write_side(struct session *session, unsigned lane)
{
	const struct lane *other = &session->lane[!lane];
	int error = 0;

	/* if both streams have ended, close(2) sends the FIN, unless another process has the socket */
	if (other->state != LANE_SHUT || other->write_error || session->came)
		error = sock_shut_write(session->fd[!lane]);
	else
		error = sock_take_error(session->fd[!lane]);

	if (!error) {
		lane_on_shut(&session->lane[lane]);
		return;
	}
	/* ENOTCONN: the connection has failed; the socket may still hold the reason */
	error = sock_take_error(session->fd[!lane]);
	lane_on_write_failed(&session->lane[lane], error ? error : ENOTCONN);
}

/* Whether a lane at this step is going to move bytes, and so keeps its allowance. */
static bool wants_allowance(enum lane_step step)
{
	return step == LANE_MEASURE || step == LANE_FILL || step == LANE_FLUSH ||
	       step == LANE_WAIT_ALLOWANCE;
}

/*
 * Sets TCP_NODELAY on a backend's socket when a second message was passed to the backend. TCP sends
 * the first message at once in any case, so a session with one short message saves the system call.
 * `moved_before_bytes`: the bytes that the lane had moved before this run. Scenario: crc-64
 * (bench/).
 */
static void end_delay(struct session *session, uint64_t moved_before_bytes)
{
	const struct lane *lane = &session->lane[SESSION_CLIENT];

	if (session->sends_at_once || lane->moved_bytes == moved_before_bytes)
		return;
	/* a first run that moves no more than the first fill takes has moved one message */
	if (!moved_before_bytes && lane->moved_bytes < LANE_ROOM_FLOOR_BYTES)
		return;
	session_send_at_once(session);
}

void session_send_at_once(struct session *session)
{
	sock_send_at_once(session->fd[SESSION_BACKEND]);
	session->sends_at_once = true;
}

/* Runs one lane until it waits, and makes its wait. Returns whether the lane has more to move. */
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
		shut_write_side(session, i);
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
 * The write side of lane i is the read side of lane !i: reports a write error of lane i to the
 * other lane as a read error. The socket may not report the error again, so the other lane
 * stops waiting for this socket; its wait for its own write side goes on. Returns whether the other
 * lane can run.
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
	bool was_half_closed = session_is_half_closed(session);
	bool again = false;

	/* reports errors between the runs: a failure must not look like a clean end to lane 1 */
	for (unsigned i = 0; i < 2; i++) {
		again |= run_lane(sessions, session, i, lane_bytes);
		again |= tell_other_lane(sessions, session, i);
	}

	for (unsigned i = 0; i < 2; i++) {
		const struct lane *lane = &session->lane[i];
		bool over = lane->state == LANE_SHUT && lane->read_error;

		/* a read side that fails after its end was passed on has nothing left to deliver */
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
	if (session_is_half_closed(session) && !was_half_closed)
		session_change_limits(sessions, session, GUARD_DELAY_MS);
	return again;
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
	if (session->state >= SESSION_CLOSING && !session->queued)
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
	if (session->state < SESSION_CLOSING && session_is_too_old(sessions, session)) {
		if (session->state == SESSION_CONNECTING)
			session_blame_silence(sessions, session);
		session_close(sessions, session, CLOSE_session_timeout);
		return;
	}
	/* an answer in time is not late: sessions run before timers fire */
	CHECK(!session->queued || session->state >= SESSION_RELAYING);
	switch (session->state) {
	case SESSION_OPENING:
		session_on_header_timer(sessions, session);
		break;
	case SESSION_CONNECTING:
		session_expire_connect(sessions, session);
		break;
	case SESSION_RELAYING:
		/* bytes may have come while the session slept */
		if (session_wake(sessions, session)) {
			session_resume_limits(sessions, session, SESSION_RESUME_DELAY_MS);
			break;
		}
		if (!session->kept_alive) {
			/* a dead socket refuses this, and its failure is found in another way */
			(void)sock_keep_alive(session->fd[SESSION_BACKEND],
					      &session->tenancy.forward->tuning);
			session->kept_alive = true;
		}
		if (session_is_half_closed(session) && !session->guarding)
			session_wait_failed(sessions, session);
		/* a ready session has bytes to move, so it is not silent */
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
	if (session->state < SESSION_CLOSING) {
		session_close(sessions, session, reason);
		return;
	}
	if (session->state == SESSION_LEAVING)
		return;
	/* drops the undelivered bytes, unless the session ends with a FIN, which delivers them */
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

/* Looking at sessions -------------------------------------------------------------------------- */

struct session *sessions_at(struct sessions *sessions, uint32_t slot)
{
	return session_table_at(sessions->table, slot);
}

uint32_t sessions_count(const struct sessions *sessions)
{
	return session_table_used_count(sessions->table);
}

uint32_t sessions_slot_end(const struct sessions *sessions)
{
	return session_table_end(sessions->table);
}

bool session_knows_client(const struct session *session)
{
	return session->state != SESSION_OPENING;
}

const struct addr *session_client(const struct session *session)
{
	return &session->client;
}

const struct addr *session_source(const struct session *session)
{
	return &session->tenancy.source;
}

const struct forward *session_forward(const struct session *session)
{
	return session->tenancy.forward;
}

bool session_must_end(const struct session *session, enum close_reason *reason)
{
	return tenancy_must_end(&session->tenancy, reason);
}

bool session_has_backend(const struct session *session, const struct addr *address, int group)
{
	const struct tenancy *tenancy = &session->tenancy;
	const struct addr *own = tenancy_backend_address(tenancy);

	if (!own || (address->length_bytes && !addr_equal(own, address)))
		return false;
	return group < 0 ||
	       upstream_group(tenancy->forward->upstream, &tenancy->claim) == (unsigned)group;
}

const char *session_print_id(const struct sessions *sessions, const struct session *session,
			     char text[SESSION_ID_TEXT_BYTES])
{
	return session_id_print(sessions->boot_id, session->id, text);
}

void session_describe(const struct sessions *sessions, const struct session *session,
		      struct session_record *record)
{
	const struct addr *backend = tenancy_backend_address(&session->tenancy);

	*record = (struct session_record){
		.client = session->client,
		.source = session->tenancy.source,
		.boot_id = sessions->boot_id,
		.id = session->id,
		.opened_ms = session->opened_ms,
		.closed_ms = session->state == SESSION_CLOSING ? sessions->now_ms : 0,
		.forward = (uint16_t)session->tenancy.forward->index,
		.reason = session->reason,
		.has_own_source = session->tenancy.leased || session->tenancy.embedded,
		.is_embedded = session->tenancy.embedded,
	};
	if (session->state >= SESSION_RELAYING) {
		record->bytes_up = session->lane[SESSION_CLIENT].moved_bytes;
		record->bytes_down = session->lane[SESSION_BACKEND].moved_bytes;
	}
	if (backend)
		record->backend = *backend;
}

bool session_embedded_client(const struct session *session, struct in6_addr *mapped)
{
	struct in6_addr client = cidr_address_of(&session->client);
	struct in_addr inside;

	if (!session_options(session)->source.embedded || !embedded_ipv4(&client, &inside))
		return false;
	*mapped = cidr_map_v4(inside);
	return true;
}
