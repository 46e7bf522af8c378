/*
 * What a session waits for, and what the engine answers. Part of the session layer; used by
 * session*.c alone.
 */
#pragma once

#include "session.h"

/* Queues a session to be run once in the next round; harmless when it is queued. */
void session_make_ready(struct sessions *sessions, struct session *session);

/*
 * Makes a lane wait for its source, or its target; the answer makes the session ready. `peer_ended`:
 * the target's peer has ended its stream, as far as is known (engine_wait_for()).
 */
void session_wait_readable(struct sessions *sessions, struct session *session, unsigned lane);
void session_wait_writable(struct sessions *sessions, struct session *session, unsigned lane,
			   bool peer_ended);

/*
 * Makes a lane wait for credit, with nothing in flight that would tell of its source: session_pace.h,
 * which ends the wait.
 */
void session_wait_credit(struct sessions *sessions, struct session *session, unsigned lane);

/*
 * Ends a lane's wait for its source, if that is what it waits for. Returns whether it waits for
 * nothing now; otherwise an answer comes that makes the session ready.
 */
bool session_stop_waiting_for_source(struct sessions *sessions, struct session *session,
				     unsigned lane);

/* Makes a half-closed session wait for the failure of the side that has ended its stream. */
void session_wait_failed(struct sessions *sessions, struct session *session);

/* Takes an answer: an event with an ENGINE_OP_READY token of this session. */
void session_on_answer(struct sessions *sessions, struct session *session,
		       const struct engine_event *event);

/* Lets chatty sessions that have fallen silent wait anew. */
void sessions_on_quiet_timer(struct sessions *sessions);

/* Cancels whatever is in flight. Each request has a last event to come. */
void session_cancel_waits(struct sessions *sessions, struct session *session);
