/* SPDX-License-Identifier: MIT */
/* Opens a session for an accepted connection, and checks whether the client may have a session. */
#include "relay/session_private.h"

#include "base/check.h"
#include "base/log.h"
#include "os/sock.h"

void session_refuse(struct sessions *sessions, struct session *session, enum close_reason reason,
		    const char *fault)
{
	struct log_line line;

	if (log_begin(&line, fault ? LOG_EVENT_proxy_refused : LOG_EVENT_refused)) {
		log_addr(&line, "client", &session->client);
		forward_log(session->tenancy.forward, &line);
		log_text(&line, "reason", close_reason_rule(reason)->word);
		if (fault)
			log_text(&line, "error", fault);
		log_end(&line);
	}
	session_close(sessions, session, reason);
}

static bool is_banned(const struct sessions *sessions, const struct session *session)
{
	struct in6_addr client;

	/* local clients have no address that can be banned */
	if (!sessions->bans || !bans_count(sessions->bans) || addr_is_local(&session->client))
		return false;
	client = cidr_address_of(&session->client);
	if (bans_contains(sessions->bans, &client, sessions->now_ms))
		return true;
	/* a ban may be for one link */
	if (IN6_IS_ADDR_LINKLOCAL(&client)) {
		client = cidr_address_on_link(&session->client);
		return bans_contains(sessions->bans, &client, sessions->now_ms);
	}
	/* a ban of the embedded IPv4 address, which is the address that backends see */
	return session_embedded_client(session, &client) &&
	       bans_contains(sessions->bans, &client, sessions->now_ms);
}

bool session_admit(struct sessions *sessions, struct session *session)
{
	static const enum close_reason reasons[] = {
		[ADMISSION_DENIED] = CLOSE_denied,
		[ADMISSION_SOURCE_MAXCONN] = CLOSE_source_maxconn,
		[ADMISSION_SOURCE_RATE] = CLOSE_source_rate,
	};
	enum admission_verdict verdict;

	/* no log line: who set the ban knows it */
	if (is_banned(sessions, session)) {
		metrics_add(sessions->metrics, METRIC_connections_banned, 1);
		session_close(sessions, session, CLOSE_banned);
		return false;
	}
	verdict = tenancy_enter(&session->tenancy, &session->client, sessions->now_ms);
	if (verdict == ADMISSION_OK)
		return true;
	session_refuse(sessions, session, reasons[verdict], NULL);
	return false;
}

void session_open(struct sessions *sessions, struct forward *forward, int client_fd)
{
	struct session *session = session_table_take(sessions->table);

	CHECK(session);
	session->state = SESSION_OPENING;
	tenancy_resume(&session->tenancy, forward);
	session->fd[SESSION_CLIENT] = client_fd;
	session->id = ++sessions->opened_count * SESSION_ID_WORKERS + sessions->worker;
	session->opened_ms = sessions->now_ms;
	session->active_ms = sessions->now_ms;
	if (addr_is_local(&forward->listen))
		sock_keep_urgent(client_fd);
	if (forward->config->wants_client)
		sock_get_peer(client_fd, &session->client);
	metrics_add(sessions->metrics, METRIC_sessions_opened, 1);
	metrics_add(sessions->metrics, METRIC_sessions_open, 1);
	if (sessions->by_forward)
		metrics_forward_add(&sessions->by_forward[forward->index].opened, 1);
	if (sessions->ending)
		session_close(sessions, session, (enum close_reason)sessions->end_reason);
	/* a client that is gone already has no address */
	else if (forward->config->needs_client && !session->client.length_bytes)
		session_close(sessions, session, CLOSE_client_reset);
	else if (session_options(session)->accept_proxy)
		session_await_header(sessions, session);
	else
		session_connect(sessions, session);
}
