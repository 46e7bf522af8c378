/*
 * Whether a client is served at all, once it is known who it is. Part of the session layer; used by
 * session*.c alone.
 */
#pragma once

#include "session.h"

/*
 * Asks everything that can stand against a session whose client is known, before a backend is looked
 * for. True: go on. False: the session was closed, with its reason.
 */
bool session_admit(struct sessions *sessions, struct session *session);

/*
 * The IPv4 address that stands for the client with backends, for it is inside the client's own (--source embedded); in its
 * IPv4-mapped form. False: there is none.
 */
bool session_embedded_client(const struct sessions *sessions, const struct session *session,
			     struct in6_addr *mapped);
