/*
 * How a session ends: the one way out, and the only file that closes its descriptors. Part of the
 * session layer; used by session.c alone.
 */
#pragma once

#include "session.h"

/*
 * Ends a connecting or relaying session for `reason`. It may be over when this returns, and its
 * slot someone else's. One that is in the ready list lives on until the list comes to it.
 */
void session_close(struct sessions *sessions, struct session *session, enum close_reason reason);

/*
 * Takes a closing session further: its last request was answered, its timer fired, or its turn
 * came.
 */
void session_continue_close(struct sessions *sessions, struct session *session);

/* Closes the socket of a connect that failed, so that another backend can be tried. */
void session_close_backend(struct sessions *sessions, struct session *session);
