/* A session in words: what the access log, the history and `sixpipe who` tell of it. */
#pragma once

#include "history.h"
#include "session.h"

/*
 * Fills in what is known of a session now. Its reason is meaningful once it is closing, and
 * `closed_ms` is set to the present for one that is.
 */
void session_describe(const struct sessions *sessions, const struct session *session,
		      struct session_record *record);
