/*
 * Bandwidth limits of sessions (--limit-up and its like): credit for their lanes, and the waits for
 * it. Part of the session layer; used by session*.c and the worker alone.
 */
#pragma once

#include "session.h"

/*
 * Makes room for as many sessions as the table has, unless no forward has a limit: NULL then.
 * Returns 0 or -ENOMEM.
 */
int session_paces_create(struct session_paces **paces, const struct config *config,
			 uint32_t slot_count);
/* NULL is allowed. */
void session_paces_destroy(struct session_paces *paces);

/* Makes the lanes of a session that begins to relay paced, where its forward has a limit. */
void session_pace_begin(struct sessions *sessions, struct session *session);

/*
 * For a lane in LANE_WAIT_CREDIT: gets it credit, up to `want_bytes` > 0, and returns true; or makes
 * it wait for its turn.
 */
bool session_pace_take(struct sessions *sessions, struct session *session, unsigned lane,
		       uint32_t want_bytes);

/* The lane stops for something else than credit: what it has left of that is everybody's again. */
void session_pace_leave(struct sessions *sessions, struct session *session, unsigned lane);

/* The session closes: nothing is left set aside for it, and no timer. */
void session_pace_end(struct sessions *sessions, struct session *session);

/* Takes a timer of kind SESSION_PACE_TIMER: makes the session ready. */
void session_pace_on_timer(struct sessions *sessions, struct timer *timer);
