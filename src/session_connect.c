#include "session_connect.h"

#include <errno.h>

#include "check.h"
#include "log.h"
#include "session_admit.h"
#include "session_close.h"
#include "session_pace.h"
#include "session_proxy.h"
#include "session_wait.h"
#include "sock.h"

/*
 * What may wait unsent in the sockets of sessions that are opened in a crowd (load.h). Less slows
 * fast ones down, more lets stalled ones take the host's TCP memory: tests/integration/test_stalled.
 */
#define CROWD_UNSENT_BYTES 131072

/* Sessions that last so long get keepalive towards the backend. Scenario: crc-64 (bench/). */
#define KEEPALIVE_DELAY_MS 1000

static const struct backend *present_backend(const struct sessions *sessions,
					     const struct session *session)
{
	return upstream_backend(sessions->upstream, session->forward, session->first_backend,
				session->attempts - 1U);
}

/* With its port; a socket that was reset meanwhile knows nothing more. */
static void learn_source(struct session *session)
{
	struct addr source;

	sock_get_local(session->fd[SESSION_BACKEND], &source);
	if (source.length_bytes)
		session->source = source;
}

static void begin_relay(struct sessions *sessions, struct session *session)
{
	uint64_t limit_ms = session_options(sessions, session)->timeout_idle_ms;

	session->state = SESSION_RELAYING;
	session->active_ms = sessions->now_ms;
	/* a client has often sent its request by now; a backend that was just connected to, hardly */
	lane_init(&session->lane[SESSION_CLIENT], true);
	lane_init(&session->lane[SESSION_BACKEND], false);
	for (unsigned i = 0; i < 2 && load_is_crowded(sessions->load); i++) {
		sock_limit_unsent(session->fd[!i], CROWD_UNSENT_BYTES);
		session->lane[i].unsent_limit_bytes = CROWD_UNSENT_BYTES;
	}
	if (sessions->config->access_log || sessions->history)
		learn_source(session);
	session_pace_begin(sessions, session);
	session_pass_header(sessions, session, present_backend(sessions, session));
	session_arm_timer(sessions, session,
			  limit_ms ? MIN(limit_ms, KEEPALIVE_DELAY_MS) : KEEPALIVE_DELAY_MS);
	session_make_ready(sessions, session);
}

static void log_backend_failed(struct sessions *sessions, const struct addr *backend, int error)
{
	struct log_line line;

	metrics_add(sessions->metrics, METRIC_connects_failed, 1);
	if (!log_begin(&line, LOG_EVENT_backend_failed))
		return;
	log_addr(&line, "backend", backend);
	log_error(&line, "error", error);
	log_end(&line);
}

/* Sets where the connection to the backend is to come from; false, and it is closed: no address is left. */
static bool choose_source(struct sessions *sessions, struct session *session, bool embedded)
{
	struct sources_choice choice;
	int error = sources_choose(sessions->sources, session->forward, &session->client, embedded,
				   sessions->now_ms, &choice);

	if (error) {
		session_close(sessions, session, CLOSE_no_source);
		return false;
	}
	session->source = choice.address;
	session->leased = choice.leased;
	session->embedded = choice.embedded;
	return true;
}

/* Begins to connect to the session's next backend, or closes when there is none. */
static void connect_next(struct sessions *sessions, struct session *session)
{
	uint64_t limit_ms = session_options(sessions, session)->timeout_connect_ms;
	const struct backend *backend;

	while ((backend = upstream_backend(sessions->upstream, session->forward,
					   session->first_backend, session->attempts))) {
		int fd =
			upstream_connect(sessions->upstream, sessions->engine, session->forward,
					 backend, &session->source, session_connect_token(session));

		if (fd == -EADDRNOTAVAIL && session->embedded) {
			/* the client's address is not routed to this host */
			if (!choose_source(sessions, session, false))
				return;
			continue;
		}
		session->attempts++;
		if (fd >= 0) {
			metrics_add(sessions->metrics, METRIC_connects, 1);
			session->fd[SESSION_BACKEND] = fd;
			session->connecting = true;
			session->connect_expired = false;
			session->in_flight++;
			if (limit_ms)
				session_arm_timer(sessions, session, limit_ms);
			return;
		}
		log_backend_failed(sessions, &backend->addr, fd);
		if (sock_classify(fd) == SOCK_DESCRIPTORS) {
			sessions->starved = true;
			session_close(sessions, session, CLOSE_no_descriptors);
			return;
		}
	}
	session_close(sessions, session, CLOSE_connect_failed);
}

void session_on_connect(struct sessions *sessions, struct session *session, int result)
{
	timer_cancel(sessions->wheel, &session->timer);
	if (!result || result == -ECONNRESET || result == -EPIPE) {
		begin_relay(sessions, session);
		/* reset since it was connected: the socket has told that for the last time */
		if (result)
			lane_on_source_failed(&session->lane[SESSION_BACKEND], -result);
		return;
	}
	if (session->connect_expired && result == -ECANCELED)
		result = -ETIMEDOUT;
	log_backend_failed(sessions, &present_backend(sessions, session)->addr, result);
	session_close_backend(sessions, session);
	connect_next(sessions, session);
}

void session_connect(struct sessions *sessions, struct session *session)
{
	session->state = SESSION_CONNECTING;
	if (!session_admit(sessions, session))
		return;
	session->first_backend = (uint16_t)upstream_choose(sessions->upstream, session->forward);
	if (choose_source(sessions, session, true))
		connect_next(sessions, session);
}

void session_expire_connect(struct sessions *sessions, struct session *session)
{
	session->connect_expired = true;
	engine_cancel(sessions->engine, session->fd[SESSION_BACKEND],
		      session_connect_token(session));
}
