/*
 * What the files of the session layer are to each other; for session*.c alone. How each works is at
 * its top.
 */
#pragma once

#include "relay/sessions.h"

/* session_admit.c: whether a client is served at all ---------------------------------------------- */

/*
 * Asks everything that can stand against a session whose client is known, before a backend is looked
 * for. True: go on. False: the session was closed, with its reason.
 */
bool session_admit(struct sessions *sessions, struct session *session);

/* session_connect.c: from a known client to a relay, by one backend after another ----------------- */

/* Begins to connect a session whose client is known; its state becomes SESSION_CONNECTING. */
void session_connect(struct sessions *sessions, struct session *session);

/*
 * Takes the answer to the connect, session->answer. Returns true when the session relays from here
 * on. Otherwise it connects to the next backend, or has ended and must not be touched any more.
 */
bool session_finish_connect(struct sessions *sessions, struct session *session);

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

/* --timeout-connect has passed: the next answer is -ECANCELED, unless the backend has answered by now. */
void session_expire_connect(struct sessions *sessions, struct session *session);

/* session_proxy_in.c: the PROXY header that a client sends first ---------------------------------- */

/* Makes a session of a listener with --accept-proxy wait for its header. */
void session_await_header(struct sessions *sessions, struct session *session);

/* Takes the answer to that wait, session->answer: reads what has come. Connects, waits or closes. */
void session_read_header(struct sessions *sessions, struct session *session);

/* The session's timer: --timeout-proxy has passed, or the header is to be looked at again. */
void session_on_header_timer(struct sessions *sessions, struct session *session);

/* session_proxy_out.c: the PROXY header that a backend gets first ---------------------------------- */

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
			 const struct config_backend *backend, struct session_early early);

/* session.c: relaying ------------------------------------------------------------------------------ */

/*
 * Runs both lanes of a relaying session, each until it waits or has moved `lane_bytes`. Returns
 * whether the session has more to move. False: the session waits or has ended; it must not be
 * touched any more, for its slot may belong to another one.
 */
bool session_relay(struct sessions *sessions, struct session *session, uint32_t lane_bytes);

/* Sets TCP_NODELAY on the backend's socket, for good. */
void session_send_at_once(struct session *session);

/* session_ready.c: which session runs when -------------------------------------------------------- */

/* Queues a session to be run; harmless when it is queued. */
void session_make_ready(struct sessions *sessions, struct session *session);

/* session_wait.c: what a session waits for, and what the engine answers --------------------------- */

/*
 * Makes a lane wait for its source, or its target; the answer makes the session ready. `peer_ended`:
 * the target's peer has ended its stream, as far as is known (engine_wait_for()).
 */
void session_wait_readable(struct sessions *sessions, struct session *session, unsigned lane);
void session_wait_writable(struct sessions *sessions, struct session *session, unsigned lane,
			   bool peer_ended);

/*
 * Makes a lane wait for credit, with nothing in flight that would tell of its source: session_pace.c,
 * which ends the wait.
 */
void session_wait_allowance(struct sessions *sessions, struct session *session, unsigned lane);

/*
 * Ends a lane's wait for its source, if that is what it waits for. Returns whether it waits for
 * nothing now; otherwise an answer comes that makes the session ready.
 */
bool session_stop_waiting_to_read(struct sessions *sessions, struct session *session,
				  unsigned lane);

/* Makes a half-closed session wait for the failure of the side that has ended its stream. */
void session_wait_failed(struct sessions *sessions, struct session *session);

/* Takes an answer: an event with an ENGINE_OP_READY token of this session. */
void session_on_answer(struct sessions *sessions, struct session *session,
		       const struct engine_event *event);

/* Lets chatty sessions that have fallen silent wait anew. */
void sessions_on_quiet_timer(struct sessions *sessions);

/*
 * Asks the sockets whether what a lane waits for is there, or answers for a connect: then its event comes, and the
 * session is neither silent nor late. A time limit asks this before it ends a session. For when the process was stopped (SIGSTOP,
 * a frozen control group), its timers are due before its events are taken in.
 */
bool session_awaits_event(const struct session *session);

/* Cancels whatever is in flight. Each request has a last event to come. */
void session_cancel_waits(struct sessions *sessions, struct session *session);

/* session_pace.c: credit for lanes with limits on bandwidth (--limit-up and its like) -------------- */

/* Makes the lanes of a session that begins to relay paced, where its forward has a limit. */
void session_pace_begin(struct sessions *sessions, struct session *session);

/*
 * For a lane in LANE_WAIT_ALLOWANCE: gets it credit, up to `want_bytes` > 0, and returns true; or makes
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

/* session_time.c: how long a session may last, be silent, and leave its peers' bytes untaken ------- */

/*
 * Arms the session's timer, of which it has one, for `delay_ms` (0: no limit of that kind), or for
 * the end of the life that --timeout-session allows it, whichever comes first. It does not move with
 * each byte: when it fires it asks what has passed since.
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
uint64_t session_delivery_limit_ms(const struct session *session, enum close_side failed_side);

/* session_close.c: the one way out, and the only file that closes a session's descriptors ---------- */

/*
 * Ends a connecting or relaying session for `reason`. It may be over when this returns, and its
 * slot someone else's. A session that is queued lives on until the queue comes to it.
 */
void session_close(struct sessions *sessions, struct session *session, enum close_reason reason);

/*
 * Takes a closing session further: its last request was answered, its timer fired, or it was taken
 * from the queue of ready sessions.
 */
void session_continue_close(struct sessions *sessions, struct session *session);

/* Closes the socket of a connect that failed, so that another backend can be tried. */
void session_close_backend(struct sessions *sessions, struct session *session);
