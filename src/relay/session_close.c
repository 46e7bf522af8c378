/*
 * Theory of operation. Closing has two concerns. A descriptor must not be closed while the engine
 * waits on it (tests/kernel/probe_ring_poll_close_keeps_file): what is armed is cancelled first,
 * and the last answer closes. And where one side failed, the other side must get every byte that
 * was passed to it before it gets the RST: closing with a RST drops what its socket has not
 * delivered, so the session waits until the socket has nothing undelivered.
 */
#include "relay/session_parts.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "os/sock.h"

/*
 * How often undelivered bytes are counted while a session closes: soon at first, then ever less
 * often.
 */
#define DELIVERY_WAIT_FIRST_MS 1
#define DELIVERY_WAIT_MOST_MS  1000

static void close_fd(struct sessions *sessions, int *fd)
{
	if (*fd < 0)
		return;
	engine_forget(sessions->engine, *fd);
	if (close(*fd))
		CHECK(errno != EBADF); /* whatever else it says, the descriptor is gone: close(2) */
	*fd = -1;
}

void session_close_backend(struct sessions *sessions, struct session *session)
{
	close_fd(sessions, &session->fd[SESSION_BACKEND]);
}

static void log_close(struct sessions *sessions, const struct session *session)
{
	static const struct addr none;
	const struct config_backend *backend = tenancy_backend(&session->tenancy);
	char id[SESSION_ID_TEXT_BYTES];
	struct log_line line;

	if (!sessions->config->access_log || !log_begin(&line, LOG_EVENT_close))
		return;
	if (session->named && backend && backend->send_proxy == CONFIG_SEND_PROXY_V2)
		log_text(&line, "id", session_print_id(sessions, session, id));
	log_addr(&line, "client", &session->client);
	log_addr(&line, "listen", &session->tenancy.forward->listen);
	log_addr(&line, "backend", backend ? tenancy_backend_address(&session->tenancy) : &none);
	log_addr(&line, "source", &session->tenancy.source);
	log_number(&line, "bytes_up", session->lane[SESSION_CLIENT].moved_bytes);
	log_number(&line, "bytes_down", session->lane[SESSION_BACKEND].moved_bytes);
	log_number(&line, "duration_ms", sessions->now_ms - session->opened_ms);
	log_text(&line, "reason", close_reason_rule((enum close_reason)session->reason)->word);
	log_end(&line);
}

static void remember(struct sessions *sessions, const struct session *session)
{
	struct session_record record;

	/* those refused at the door would push out the others: whoever is banned must not choose whom we remember */
	if (!sessions->history || !session->tenancy.claim.choices)
		return;
	session_describe(sessions, session, &record);
	history_add(sessions->history, &record);
}

/* The last step: nothing is in flight and every byte that is to arrive has. */
static void finish_close(struct sessions *sessions, struct session *session)
{
	const struct close_rule *rule = close_reason_rule((enum close_reason)session->reason);

	for (unsigned side = 0; side < 2; side++) {
		/* all of a session's sockets are made with reset_on_close */
		if (session->fd[side] >= 0 && rule->how == CLOSE_HOW_FIN)
			sock_reset_on_close(session->fd[side], false);
		close_fd(sessions, &session->fd[side]);
	}
	log_close(sessions, session);
	remember(sessions, session);
	tenancy_end(&session->tenancy, sessions->now_ms);
	timer_cancel(sessions->wheel, &session->timer);
	metrics_add(sessions->metrics, METRIC_sessions_closed, 1);
	metrics_count_close(sessions->metrics, (enum close_reason)session->reason);
	metrics_subtract(sessions->metrics, METRIC_sessions_open, 1);
	session_table_give(sessions->table, session);
	load_release(sessions->load, sessions->worker);
	sessions->released = true;
}

/* Whether bytes passed to the side that is still there have yet to reach it. */
static bool is_delivering(struct sessions *sessions, struct session *session)
{
	const struct close_rule *rule = close_reason_rule((enum close_reason)session->reason);
	uint64_t bytes;

	if (rule->how != CLOSE_HOW_RELAY)
		return false;
	bytes = sock_undelivered_bytes(session->fd[!rule->failed_side]);
	if (bytes < session->undelivered_bytes)
		session->active_ms = sessions->now_ms;
	session->undelivered_bytes = bytes;
	return bytes > 0;
}

/* A peer that takes nothing more is waited for no longer than any other half-closed one. */
static bool delivery_has_expired(const struct sessions *sessions, const struct session *session)
{
	const struct close_rule *rule = close_reason_rule((enum close_reason)session->reason);
	uint64_t limit_ms = session_delivery_limit_ms(session, rule->failed_side);

	return (limit_ms && sessions->now_ms - session->active_ms >= limit_ms) ||
	       session_is_too_old(sessions, session);
}

void session_continue_close(struct sessions *sessions, struct session *session)
{
	if (session->in_flight)
		return;
	if (!is_delivering(sessions, session) || delivery_has_expired(sessions, session)) {
		finish_close(sessions, session);
		return;
	}
	timer_arm(sessions->wheel, &session->timer, session->delivery_wait_ms);
	session->delivery_wait_ms = MIN(session->delivery_wait_ms * 2, DELIVERY_WAIT_MOST_MS);
}

static void release_pipes(struct sessions *sessions, struct session *session)
{
	for (unsigned i = 0; i < 2; i++) {
		int error = pump_release(&sessions->pump, &session->lane[i], &session->pipe[i]);
		struct log_line line;

		if (!error || !log_begin(&line, LOG_EVENT_pipe_lost))
			continue;
		log_number(&line, "pipes", pipe_pool_count(sessions->pump.pipes));
		log_number(&line, "pipe_bytes", pipe_pool_size_bytes(sessions->pump.pipes));
		log_error(&line, "error", error);
		log_end(&line);
	}
}

void session_close(struct sessions *sessions, struct session *session, enum close_reason reason)
{
	CHECK(session->state != SESSION_FREE && session->state != SESSION_CLOSING);
	if (session->state != SESSION_RELAYING)
		memset(session->lane, 0, sizeof(session->lane));
	session->state = SESSION_CLOSING;
	session->reason = (uint8_t)reason;
	session->delivery_wait_ms = DELIVERY_WAIT_FIRST_MS;
	session->undelivered_bytes = 0;
	timer_cancel(sessions->wheel, &session->timer);
	session_pace_end(sessions, session);
	release_pipes(sessions, session);
	for (unsigned i = 0; i < 2; i++)
		metrics_add(sessions->metrics, i ? METRIC_bytes_down : METRIC_bytes_up,
			    session->lane[i].moved_bytes);
	session_cancel_waits(sessions, session);
	/* a session that is queued is freed when the queue comes to it */
	if (!session->queued)
		session_continue_close(sessions, session);
}
