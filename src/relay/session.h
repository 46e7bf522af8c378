/*
 * Sessions: a client, its backend and the two lanes between them, from accept to close. session*.c
 * alone opens, closes or owns a session's descriptors and pipes.
 *
 *	session_open -> (PROXY header) -> connect -> relay -> session_close
 *
 * A session ends in one place, with one reason (close_reasons.def). This is all that the rest of
 * the program knows of sessions; session_private.h is for session*.c alone.
 */
#pragma once

#include <stdint.h>

#include "config/config.h"
#include "forward/forward.h"
#include "limits/bans.h"
#include "os/engine.h"
#include "os/reserve.h"
#include "os/timer.h"
#include "relay/load.h"
#include "relay/pump.h"
#include "stats/close_reason.h"
#include "stats/history.h"
#include "stats/metrics.h"

struct session;

/* Sessions that are ready to run, linked by `next`. */
struct session_queue {
	struct session *first;
	struct session **last; /* the link behind the last one */
};

/* The sessions of one worker and what they work with; every pointer is the worker's. */
struct sessions {
	const struct config *config;
	struct engine *engine;
	struct session_table *table;
	struct timer_wheel *wheel;
	struct forwards *forwards;
	struct session_paces *paces; /* NULL: no forward has a limit on bandwidth */
	struct load *load;
	struct metrics *metrics;
	const struct bans *bans; /* NULL: nobody is refused; shared with the control thread */
	struct history *history; /* NULL: what ends is forgotten */
	struct pump pump;
	unsigned worker;
	uint64_t boot_id;	      /* of this worker, random */
	uint64_t opened_count;	      /* the number of the latest session */
	uint64_t now_ms;	      /* CLOCK_MONOTONIC of this tick */
	struct session_queue small;   /* ready sessions: all of them run in each tick */
	struct session_queue bulk;    /* ready sessions: they run in turn (session_ready.c) */
	struct session *chatty_first; /* those with a watch on a lane's source */
	struct timer quiet_timer;     /* while there are any */
	struct reserve reserve;	      /* accepting goes on while it is there */
	bool ending;		      /* sessions_begin_end() was called */
	uint8_t end_reason;	      /* enum close_reason, while ending */
	uint32_t end_slot;	      /* the next slot to be ended */
	bool released; /* a session ended since the worker last looked: there is room */
	bool starved;  /* descriptors were wanting for a backend's socket: accepting should pause */
};

/* Making --------------------------------------------------------------------------------------- */

/*
 * Makes room for `slot_count` sessions, at most ENGINE_SLOT_LIMIT, and for their bandwidth limits if
 * a forward has any. The memory becomes resident as sessions use it. Set `config` before, and the
 * other members before the first session. Returns 0 or -ENOMEM; sessions_finish() takes both.
 */
int sessions_init(struct sessions *sessions, uint32_t slot_count);

/* There must be no session. */
void sessions_finish(struct sessions *sessions);

/* The bytes of sixpipe's own memory that a session takes. */
unsigned session_bytes(void);

/* Running -------------------------------------------------------------------------------------- */

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

/* Looking at sessions -------------------------------------------------------------------------- */

/* The session in `slot`, or NULL. No slot from sessions_slot_end() on has ever been used. */
struct session *sessions_at(struct sessions *sessions, uint32_t slot);
uint32_t sessions_slot_end(const struct sessions *sessions);

/* Whether the client is known: with --accept-proxy, whether the PROXY header has come. */
bool session_knows_client(const struct session *session);

/* The client, and the source address of the connection to the backend; either may be empty yet. */
const struct addr *session_client(const struct session *session);
const struct addr *session_source(const struct session *session);

/*
 * Fills in what is known of a session now, for the history and for `sixpipe who`. Its reason is
 * meaningful once it is closing, and `closed_ms` is set to the present for one that is.
 */
void session_describe(const struct sessions *sessions, const struct session *session,
		      struct session_record *record);

/*
 * The IPv4 address that stands for the client with backends, for it is inside the client's own (--source embedded); in its
 * IPv4-mapped form. False: there is none.
 */
bool session_embedded_client(const struct session *session, struct in6_addr *mapped);
