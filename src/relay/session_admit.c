#include "relay/session_parts.h"

#include "base/log.h"

static void refuse(struct sessions *sessions, struct session *session, enum close_reason reason)
{
	struct log_line line;

	if (log_begin(&line, LOG_EVENT_refused)) {
		log_addr(&line, "client", &session->client);
		log_addr(&line, "listen", &session->tenancy.forward->listen);
		log_text(&line, "reason", close_reason_rule(reason)->word);
		log_end(&line);
	}
	session_close(sessions, session, reason);
}

static bool is_banned(const struct sessions *sessions, const struct session *session)
{
	struct in6_addr client;

	/* local clients have no address, and no ban is for them */
	if (!sessions->bans || !bans_count(sessions->bans) || addr_is_local(&session->client))
		return false;
	client = cidr_address_of(&session->client);
	if (bans_contains(sessions->bans, &client, sessions->now_ms))
		return true;
	/* a ban may be for a link alone */
	if (IN6_IS_ADDR_LINKLOCAL(&client)) {
		client = cidr_address_on_link(&session->client);
		return bans_contains(sessions->bans, &client, sessions->now_ms);
	}
	/* what backends see is what they ban: a 6to4 site has its IPv4 address in 65,536 blocks */
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

	/* whoever set the ban knows of it: no line */
	if (is_banned(sessions, session)) {
		metrics_add(sessions->metrics, METRIC_connections_banned, 1);
		session_close(sessions, session, CLOSE_banned);
		return false;
	}
	verdict = tenancy_enter(&session->tenancy, &session->client, sessions->now_ms);
	if (verdict == ADMISSION_OK)
		return true;
	refuse(sessions, session, reasons[verdict]);
	return false;
}
