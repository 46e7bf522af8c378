/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A session has one timer, which is not armed anew for each byte. Moving bytes
 * only notes the time (active_ms). When the timer fires, session_keeps_limits() compares the limits
 * with the time that has passed, and arms the timer for the next limit.
 *
 * For --timeout-write the timer fires WRITE_CHECKS times within the limit, and asks each socket how
 * many bytes its peer has acknowledged. A peer is stalled if bytes wait for the peer and this count
 * stays the same, both for the whole limit. An answer to a keepalive or a window probe acknowledges
 * no byte, so a peer with a closed window is found too. A stall is found after 1 to 1.5 times the
 * limit.
 */
#include "relay/session_private.h"

#include "os/sock.h"

#define WRITE_CHECKS 4

/* No count of delivered bytes yet, or no bytes waited when the timer last fired. */
#define NO_COUNT UINT32_MAX

/* The count modulo 2^32 - 1, so never NO_COUNT. */
static uint32_t count(uint64_t bytes)
{
	return (uint32_t)(bytes % UINT32_MAX);
}

/* The shorter of two times; 0 stands for "never". */
static uint64_t sooner(uint64_t a_ms, uint64_t b_ms)
{
	return a_ms && b_ms ? MIN(a_ms, b_ms) : MAX(a_ms, b_ms);
}

static uint64_t age_ms(const struct sessions *sessions, const struct session *session)
{
	return sessions->now_ms - session->opened_ms;
}

bool session_is_too_old(const struct sessions *sessions, const struct session *session)
{
	uint64_t limit_ms = session_options(session)->timeout_session_ms;

	return limit_ms && age_ms(sessions, session) >= limit_ms;
}

void session_arm_timer(struct sessions *sessions, struct session *session, uint64_t delay_ms)
{
	uint64_t limit_ms = session_options(session)->timeout_session_ms;

	if (limit_ms) {
		uint64_t age = age_ms(sessions, session);

		delay_ms = sooner(delay_ms, limit_ms > age ? limit_ms - age : 1);
	}
	session->timer.kind = SESSION_TIMER;
	if (delay_ms)
		timer_arm(sessions->wheel, &session->timer, delay_ms);
}

static uint64_t write_check_ms(const struct session *session)
{
	uint64_t limit_ms = session_options(session)->timeout_write_ms;

	return limit_ms ? MAX(limit_ms / WRITE_CHECKS, 1) : 0;
}

/* The limit on silence that holds now, 0 for none, and the reason of a close by this limit. */
static uint64_t silence_limit_ms(const struct session *session, enum close_reason *reason)
{
	const struct config_forward_options *options = session_options(session);

	if (session->lane[SESSION_CLIENT].state == LANE_SHUT) {
		*reason = CLOSE_client_fin_timeout;
		return options->timeout_client_fin_ms;
	}
	if (session->lane[SESSION_BACKEND].state == LANE_SHUT) {
		*reason = CLOSE_server_fin_timeout;
		return options->timeout_server_fin_ms;
	}
	*reason = CLOSE_idle_timeout;
	return options->timeout_idle_ms;
}

void session_begin_limits(struct sessions *sessions, struct session *session, uint64_t most_ms)
{
	for (unsigned side = 0; side < 2; side++)
		session->delivered[side] = NO_COUNT;
	session_change_limits(sessions, session, sooner(most_ms, write_check_ms(session)));
}

void session_change_limits(struct sessions *sessions, struct session *session, uint64_t most_ms)
{
	enum close_reason reason;
	uint64_t limit_ms = silence_limit_ms(session, &reason);

	session->active_ms = sessions->now_ms;
	session_arm_timer(sessions, session, sooner(limit_ms, most_ms));
}

void session_resume_limits(struct sessions *sessions, struct session *session, uint64_t most_ms)
{
	enum close_reason reason;
	uint64_t limit_ms = silence_limit_ms(session, &reason);
	uint64_t silent_ms = sessions->now_ms - session->active_ms;

	if (limit_ms)
		limit_ms = limit_ms > silent_ms ? limit_ms - silent_ms : 1;
	session_arm_timer(sessions, session,
			  sooner(limit_ms, sooner(most_ms, write_check_ms(session))));
}

/* Whether bytes have waited for this side's peer for the whole limit, and the peer took none. */
static bool is_stalled(const struct sessions *sessions, struct session *session, unsigned side)
{
	uint64_t undelivered_bytes = sock_untaken_bytes(session->fd[side]);
	uint32_t delivered = count(session->lane[!side].moved_bytes - undelivered_bytes);
	uint32_t now_ms = (uint32_t)sessions->now_ms;

	if (!undelivered_bytes) {
		session->delivered[side] = NO_COUNT;
		return false;
	}
	/* the limit begins when waiting bytes are first found */
	if (delivered != session->delivered[side]) {
		session->delivered[side] = delivered;
		session->delivered_ms[side] = now_ms;
		return false;
	}
	return (uint32_t)(now_ms - session->delivered_ms[side]) >=
	       session_options(session)->timeout_write_ms;
}

bool session_keeps_limits(struct sessions *sessions, struct session *session,
			  enum close_reason *reason)
{
	uint64_t check_ms = write_check_ms(session);
	uint64_t limit_ms;
	uint64_t silent_ms = sessions->now_ms - session->active_ms;

	for (unsigned side = 0; side < 2 && check_ms; side++)
		if (is_stalled(sessions, session, side)) {
			*reason = side == SESSION_CLIENT ? CLOSE_client_stalled
							 : CLOSE_backend_stalled;
			return false;
		}
	limit_ms = silence_limit_ms(session, reason);
	if (limit_ms && silent_ms >= limit_ms) {
		if (!session_awaits_event(session))
			return false;
		session->active_ms = sessions->now_ms;
		silent_ms = 0;
	}
	session_arm_timer(sessions, session, sooner(limit_ms ? limit_ms - silent_ms : 0, check_ms));
	return true;
}

uint64_t session_delivery_limit_ms(const struct session *session, enum close_side failed_side)
{
	const struct config_forward_options *options = session_options(session);

	return sooner(failed_side == CLOSE_SIDE_CLIENT ? options->timeout_client_fin_ms
						       : options->timeout_server_fin_ms,
		      options->timeout_write_ms);
}
