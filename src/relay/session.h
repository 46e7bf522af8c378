/* SPDX-License-Identifier: MIT */
/*
 * Sessions: a client, its backend and the two lanes between them, from accept to close. Only
 * session*.c opens, closes and owns a session's descriptors and pipes.
 *
 *	session_open -> (PROXY header) -> connect -> relay -> session_close
 *
 * Every session ends in session_close(), with one reason (close_reasons.def). This header is the
 * interface for the rest of the program; session_private.h is for session*.c.
 */
#pragma once

#include <stdint.h>

#include "config/config.h"
#include "forward/forward.h"
#include "limits/bans.h"
#include "os/carrier.h"
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
	struct session **last; /* the `next` of the last session, or `first` */
};

/* The sessions of one worker. The worker owns all that the pointers lead to. */
struct sessions {
	const struct config *config;
	struct engine *engine;
	struct session_table *table;
	struct timer_wheel *wheel;
	struct forwards *forwards;
	uint32_t slot_count;	    /* of the table */
	struct session_pace *paces; /* by slot; NULL: no forward has a limit on bandwidth */
	struct load *load;
	struct metrics *metrics;
	struct metrics_forward *by_forward; /* NULL: sessions are not counted by forward */
	const struct bans *bans; /* NULL: no client is banned; shared with the control loop */
	struct history *history; /* NULL: ended sessions are not recorded */
	struct pump pump;
	unsigned worker;
	uint64_t boot_id;	    /* random; of all workers, also after a takeover */
	uint64_t opened_count;	    /* for the id of the latest session */
	uint64_t now_ms;	    /* CLOCK_MONOTONIC of this tick */
	struct session_queue small; /* ready sessions: all of them run in each tick */
	struct session_queue bulk;  /* ready sessions: they run slice by slice (session_ready.c) */
	struct session *chatty_first; /* the sessions with a watch on a lane's read side */
	struct timer quiet_timer;     /* armed while chatty_first is not NULL */
	struct reserve reserve;	      /* accepting continues while the reserve is not used */
	bool ending;		      /* sessions_begin_end() was called */
	uint8_t end_reason;	      /* enum close_reason, while ending */
	uint32_t end_slot;	      /* the next slot to be ended */
	bool released; /* a session has ended since the worker last looked: there is room */
	bool starved;  /* there was no descriptor for a backend's socket: accepting should pause */
};

/* Making --------------------------------------------------------------------------------------- */

/*
 * Makes room for `slot_count` sessions, at most ENGINE_SLOT_LIMIT, and for their bandwidth limits
 * if a forward has a limit. The memory becomes resident when sessions use it. Set `config` before
 * the call, and the other members before the first session. Returns 0 or -ENOMEM; call
 * sessions_finish() after an error too.
 */
int sessions_init(struct sessions *sessions, uint32_t slot_count);

/* Prepares for about `count` sessions that will come at once: session_read(). */
void sessions_expect(struct sessions *sessions, uint32_t count);

/* There must be no session left. */
void sessions_finish(struct sessions *sessions);

/* How many bytes of sixpipe's own memory a session takes. */
unsigned session_bytes(void);

/* Running -------------------------------------------------------------------------------------- */

/*
 * Opens a session for `client_fd`, and owns the descriptor from here on. Call tenancy_begin() and
 * load_admit() for the connection before; the session's end gives back what these counted. The
 * table has a slot for every connection that load_admit() admits.
 */
void session_open(struct sessions *sessions, struct forward *forward, int client_fd);

/* Takes an event whose token names a session (ENGINE_OP_CONNECT, ENGINE_OP_READY). */
void sessions_on_event(struct sessions *sessions, const struct engine_event *event);

/* Takes a due timer of a kind that session_private.h names. */
void sessions_on_timer(struct sessions *sessions, struct timer *timer);

/*
 * Runs each ready small session once, and then bulk sessions until an event arrives or the slices
 * of a tick have run: session_ready.c. Some sessions may be ready again afterwards.
 */
void sessions_run_ready(struct sessions *sessions);

/* Whether any session is ready to run. */
bool sessions_are_ready(const struct sessions *sessions);

/*
 * Ends a session at once, even if it already closes and only waits for the delivery of bytes. The
 * rule of `reason` must be RST. When this returns, the session may be over.
 */
void session_end(struct sessions *sessions, struct session *session, enum close_reason reason);

/*
 * From here on every session ends with `reason`, whose rule must be RST: new sessions at once,
 * existing sessions in sessions_end_some(). A second call sets another reason for the sessions that
 * are left.
 */
void sessions_begin_end(struct sessions *sessions, enum close_reason reason);

/*
 * Ends the sessions in the next SESSION_END_SLOTS slots of the table; ending 100,000 sessions at
 * once would hold up a tick. A session with requests in flight closes when they are answered.
 * Returns sessions_are_ending().
 */
#define SESSION_END_SLOTS 64
bool sessions_end_some(struct sessions *sessions);

/* Whether sessions_end_some() has slots left to end. */
bool sessions_are_ending(const struct sessions *sessions);

/* Moving sessions to another process: session_move.c ------------------------------------------- */

/*
 * Cancels the connects in flight, because only one process may take their answer. Returns how many
 * are not answered yet: take the events, and call it again, until it returns 0. The sessions must
 * not run meanwhile. When they run, the connects go on.
 */
unsigned sessions_hold_connects(struct sessions *sessions);

/*
 * Writes a CARRIER_SESSION record for each session of a forward that `moves`, by index. Between two
 * ticks, with no connect in flight. Any thread, while the worker stands still.
 */
void sessions_write(struct sessions *sessions, struct carrier *carrier, const bool *moves);

/*
 * Takes such a record, without its first value, the worker. The session is ready to run, or sleeps:
 * session_wake(). For the main thread, while the worker does not run; `now_ms` and the wheel must
 * be of the present. Returns 0; -ENOSPC: all slots are in use; -EBADMSG: the record makes no sense;
 * -EOPNOTSUPP: the session has bytes in a pipe, and this process may not splice; or -errno of
 * tenancy_read().
 */
int session_read(struct sessions *sessions, struct carrier *carrier);

/*
 * Makes a session ready that session_read() has left asleep, because no byte has moved for a while:
 * so idle sessions do not delay busy ones. Returns whether it slept.
 */
bool session_wake(struct sessions *sessions, struct session *session);

/* For the worker: another process has all sessions of the forwards that `moves`. */
void sessions_leave(struct sessions *sessions, const bool *moves);

/* For a worker that never started: closes all that session_read() has made. */
void sessions_drop(struct sessions *sessions);

/* Looking at sessions -------------------------------------------------------------------------- */

/* The number of sessions. */
uint32_t sessions_count(const struct sessions *sessions);

/* The session in `slot`, or NULL. No slot from sessions_slot_end() on has ever been used. */
struct session *sessions_at(struct sessions *sessions, uint32_t slot);
uint32_t sessions_slot_end(const struct sessions *sessions);

/* Whether the client is known. With --accept-proxy: whether the PROXY header has come. */
bool session_knows_client(const struct session *session);

/* The client, and the source address towards the backend; each may still be empty. */
const struct addr *session_client(const struct session *session);
const struct addr *session_source(const struct session *session);

/* The forward of the session, and whether it must end at once: tenancy_must_end(). */
const struct forward *session_forward(const struct session *session);
bool session_must_end(const struct session *session, enum close_reason *reason);

/*
 * Whether the session has a backend with this address, and, unless `group` is -1, with this number
 * in its forward.
 */
bool session_has_backend(const struct session *session, const struct addr *address, int group);

/* "0011223344556677-18446744073709551615" and NUL, rounded up. */
#define SESSION_ID_TEXT_BYTES 48

/* Prints an id that no other session has, of this process or another; returns `text`. */
const char *session_id_print(uint64_t boot_id, uint64_t id, char text[SESSION_ID_TEXT_BYTES]);

/* Reads such an id from the whole of `text`. */
bool session_id_parse(const char *text, uint64_t *boot_id, uint64_t *id);

/*
 * Fills in the record of a session, for the history and for `sixpipe who`. For a closing session
 * `reason` is set and `closed_ms` is the present time; for others `closed_ms` is 0.
 */
void session_describe(const struct sessions *sessions, const struct session *session,
		      struct session_record *record);

/*
 * With --source embedded: the IPv4 address inside the client's address, in its IPv4-mapped form.
 * Backends see the client with this address. False: there is none.
 */
bool session_embedded_client(const struct session *session, struct in6_addr *mapped);
