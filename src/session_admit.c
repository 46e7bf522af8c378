#include "session_admit.h"

#include "session_close.h"

static bool is_banned(const struct sessions *sessions, const struct session *session)
{
	struct in6_addr client;

	if (!sessions->bans || !bans_count(sessions->bans))
		return false;
	client = cidr_address_of(&session->client);
	return bans_contains(sessions->bans, &client, sessions->now_ms);
}

bool session_admit(struct sessions *sessions, struct session *session)
{
	if (!is_banned(sessions, session))
		return true;
	metrics_add(sessions->metrics, METRIC_connections_banned, 1);
	session_close(sessions, session, CLOSE_banned);
	return false;
}
