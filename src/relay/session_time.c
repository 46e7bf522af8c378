/*
 * Theory of operation. The time of the last byte is noted as bytes move, which costs nothing; all
 * else is asked when the timer fires. Whether a peer takes what waits for it is asked
 * WRITE_CHECKS times in --timeout-write, of its socket: what it had acknowledged at one look and
 * the next is the same, and there was something to acknowledge at both. A keepalive or window probe
 * that is answered acknowledges nothing, so a peer with a closed window does not pass for a live
 * one. So such a stall is found after the limit, and before half as much again.
 */
#include "relay/session_parts.h"

#include "os/sock.h"

#define WRITE_CHECKS 4

/* No count of bytes delivered: at the last look nothing waited, or there was none. */
#define NO_COUNT UINT32_MAX

/* Modulo 2^32 - 1, so that none is NO_COUNT. */
static uint32_t count(uint64_t bytes)
{
	return (uint32_t)(bytes % UINT32_MAX);
}

/* The less of two times of which 0 is never. */
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

/* The limit on silence that holds now, 0 for none, and the reason if it passes. */
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

/* Whether bytes have waited for this side's peer for the whole limit, and it has taken none. */
static bool is_stalled(const struct sessions *sessions, struct session *session, unsigned side)
{
	uint64_t undelivered_bytes = sock_untaken_bytes(session->fd[side]);
	uint32_t delivered = count(session->lane[!side].moved_bytes - undelivered_bytes);
	uint32_t now_ms = (uint32_t)sessions->now_ms;

	if (!undelivered_bytes) {
		session->delivered[side] = NO_COUNT;
		return false;
	}
	/* the limit begins with a look that finds something waiting: how long it has waited by then, nobody knows */
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
