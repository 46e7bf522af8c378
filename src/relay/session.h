/*
 * Sessions: a client, its backend and the two lanes between them, from accept to close. session*.c
 * alone opens, closes or owns a session's descriptors and pipes.
 *
 *	session_open -> (PROXY header) -> connect -> relay -> session_close
 *
 * A session ends in one place, with one reason (close_reasons.def).
 */
#pragma once

#include "relay/sessions.h"

/*
 * Makes room for the bandwidth limits of as many sessions as the table has, unless no forward has a
 * limit: NULL then. Returns 0 or -ENOMEM.
 */
int session_paces_create(struct session_paces **paces, const struct config *config,
			 uint32_t slot_count);
/* NULL is allowed. */
void session_paces_destroy(struct session_paces *paces);

/*
 * Opens a session for `client_fd`, which becomes the session's; it must have been admitted to this
 * worker by tenancy_begin() and load_admit(), which the session's end gives back. There is a slot: the table is sized
 * for the load.
 */
void session_open(struct sessions *sessions, struct forward *forward, int client_fd);

/* Takes an event whose token names a session (ENGINE_OP_CONNECT, ENGINE_OP_READY). */
void sessions_on_event(struct sessions *sessions, const struct engine_event *event);

/* Takes a timer of one of these kinds that is due. */
void sessions_on_timer(struct sessions *sessions, struct timer *timer);

/*
 * Runs each small session that is ready once, and then bulk sessions until an event arrives or the
 * slices of a tick have run: session_ready.c. Some sessions may be ready again afterwards.
 */
void sessions_run_ready(struct sessions *sessions);

/* Whether a session is ready to run. */
bool sessions_are_ready(const struct sessions *sessions);

/*
 * Ends a session at once with `reason`, one of those whose rule is RST, even if it only waits for
 * bytes to arrive. It may be over when this returns.
 */
void session_end(struct sessions *sessions, struct session *session, enum close_reason reason);

/*
 * From here on every session ends with `reason` (its rule is RST): new sessions at once, existing ones in
 * sessions_end_some(). May be called again with another reason, which holds for what is left.
 */
void sessions_begin_end(struct sessions *sessions, enum close_reason reason);

/*
 * Ends the sessions in the next SESSION_END_SLOTS slots of the table, so that a tick is not held up by 100,000 of them. Each slot is looked at
 * once: those that cannot be closed yet close when their last request is answered. Returns sessions_are_ending().
 */
#define SESSION_END_SLOTS 64
bool sessions_end_some(struct sessions *sessions);

/* Whether there are slots that sessions_end_some() has to look at. */
bool sessions_are_ending(const struct sessions *sessions);
