/*
 * PROXY protocol in a session: the header that a client sends first, and the one that a backend gets
 * first. Part of the session layer; used by session*.c alone.
 *
 * A header that came stays in the client's socket until there is a backend: so it needs no memory of
 * the session, and what it said beyond the addresses can be passed on.
 */
#pragma once

#include "session.h"

/* Makes a session of a listener with --accept-proxy wait for its header. */
void session_await_header(struct sessions *sessions, struct session *session);

/* Takes the answer to that wait: enum engine_news or -errno. */
void session_on_header_news(struct sessions *sessions, struct session *session, int32_t news);

/* The session's timer: --timeout-proxy has passed, or the header is to be looked at again. */
void session_on_header_timer(struct sessions *sessions, struct session *session);

/*
 * Finds what may travel with the SYN to the chosen backend, where that is wanted: its header, and what has come from
 * the client. It lies in the pump's scratch and is good for one connect.
 */
void session_gather_early(struct sessions *sessions, struct session *session,
			  struct upstream_call *call);

/*
 * Takes a header that came from the client's socket, and sends the backend its own, as configured; but for what went
 * with the SYN.
 */
void session_pass_header(struct sessions *sessions, struct session *session,
			 const struct backend *backend, struct session_early early);
