/* SPDX-License-Identifier: MIT */
/*
 * The functions that the files of the session layer call in each other; for session*.c alone. Each
 * of these files says at its top how it works.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "forward/tenancy.h"
#include "os/pipe_pool.h"
#include "relay/lane.h"
#include "relay/session.h"

/* A session ------------------------------------------------------------------------------------ */

enum session_state {
	SESSION_FREE,	    /* the slot is free; nothing is in flight */
	SESSION_OPENING,    /* fd[0] is the client; the session may wait for a PROXY header */
	SESSION_CONNECTING, /* fd[1] connects to one backend after another */
	SESSION_RELAYING,   /* both sockets are connected; each lane runs or waits for one thing */
	SESSION_CLOSING, /* the reason is set; requests are in flight, or bytes are undelivered */
	SESSION_LEAVING, /* another process has the session; requests are still in flight here */
};

/* The early data that went with a SYN: the whole header for the backend, and client's bytes. */
struct session_early {
	uint16_t header_bytes; /* 0: nothing went, or no header is sent */
	uint16_t client_bytes; /* they stay in the client's socket until the connect succeeds */
};

/* What a lane waits for. */
enum session_wait {
	SESSION_WAIT_NONE,
	SESSION_WAIT_READABLE,	/* a wait for its read side */
	SESSION_WAIT_ARRIVAL,	/* an answer of the watch on its read side */
	SESSION_WAIT_WRITABLE,	/* a wait for its write side */
	SESSION_WAIT_ALLOWANCE, /* the timer of session_pace.c: no request is in flight */
};

/* Index 0 is the client, 1 the backend; lane i moves bytes from fd[i] to fd[!i]. */
struct session {
	int fd[2]; /* -1: not open */
	union {
		struct {			    /* before SESSION_RELAYING */
			struct pool_tried tried;    /* backends that failed */
			struct session_early early; /* of the connect in flight */
			int32_t answer;		    /* to the header's wait or the connect */
			uint16_t wanted_bytes;	    /* the client's SO_RCVLOWAT; 0: not set */
			bool connect_expired;	    /* --timeout-connect has passed */
		};
		struct lane lane[2]; /* from SESSION_RELAYING on; zeroed if it ends before */
	};
	struct pipe *pipe[2]; /* borrowed by the lane; NULL: no bytes are in it */
	struct timer timer;
	struct session *next; /* in the free list or a queue of ready sessions */
	struct session *chatty_next;
	struct session **chatty_link; /* the link to this session; NULL: not in the chatty list */
	uint64_t id;		      /* unique in its boot_id: session_open() */
	uint64_t opened_ms;
	uint64_t active_ms; /* when the last byte moved, or the connect began */
	uint32_t slot;
	uint32_t generation;
	uint8_t state : 7;	/* enum session_state */
	bool came : 1;		/* from another process, which may still have its descriptors */
	uint8_t reason;		/* enum close_reason, once closing */
	uint8_t in_flight;	/* requests whose last answer is still to come */
	uint8_t waits[2];	/* enum session_wait, by lane */
	bool watched[2];	/* a watch on fd[i] is in flight */
	bool connecting : 1;	/* the connect is in flight */
	bool guarding : 1;	/* the wait for a failure of `guarded_side` is in flight */
	bool kept_alive : 1;	/* keepalive is on towards the backend */
	bool sends_at_once : 1; /* TCP_NODELAY is on towards the backend */
	bool guarded_side : 1;
	bool named : 1;	   /* the backend's header has our id of the session */
	bool queued : 1;   /* in a queue of ready sessions */
	bool moved_on : 1; /* session_move_on() was used; it works once in a session */
	struct tenancy tenancy;
	union {
		struct { /* while relaying, for --timeout-write, by side: session_time.c */
			uint32_t delivered[2];	  /* bytes that the peer has taken; modulo 2^32 */
			uint32_t delivered_ms[2]; /* when this count was first seen; modulo 2^32 */
		};
		struct {			    /* while closing */
			uint32_t delivery_wait_ms;  /* the pause before the next count */
			uint64_t undelivered_bytes; /* at the last count */
		};
	};
	/* the address in the PROXY header or of the socket; set if the forward has wants_client */
	struct addr client;
};

enum {
	SESSION_CLIENT,
	SESSION_BACKEND
}; /* the index of each side, and of the lane that comes from it */

/* The lane number of an ENGINE_OP_READY token is one of these plus the lane or side. */
enum session_request {
	SESSION_REQUEST_WAIT = 0,  /* a lane's wait */
	SESSION_REQUEST_WATCH = 2, /* the watch on a lane's read side */
	SESSION_REQUEST_GUARD = 4, /* the wait for a side's failure */
	SESSION_REQUEST_END = 6,
};

/*
 * The timer of a session that comes from another process fires once after this time: for keepalive
 * towards the backend, or for the guard of a half-closed session.
 */
#define SESSION_RESUME_DELAY_MS 100

/* The engine tokens of a session's requests. */
uint64_t session_token(const struct session *session, enum session_request request, unsigned index);
uint64_t session_connect_token(const struct session *session);

/* The options of the session's forward. */
static inline const struct config_forward_options *session_options(const struct session *session)
{
	return &session->tenancy.forward->config->options;
}

/* A lane with its pipe and descriptors, for the pump. */
static inline struct pump_flow session_flow(struct session *session, unsigned lane)
{
	return (struct pump_flow){
		.lane = &session->lane[lane],
		.pipe = &session->pipe[lane],
		.read_fd = session->fd[lane],
		.write_fd = session->fd[!lane],
	};
}

/* timer.kind of: a session's timer, the timer of all chatty sessions, a session's pace timer. */
#define SESSION_TIMER	    1
#define SESSION_QUIET_TIMER 3
#define SESSION_PACE_TIMER  4

/* The id of a session is the count of its worker times this, plus the number of the worker. */
#define SESSION_ID_WORKERS CONFIG_WORKER_LIMIT

/* session_id_print() for a session. */
const char *session_print_id(const struct sessions *sessions, const struct session *session,
			     char text[SESSION_ID_TEXT_BYTES]);

/* session_table.c: the slots of one worker's sessions ------------------------------------------ */

/*
 * The table of one worker's sessions. A slot has a generation, which changes when the slot is
 * freed: so an event of the former session is not taken for an event of the present session. The
 * table's memory is reserved at the start and becomes resident when slots are first used, the
 * lowest numbers first.
 */
struct session_table;

/* Creates a table of `slot_count` slots, at most ENGINE_SLOT_LIMIT. Returns 0 or -ENOMEM. */
int session_table_create(struct session_table **table, uint32_t slot_count);

/* Makes the memory of the first `count` slots resident. */
void session_table_expect(struct session_table *table, uint32_t count);
void session_table_destroy(struct session_table *table);

/* Returns a zeroed session with slot, generation and fd[] = -1 set; NULL: all slots are in use. */
struct session *session_table_take(struct session_table *table);

/* Frees the slot. No request of the session may be in flight. */
void session_table_give(struct session_table *table, struct session *session);

/* The session that a token names; NULL: the session is over. */
struct session *session_table_find(struct session_table *table, uint32_t slot, uint32_t generation);

/* The session in `slot`, or NULL. No slot from session_table_end() on has ever been used. */
struct session *session_table_at(struct session_table *table, uint32_t slot);
uint32_t session_table_end(const struct session_table *table);

uint32_t session_table_used_count(const struct session_table *table);

/* session_open.c: whether a client may have a session ------------------------------------------ */

/*
 * Checks bans, rules and limits for a session whose client is known. False: the client is refused,
 * and the session was closed with the reason.
 */
bool session_admit(struct sessions *sessions, struct session *session);

/* Logs that the client is refused, and closes. `fault`: of the client's PROXY header, or NULL. */
void session_refuse(struct sessions *sessions, struct session *session, enum close_reason reason,
		    const char *fault);

/* session_connect.c: connects to one backend after another until one accepts ------------------- */

/* Begins to connect a session whose client is known; its state becomes SESSION_CONNECTING. */
void session_connect(struct sessions *sessions, struct session *session);

/*
 * Takes the answer to the connect, session->answer. Returns true when the session relays from here
 * on. Otherwise it connects to the next backend, or has ended and must not be touched any more.
 */
bool session_finish_connect(struct sessions *sessions, struct session *session);

/*
 * For a relaying session that its backend has reset. Connects to another backend, if no byte was
 * relayed yet, as after a failed connect. Returns whether it did; the session may be closed then.
 */
bool session_move_on(struct sessions *sessions, struct session *session);

/*
 * For a session that --timeout-session ends before its connect was answered. Counts a failed
 * connect for the backend if the connect has lasted half of that time or more. Otherwise, with a
 * --timeout-connect that is no shorter, a silent backend would never be marked as down.
 */
void session_blame_silence(struct sessions *sessions, struct session *session);

/* --timeout-connect has passed: cancels the connect, unless its answer is on the way. */
void session_expire_connect(struct sessions *sessions, struct session *session);

/* session_proxy.c: the PROXY headers of the client and the backend ----------------------------- */

/* Makes a new session of a forward with --accept-proxy wait for the header of its client. */
void session_await_header(struct sessions *sessions, struct session *session);

/*
 * Takes the answer to that wait, session->answer, and reads the header so far. Then connects,
 * waits for the rest, or closes.
 */
void session_read_header(struct sessions *sessions, struct session *session);

/* Takes the session's timer: --timeout-proxy has passed, or the header is to be read again. */
void session_on_header_timer(struct sessions *sessions, struct session *session);

/*
 * With --fastopen-backends, prepares the early data for the SYN to the chosen backend: its
 * header, and bytes that have come from the client. The data is in the pump's scratch, for one
 * connect.
 */
void session_gather_early(struct sessions *sessions, struct session *session,
			  struct upstream_call *call);

/*
 * Takes the client's header out of its socket and sends the backend's header, each if configured.
 * `early`: what went with the SYN already.
 */
void session_pass_header(struct sessions *sessions, struct session *session,
			 const struct config_backend *backend, struct session_early early);

/* session.c: relaying -------------------------------------------------------------------------- */

/*
 * Runs both lanes of a relaying session, each until it waits or has moved `lane_bytes`. Returns
 * whether the session has more to move. False: the session waits or has ended; it must not be
 * touched any more, because its slot may belong to another session.
 */
bool session_relay(struct sessions *sessions, struct session *session, uint32_t lane_bytes);

/* Whether one side has ended its stream and the other has not. */
bool session_is_half_closed(const struct session *session);

/* Sets TCP_NODELAY on the backend's socket, for good. */
void session_send_at_once(struct session *session);

/* session_ready.c: which session runs when ----------------------------------------------------- */

/* Makes a queue empty. */
void session_queue_init(struct session_queue *queue);

/* Queues a session to run; harmless if it is queued already. */
void session_make_ready(struct sessions *sessions, struct session *session);

/* session_wait.c: the requests of a relaying session, and the engine's answers ----------------- */

/*
 * Makes a lane wait until its read side is readable, or its write side writable. The answer makes
 * the session ready. `peer_ended`: the write side's peer is known to have ended its stream
 * (engine_wait_for()).
 */
void session_wait_readable(struct sessions *sessions, struct session *session, unsigned lane);
void session_wait_writable(struct sessions *sessions, struct session *session, unsigned lane,
			   bool peer_ended);

/*
 * Makes a lane wait for an allowance, and drops the watch on its read side. session_pace.c ends
 * this wait.
 */
void session_wait_allowance(struct sessions *sessions, struct session *session, unsigned lane);

/*
 * Ends a lane's wait for its read side. Returns whether the lane waits for nothing now. False: a
 * request is still in flight, and its answer makes the session ready.
 */
bool session_stop_waiting_to_read(struct sessions *sessions, struct session *session,
				  unsigned lane);

/* Makes a half-closed session wait until the side that has ended its stream fails. */
void session_wait_failed(struct sessions *sessions, struct session *session);

/* Takes an event with an ENGINE_OP_READY token of this session. */
void session_on_answer(struct sessions *sessions, struct session *session,
		       const struct engine_event *event);

/* Takes the timer SESSION_QUIET_TIMER: silent chatty lanes get a wait instead of their watch. */
void sessions_on_quiet_timer(struct sessions *sessions);

/*
 * Asks the sockets whether a lane's wait is met, or the connect answered, so that an event is on
 * the way. A time limit asks this before it ends a session: after the process was stopped (SIGSTOP,
 * a frozen control group), timers are due before the events that came in time are read.
 */
bool session_awaits_event(const struct session *session);

/* Cancels all requests in flight. The last event of each request is still to come. */
void session_cancel_waits(struct sessions *sessions, struct session *session);

/* session_pace.c: allowances for lanes with limits on bandwidth (--limit-up and its like) ------ */

/*
 * Makes sessions->paces with an entry for each slot of the table, if any forward has a bandwidth
 * limit. Returns 0 or -ENOMEM.
 */
int session_paces_create(struct sessions *sessions);
void session_paces_destroy(struct sessions *sessions);

/* Makes the lanes of a session that begins to relay paced, where its forward has a limit. */
void session_pace_begin(struct sessions *sessions, struct session *session);

/*
 * For a lane in LANE_WAIT_ALLOWANCE. True: the lane has an allowance of up to `want_bytes` > 0 now.
 * False: the lane waits for its share of the bandwidth.
 */
bool session_pace_take(struct sessions *sessions, struct session *session, unsigned lane,
		       uint32_t want_bytes);

/* The lane waits for anything but an allowance: gives its unused allowance back. */
void session_pace_leave(struct sessions *sessions, struct session *session, unsigned lane);

/* The session closes: gives back all that the limits hold for it, and cancels the timer. */
void session_pace_end(struct sessions *sessions, struct session *session);

/* Takes a timer of kind SESSION_PACE_TIMER: makes the session ready. */
void session_pace_on_timer(struct sessions *sessions, struct timer *timer);

/* session_time.c: the time limits of a session ------------------------------------------------- */

/*
 * Arms the session's timer for `delay_ms` (0: no such limit), or for the end of --timeout-session,
 * whichever comes first.
 */
void session_arm_timer(struct sessions *sessions, struct session *session, uint64_t delay_ms);

/* Whether the session is older than --timeout-session allows. */
bool session_is_too_old(const struct sessions *sessions, const struct session *session);

/* The session begins to relay: arms the timer for its first limit, `most_ms` at most. */
void session_begin_limits(struct sessions *sessions, struct session *session, uint64_t most_ms);

/* The session relays again, in another process: arms the timer for the limits that are left. */
void session_resume_limits(struct sessions *sessions, struct session *session, uint64_t most_ms);

/* The session is half-closed from here on: arms the timer for the limits that hold now. */
void session_change_limits(struct sessions *sessions, struct session *session, uint64_t most_ms);

/*
 * Checks the limits of a relaying session. True: no limit has passed, and the timer is armed for
 * the next. False: a limit has passed, and the session must close for `reason`.
 */
bool session_keeps_limits(struct sessions *sessions, struct session *session,
			  enum close_reason *reason);

/* How long a closing session waits for a peer that takes none of its bytes; 0: for ever. */
uint64_t session_delivery_limit_ms(const struct session *session, enum close_side failed_side);

/* session_close.c: ends sessions; the only file that closes their descriptors ------------------ */

/*
 * Ends a session for `reason`. When this returns, the session may be over and its slot may belong
 * to another session. A queued session stays until it is taken out of its queue.
 */
void session_close(struct sessions *sessions, struct session *session, enum close_reason reason);

/*
 * Goes on with a closing session: a request was answered, its timer fired, or it was taken out of
 * its queue.
 */
void session_continue_close(struct sessions *sessions, struct session *session);

/* Closes the socket of a failed connect, so that another backend can be tried. */
void session_close_backend(struct sessions *sessions, struct session *session);

/*
 * Another process has the session from here on. Closes the descriptors, without a word to the
 * peers, to the log and to the counters, once the requests in flight are answered.
 */
void session_leave(struct sessions *sessions, struct session *session);

/* The same for a session without requests that is in no queue: it is gone when this returns. */
void session_drop(struct sessions *sessions, struct session *session);

/* session_move.c: sessions that come from another process, or go to it ------------------------- */

/* Awaits a connect again that sessions_hold_connects() has cancelled. */
void session_resume_connect(struct sessions *sessions, struct session *session);

/* Waits for the PROXY header again, or connects if the forward expects none any more. */
void session_resume_header(struct sessions *sessions, struct session *session);
