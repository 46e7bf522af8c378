/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A process that is replaced hands its sessions to the new process: their
 * descriptors, and as numbers what is needed to go on. Its workers stand still meanwhile
 * (worker_move.c).
 *
 * A session that relays needs no preparation. What its lanes wait for follows from their state, and
 * a request in flight takes nothing out of a socket. So the new process makes the sessions ready to
 * run, the silent ones later, and each lane that has to wait makes its wait again.
 *
 * A connect is different: its answer takes the error out of the socket. So connects in flight are
 * cancelled first, which leaves the socket connecting, and the session runs later as if -ECANCELED
 * was the answer: it awaits the connect again. It does so in the new process, or in this one if
 * the new process fails.
 *
 * Then this process drops its copies (session_leave()). If the new process fails before, nothing
 * has to be undone.
 */
#include "relay/session_private.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "os/sock.h"

/* A session that was silent for so long sleeps first. Scenario: takeover (bench/). */
#define SLEEP_AFTER_MS 250

/* What every session has, in the order of the record. A later version may only add at its end. */
#define SESSION_FIELDS(FIELD)                                                                      \
	FIELD(id)                                                                                  \
	FIELD(opened_ms)                                                                           \
	FIELD(active_ms)                                                                           \
	FIELD(kept_alive)                                                                          \
	FIELD(sends_at_once)                                                                       \
	FIELD(named)                                                                               \
	FIELD(moved_on)

#define OPENING_FIELDS(FIELD)                                                                      \
	FIELD(answer)                                                                              \
	FIELD(wanted_bytes)

/* The backends that failed stay behind: they may be tried again, as often as --retries says. */
#define CONNECTING_FIELDS(FIELD)                                                                   \
	FIELD(answer)                                                                              \
	FIELD(connect_expired)                                                                     \
	FIELD(early.header_bytes)                                                                  \
	FIELD(early.client_bytes)

#define RELAYING_FIELDS(FIELD)                                                                     \
	FIELD(delivered[0])                                                                        \
	FIELD(delivered[1])                                                                        \
	FIELD(delivered_ms[0])                                                                     \
	FIELD(delivered_ms[1])

#define CLOSING_FIELDS(FIELD)                                                                      \
	FIELD(delivery_wait_ms)                                                                    \
	FIELD(undelivered_bytes)

/* All but the allowance: the new process grants another one. */
#define LANE_FIELDS(FIELD)                                                                         \
	FIELD(state)                                                                               \
	FIELD(read_ready)                                                                          \
	FIELD(read_woken)                                                                          \
	FIELD(read_ended)                                                                          \
	FIELD(bulk)                                                                                \
	FIELD(small_fills)                                                                         \
	FIELD(restless)                                                                            \
	FIELD(copies)                                                                              \
	FIELD(stirred)                                                                             \
	FIELD(write_ready)                                                                         \
	FIELD(write_woken)                                                                         \
	FIELD(read_error)                                                                          \
	FIELD(write_error)                                                                         \
	FIELD(cost)                                                                                \
	FIELD(unsent_limit_bytes)                                                                  \
	FIELD(held_bytes)                                                                          \
	FIELD(preface_bytes)                                                                       \
	FIELD(room_bytes)                                                                          \
	FIELD(room_low_bytes)                                                                      \
	FIELD(measured_bytes)                                                                      \
	FIELD(sent_bytes)                                                                          \
	FIELD(moved_bytes)

#define PUT(field)  carrier_put(carrier, (uint64_t)from->field);
#define TAKE(field) to->field = carrier_take(carrier);

/* Standing still ------------------------------------------------------------------------------- */

unsigned sessions_hold_connects(struct sessions *sessions)
{
	uint32_t end = session_table_end(sessions->table);
	unsigned count = 0;

	for (uint32_t slot = 0; slot < end; slot++) {
		const struct session *session = session_table_at(sessions->table, slot);

		if (!session || !session->connecting)
			continue;
		engine_cancel(sessions->engine, session->fd[SESSION_BACKEND],
			      session_connect_token(session));
		count++;
	}
	return count;
}

void session_resume_connect(struct sessions *sessions, struct session *session)
{
	uint64_t limit_ms = session_options(session)->timeout_connect_ms;
	uint64_t passed_ms = sessions->now_ms - session->active_ms;

	if (limit_ms)
		limit_ms = limit_ms > passed_ms ? limit_ms - passed_ms : 1;
	engine_await_connect(sessions->engine, session->fd[SESSION_BACKEND],
			     session_connect_token(session));
	session->connecting = true;
	session->in_flight++;
	session_arm_timer(sessions, session, limit_ms);
}

void session_resume_header(struct sessions *sessions, struct session *session)
{
	if (session_options(session)->accept_proxy) {
		session_wait_readable(sessions, session, SESSION_CLIENT);
		return;
	}
	if (session->wanted_bytes)
		sock_set_low_water(session->fd[SESSION_CLIENT], 1);
	timer_cancel(sessions->wheel, &session->timer);
	session_connect(sessions, session);
}

/* Writing -------------------------------------------------------------------------------------- */

static void write_lane(const struct session *session, unsigned i, struct carrier *carrier)
{
	const struct lane *from = &session->lane[i];
	const struct pipe *pipe = session->pipe[i];

	LANE_FIELDS(PUT)
	carrier_put(carrier, pipe != NULL);
	if (!pipe)
		return;
	carrier_put_fd(carrier, pipe->read_fd);
	carrier_put_fd(carrier, pipe->write_fd);
}

static void write_session(const struct session *from, struct carrier *carrier)
{
	for (unsigned side = 0; side < 2; side++) {
		carrier_put(carrier, from->fd[side] >= 0);
		if (from->fd[side] >= 0)
			carrier_put_fd(carrier, from->fd[side]);
	}
	carrier_put_addr(carrier, &from->client);
	tenancy_write(&from->tenancy, carrier);
	carrier_put(carrier, from->state);
	SESSION_FIELDS(PUT)
	switch (from->state) {
	case SESSION_OPENING:
		OPENING_FIELDS(PUT)
		carrier_put(carrier, from->waits[SESSION_CLIENT] != SESSION_WAIT_NONE);
		return;
	case SESSION_CONNECTING:
		CONNECTING_FIELDS(PUT)
		return;
	case SESSION_RELAYING:
		RELAYING_FIELDS(PUT)
		break;
	default:
		carrier_put_text(carrier, close_reason_rule((enum close_reason)from->reason)->word);
		CLOSING_FIELDS(PUT)
		break;
	}
	for (unsigned i = 0; i < 2; i++)
		write_lane(from, i, carrier);
}

void sessions_write(struct sessions *sessions, struct carrier *carrier, const bool *moves)
{
	uint32_t end = session_table_end(sessions->table);

	for (uint32_t slot = 0; slot < end; slot++) {
		const struct session *session = session_table_at(sessions->table, slot);

		if (!session || !moves[session->tenancy.forward->index])
			continue;
		CHECK(!session->connecting);
		carrier_begin(carrier, CARRIER_SESSION);
		carrier_put(carrier, sessions->worker);
		write_session(session, carrier);
		carrier_end(carrier);
	}
}

/* Reading -------------------------------------------------------------------------------------- */

/* The new process has to find out neither more nor less than a lane can be. */
static bool is_sound(const struct lane *lane, bool has_pipe)
{
	return lane->state <= LANE_SHUT && lane->small_fills <= LANE_CHATTY_FILLS &&
	       has_pipe == (lane->held_bytes > 0) && lane->read_error >= 0 &&
	       lane->write_error >= 0 && lane->cost;
}

static int read_pipe(struct sessions *sessions, struct session *session, unsigned i,
		     struct carrier *carrier)
{
	int read_fd, write_fd;

	if (!sessions->pump.pipes)
		return -EOPNOTSUPP;
	read_fd = carrier_take_fd(carrier);
	write_fd = carrier_take_fd(carrier);
	session->pipe[i] = pipe_pool_adopt(sessions->pump.pipes, read_fd, write_fd, 0);
	return session->pipe[i] ? 0 : -EBADMSG;
}

static int read_lane(struct sessions *sessions, struct session *session, unsigned i,
		     struct carrier *carrier)
{
	struct lane *to = &session->lane[i];
	bool has_pipe;

	LANE_FIELDS(TAKE)
	has_pipe = carrier_take(carrier);
	if (session->state == SESSION_RELAYING && !is_sound(to, has_pipe))
		return -EBADMSG;
	return has_pipe ? read_pipe(sessions, session, i, carrier) : 0;
}

static bool read_reason(struct session *session, struct carrier *carrier)
{
	char word[64];

	carrier_take_text(carrier, word, sizeof(word));
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		if (!strcmp(close_reason_rule((enum close_reason)i)->word, word)) {
			session->reason = (uint8_t)i;
			return true;
		}
	return false;
}

static void read_opening(struct sessions *sessions, struct session *to, struct carrier *carrier)
{
	const struct config_forward_options *options = session_options(to);
	uint64_t limit_ms = options->timeout_proxy_ms;
	uint64_t passed_ms = sessions->now_ms - to->opened_ms;

	OPENING_FIELDS(TAKE)
	if (carrier_take(carrier) || !options->accept_proxy)
		to->answer = -ECANCELED;
	if (limit_ms)
		limit_ms = limit_ms > passed_ms ? limit_ms - passed_ms : 1;
	session_arm_timer(sessions, to, limit_ms);
}

static void resume_relay(struct sessions *sessions, struct session *session)
{
	bool needs_timer = session_is_half_closed(session) || !session->kept_alive;

	session_pace_begin(sessions, session);
	session_resume_limits(sessions, session, needs_timer ? SESSION_RESUME_DELAY_MS : 0);
}

/* Takes what the state has. `to->state` is not set before, so that a faulty session is dropped. */
static int read_state(struct sessions *sessions, struct session *to, struct carrier *carrier,
		      unsigned state)
{
	int result = 0;

	switch (state) {
	case SESSION_OPENING:
		read_opening(sessions, to, carrier);
		return 0;
	case SESSION_CONNECTING:
		CONNECTING_FIELDS(TAKE)
		break;
	case SESSION_RELAYING:
		RELAYING_FIELDS(TAKE)
		break;
	case SESSION_CLOSING:
		if (!read_reason(to, carrier))
			return -EBADMSG;
		CLOSING_FIELDS(TAKE)
		break;
	default:
		return -EBADMSG;
	}
	to->state = (uint8_t)state;
	for (unsigned i = 0; i < 2 && !result && state >= SESSION_RELAYING; i++)
		result = read_lane(sessions, to, i, carrier);
	return result;
}

static void read_ends(const struct sessions *sessions, struct session *to, struct carrier *carrier)
{
	struct sockaddr_un name;

	for (unsigned side = 0; side < 2; side++)
		if (carrier_take(carrier))
			to->fd[side] = carrier_take_fd(carrier);
	carrier_take_addr(carrier, &to->client, &name);
	if (addr_is_local(&to->client))
		to->client.local.name = NULL; /* peers have no name */
	/* this process may want to know the client although the former did not */
	if (!to->client.length_bytes && sessions->forwards->want_clients)
		sock_get_peer(to->fd[SESSION_CLIENT], &to->client);
}

static int read_session(struct sessions *sessions, struct session *to, struct carrier *carrier)
{
	unsigned state;
	int result;

	read_ends(sessions, to, carrier);
	result = tenancy_read(&to->tenancy, sessions->forwards, &to->client, carrier);
	if (result)
		return result;
	state = (unsigned)carrier_take(carrier);
	SESSION_FIELDS(TAKE)
	result = read_state(sessions, to, carrier, state);
	if (result)
		return result;
	return carrier_is_whole(carrier) ? 0 : -EBADMSG;
}

int session_read(struct sessions *sessions, struct carrier *carrier)
{
	struct session *session = session_table_take(sessions->table);
	int result;

	if (!session)
		return -ENOSPC;
	load_resume(sessions->load, sessions->worker);
	metrics_add(sessions->metrics, METRIC_sessions_open, 1);
	session->state = SESSION_OPENING;
	session->came = true;
	result = read_session(sessions, session, carrier);
	if (result) {
		session_drop(sessions, session);
		return result;
	}
	if (session->state == SESSION_RELAYING)
		resume_relay(sessions, session);
	if (session->state != SESSION_RELAYING ||
	    sessions->now_ms - session->active_ms < SLEEP_AFTER_MS)
		session_make_ready(sessions, session);
	return 0;
}

bool session_wake(struct sessions *sessions, struct session *session)
{
	/* an awake session that relays is queued, or has a lane that waits */
	if (session->state != SESSION_RELAYING || session->queued ||
	    session->waits[0] != SESSION_WAIT_NONE || session->waits[1] != SESSION_WAIT_NONE)
		return false;
	session_make_ready(sessions, session);
	return true;
}

/* Leaving -------------------------------------------------------------------------------------- */

void sessions_leave(struct sessions *sessions, const bool *moves)
{
	uint32_t end = session_table_end(sessions->table);

	for (uint32_t slot = 0; slot < end; slot++) {
		struct session *session = session_table_at(sessions->table, slot);

		if (session && moves[session->tenancy.forward->index])
			session_leave(sessions, session);
	}
}

void sessions_drop(struct sessions *sessions)
{
	uint32_t end = session_table_end(sessions->table);

	session_queue_init(&sessions->small);
	session_queue_init(&sessions->bulk);
	for (uint32_t slot = 0; slot < end; slot++) {
		struct session *session = session_table_at(sessions->table, slot);

		if (!session)
			continue;
		session->queued = false;
		session_drop(sessions, session);
	}
}
