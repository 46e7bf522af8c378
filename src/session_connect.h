/*
 * From a client that is known to a relay: the source address, one backend after another, and the
 * PROXY protocol header for the one that answers. Part of the session layer; used by session*.c alone.
 */
#pragma once

#include "session.h"

/* Begins to connect a session whose client is known; its state becomes SESSION_CONNECTING. */
void session_connect(struct sessions *sessions, struct session *session);

/* The connect was answered: 0 or -errno. Relays, tries the next backend, or closes. */
void session_on_connect(struct sessions *sessions, struct session *session, int result);

/*
 * The backend has reset a session that is relayed. Goes on to another where that is as good as a connect that failed, and
 * returns true; the session may be closed then.
 */
bool session_move_on(struct sessions *sessions, struct session *session);

/*
 * The session is over before its connect was answered: --timeout-session. Holds that against the backend where it has had
 * half of that time, for otherwise a silent one would never be found out when --timeout-connect is no shorter.
 */
void session_blame_silence(struct sessions *sessions, struct session *session);

/* --timeout-connect has passed: the next answer is -ECANCELED. */
void session_expire_connect(struct sessions *sessions, struct session *session);
