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
