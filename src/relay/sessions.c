#include "relay/sessions.h"

#include <inttypes.h>
#include <stdio.h>

#include "identity/embedded.h"

void session_queue_init(struct session_queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
}

void sessions_init(struct sessions *sessions)
{
	session_queue_init(&sessions->small);
	session_queue_init(&sessions->bulk);
}

const char *session_print_id(const struct sessions *sessions, const struct session *session,
			     char text[SESSION_ID_TEXT_BYTES])
{
	snprintf(text, SESSION_ID_TEXT_BYTES, "%016" PRIx64 "-%" PRIu64, sessions->boot_id,
		 session->id);
	return text;
}

void session_describe(const struct sessions *sessions, const struct session *session,
		      struct session_record *record)
{
	const struct addr *backend = tenancy_backend_address(&session->tenancy);

	*record = (struct session_record){
		.client = session->client,
		.source = session->tenancy.source,
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
