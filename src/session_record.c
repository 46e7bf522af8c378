#include "session_record.h"

void session_describe(const struct sessions *sessions, const struct session *session,
		      struct session_record *record)
{
	*record = (struct session_record){
		.client = session->client,
		.source = session->source,
		.opened_ms = session->opened_ms,
		.closed_ms = session->state == SESSION_CLOSING ? sessions->now_ms : 0,
		.bytes_up = session->lane[SESSION_CLIENT].moved_bytes,
		.bytes_down = session->lane[SESSION_BACKEND].moved_bytes,
		.forward = session->forward,
		.reason = session->reason,
		.has_own_source = session->leased || session->embedded,
	};
	if (session->attempts)
		record->backend = upstream_backend(sessions->upstream, session->forward,
						   session->first_backend, session->attempts - 1U)
					  ->addr;
}
