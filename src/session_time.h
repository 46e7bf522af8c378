/*
 * How long a session may last, be silent, and leave its peers' bytes untaken. A session has one
 * timer, which does not move with each byte: when it fires it asks what has passed since.
 */
#pragma once

#include "session.h"

/*
 * Arms the session's timer for `delay_ms` (0: no limit of that kind), or for the end of the life
 * that --timeout-session allows it, whichever comes first.
 */
void session_arm_timer(struct sessions *sessions, struct session *session, uint64_t delay_ms);

/* Whether the session is older than --timeout-session allows. */
bool session_is_too_old(const struct sessions *sessions, const struct session *session);

/* From here on the session relays: arms the timer for the first of its limits, `most_ms` at most. */
void session_begin_limits(struct sessions *sessions, struct session *session, uint64_t most_ms);

/* The session is half-closed from here on, and the limits on silence are others. */
void session_change_limits(struct sessions *sessions, struct session *session, uint64_t most_ms);

/*
 * Looks at a relaying session's limits. True: none has passed, and the timer is armed for the next.
 * False: one has, for `reason`.
 */
bool session_keeps_limits(struct sessions *sessions, struct session *session,
			  enum close_reason *reason);

/* How long a closing session waits for a peer that takes nothing of what is on its way to it; 0: ever. */
uint64_t session_delivery_limit_ms(const struct sessions *sessions, const struct session *session,
				   enum close_side failed_side);
