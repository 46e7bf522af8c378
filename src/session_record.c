#include "session_record.h"

void session_describe(const struct sessions *sessions, const struct session *session,
		      struct session_record *record)
{
	const struct addr *backend =
		upstream_address(sessions->upstream, session->forward, &session->path);

	*record = (struct session_record){
		.client = session->client,
		.source = session->source,
		.opened_ms = session->opened_ms,
		.closed_ms = session->state == SESSION_CLOSING ? sessions->now_ms : 0,
		.forward = session->forward,
		.reason = session->reason,
		.has_own_source = session->leased || session->embedded,
		.is_embedded = session->embedded,
	};
	if (session->state >= SESSION_RELAYING) {
		record->bytes_up = session->lane[SESSION_CLIENT].moved_bytes;
		record->bytes_down = session->lane[SESSION_BACKEND].moved_bytes;
	}
	if (backend)
		record->backend = *backend;
}
