/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A session closes in three steps:
 *
 * 1. session_close() sets the state to SESSION_CLOSING, notes the reason, gives the pipes back and
 *    cancels the requests to the engine.
 * 2. The session waits for the last answer to each request: a descriptor must not be closed while
 *    the engine waits for it (tests/kernel/probe_ring_poll_close_keeps_file). If one side has
 *    failed (CLOSE_HOW_RELAY), the session then waits until the other side's peer has every byte
 *    that was passed to it, or takes none for too long. Only then that peer gets a RST, because a
 *    RST drops undelivered bytes. No event reports the delivery, so the session's timer counts the
 *    undelivered bytes.
 * 3. finish_close() closes the sockets, with FIN or RST as close_reasons.def says, logs and counts
 *    the end, and gives back all that the session holds.
 *
 * session_continue_close() does the second and the third step. It is called after each answer, when
 * the timer fires, and when a queued session runs.
 *
 * A session that another process has taken over (session_leave()) waits for its last answers in the
 * same way, and then only its descriptors are closed.
 */
#include "relay/session_private.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "os/sock.h"

/* The pauses between counts of undelivered bytes: each is twice the one before. */
#define DELIVERY_WAIT_FIRST_MS 1
#define DELIVERY_WAIT_MOST_MS  1000

static void close_fd(struct sessions *sessions, struct session *session, unsigned side)
{
	int fd = session->fd[side];

	if (fd < 0)
		return;
	if (session->came)
		engine_forget_shared(sessions->engine, fd);
	else
		engine_forget(sessions->engine, fd);
	if (close(fd))
		CHECK(errno !=
		      EBADF); /* after any other error the descriptor is closed too: close(2) */
	session->fd[side] = -1;
}

void session_close_backend(struct sessions *sessions, struct session *session)
{
	close_fd(sessions, session, SESSION_BACKEND);
}

/* Fills in the line of the access log. Returns whether there is one; the caller ends it. */
static bool begin_log(struct sessions *sessions, const struct session *session,
		      struct log_line *line)
{
	static const struct addr none;
	const struct config_backend *backend = tenancy_backend(&session->tenancy);
	char id[SESSION_ID_TEXT_BYTES];

	if (!sessions->config->access_log || !log_begin(line, LOG_EVENT_close))
		return false;
	if (session->named && backend && backend->send_proxy == CONFIG_SEND_PROXY_V2)
		log_text(line, "id", session_print_id(sessions, session, id));
	log_addr(line, "client", &session->client);
	forward_log(session->tenancy.forward, line);
	log_addr(line, "backend", backend ? tenancy_backend_address(&session->tenancy) : &none);
	log_addr(line, "source", &session->tenancy.source);
	log_number(line, "bytes_up", session->lane[SESSION_CLIENT].moved_bytes);
	log_number(line, "bytes_down", session->lane[SESSION_BACKEND].moved_bytes);
	log_number(line, "duration_ms", sessions->now_ms - session->opened_ms);
	log_text(line, "reason", close_reason_rule((enum close_reason)session->reason)->word);
	return true;
}

static void remember(struct sessions *sessions, const struct session *session)
{
	struct session_record record;

	/* without refused sessions: a banned client could push all others out */
	if (!sessions->history || !session->tenancy.claim.choices)
		return;
	session_describe(sessions, session, &record);
	history_add(sessions->history, &record);
}

/* The last step: no request is in flight, and no bytes are to be delivered. */
static void finish_close(struct sessions *sessions, struct session *session)
{
	const struct close_rule *rule = close_reason_rule((enum close_reason)session->reason);
	struct log_line line;
	bool is_logged;

	for (unsigned side = 0; side < 2; side++) {
		/* a session's socket sends a RST on close by default; here a FIN */
		if (session->fd[side] >= 0 && rule->how == CLOSE_HOW_FIN)
			sock_reset_on_close(session->fd[side], false);
		close_fd(sessions, session, side);
	}
	is_logged = begin_log(sessions, session, &line);
	remember(sessions, session);
	tenancy_end(&session->tenancy, sessions->now_ms);
	timer_cancel(sessions->wheel, &session->timer);
	metrics_add(sessions->metrics, METRIC_sessions_closed, 1);
	metrics_count_close(sessions->metrics, (enum close_reason)session->reason);
	metrics_subtract(sessions->metrics, METRIC_sessions_open, 1);
	session_table_give(sessions->table, session);
	load_release(sessions->load, sessions->worker);
	sessions->released = true;
	/* last: who reads the line may rely on it that the session holds nothing any more */
	if (is_logged)
		log_end(&line);
}

/* Whether the session waits for the delivery of bytes to the side that did not fail. */
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

/* A peer that takes no bytes gets as much time as in a half-closed session. */
static bool delivery_has_expired(const struct sessions *sessions, const struct session *session)
{
	const struct close_rule *rule = close_reason_rule((enum close_reason)session->reason);
	uint64_t limit_ms = session_delivery_limit_ms(session, rule->failed_side);

	return (limit_ms && sessions->now_ms - session->active_ms >= limit_ms) ||
	       session_is_too_old(sessions, session);
}

/* Closes what this process has of a session that lives on in another one. */
static void close_copy(struct sessions *sessions, struct session *session)
{
	/* the other process has the sockets open: no FIN and no RST is sent */
	session->came = true;
	for (unsigned side = 0; side < 2; side++)
		close_fd(sessions, session, side);
	tenancy_end(&session->tenancy, sessions->now_ms);
	metrics_subtract(sessions->metrics, METRIC_sessions_open, 1);
	session_table_give(sessions->table, session);
	load_release(sessions->load, sessions->worker);
	sessions->released = true;
}

void session_leave(struct sessions *sessions, struct session *session)
{
	if (session->state < SESSION_RELAYING)
		memset(session->lane, 0, sizeof(session->lane));
	else if (session->state == SESSION_RELAYING)
		session_pace_end(sessions, session);
	session->state = SESSION_LEAVING;
	timer_cancel(sessions->wheel, &session->timer);
	for (unsigned i = 0; i < 2; i++) {
		if (session->pipe[i])
			pipe_pool_discard(sessions->pump.pipes, session->pipe[i]);
		session->pipe[i] = NULL;
	}
	session_cancel_waits(sessions, session);
	if (!session->queued)
		session_continue_close(sessions, session);
}

void session_drop(struct sessions *sessions, struct session *session)
{
	CHECK(!session->in_flight && !session->queued);
	session_leave(sessions, session);
}

void session_continue_close(struct sessions *sessions, struct session *session)
{
	if (session->in_flight)
		return;
	if (session->state == SESSION_LEAVING) {
		close_copy(sessions, session);
		return;
	}
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

/* Counts a session that closes, for its forward. */
static void count_by_forward(struct sessions *sessions, const struct session *session)
{
	struct metrics_forward *counts = &sessions->by_forward[session->tenancy.forward->index];

	if (session->state != SESSION_RELAYING) {
		metrics_forward_add(&counts->refused, 1);
		return;
	}
	for (unsigned i = 0; i < 2; i++)
		metrics_forward_add(&counts->moved_bytes[i], session->lane[i].moved_bytes);
}

void session_close(struct sessions *sessions, struct session *session, enum close_reason reason)
{
	CHECK(session->state != SESSION_FREE && session->state != SESSION_CLOSING);
	if (sessions->by_forward)
		count_by_forward(sessions, session);
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
	/* a queued session must stay until run_session() takes it out of its queue */
	if (!session->queued)
		session_continue_close(sessions, session);
}
