/*
 * Sessions: a client, its backend and the two lanes between them, from accept to close. session*.c
 * alone opens, closes or owns a session's descriptors and pipes.
 *
 *	session_open -> (PROXY header) -> connect -> relay -> session_close
 *
 * A session ends in one place, with one reason (close_reasons.def).
 */
#pragma once

#include <stdint.h>

#include "admission.h"
#include "bans.h"
#include "close_reason.h"
#include "config.h"
#include "engine.h"
#include "history.h"
#include "load.h"
#include "metrics.h"
#include "pump.h"
#include "session_table.h"
#include "sources.h"
#include "timer.h"
#include "upstream.h"

/* The sessions of one worker and what they work with; every pointer is the worker's. */
struct sessions {
	const struct config *config;
	struct engine *engine;
	struct session_table *table;
	struct timer_wheel *wheel;
	struct upstream *upstream;
	struct sources *sources;
	struct admission *admission;
	struct session_paces *paces; /* NULL: no forward has a limit on bandwidth */
	struct load *load;
	struct metrics *metrics;
	const struct bans *bans; /* NULL: nobody is refused; shared with the control thread */
	struct history *history; /* NULL: what ends is forgotten */
	struct pump pump;
	unsigned worker;
	uint64_t boot_id;	     /* of this worker, random */
	uint64_t opened_count;	     /* the number of the latest session */
	uint64_t now_ms;	     /* CLOCK_MONOTONIC of this tick */
	struct session *ready_first; /* each is run once per tick; NULL: none is ready */
	struct session **ready_last;
	struct session *chatty_first; /* those with a watch on a lane's source */
	struct timer quiet_timer;     /* while there are any */
	bool released; /* a session ended since the worker last looked: there is room */
	bool starved;  /* a backend's socket could not be had for want of descriptors: accepting
			  should pause */
};

/* What is set for the session's forward. */
static inline const struct forward_options *session_options(const struct sessions *sessions,
							    const struct session *session)
{
	return &sessions->config->forwards[session->forward].options;
}

/* timer.kind of a session's timer, of the one for all that are chatty, and of its pace's. */
#define SESSION_TIMER	    1
#define SESSION_QUIET_TIMER 3
#define SESSION_PACE_TIMER  4

/* "0011223344556677-18446744073709551615" and NUL, rounded up. */
#define SESSION_ID_TEXT_BYTES 48

/* Prints what no other session has, of this process or another; returns `text`. */
const char *session_print_id(const struct sessions *sessions, const struct session *session,
			     char text[SESSION_ID_TEXT_BYTES]);

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
bool session_embedded_client(const struct sessions *sessions, const struct session *session,
			     struct in6_addr *mapped);

/*
 * Makes room for the bandwidth limits of as many sessions as the table has, unless no forward has a
 * limit: NULL then. Returns 0 or -ENOMEM.
 */
int session_paces_create(struct session_paces **paces, const struct config *config,
			 uint32_t slot_count);
/* NULL is allowed. */
void session_paces_destroy(struct session_paces *paces);

/* Sets the ready list; the other members are the caller's to fill in. */
void sessions_init(struct sessions *sessions);

/*
 * Opens a session for `client_fd`, which becomes the session's; it must have been admitted to this
 * worker by load_admit(), which the session's end gives back. There is a slot: the table is sized
 * for the load.
 */
void session_open(struct sessions *sessions, unsigned forward, int client_fd);

/* Takes an event whose token names a session (ENGINE_OP_CONNECT, ENGINE_OP_READY). */
void sessions_on_event(struct sessions *sessions, const struct engine_event *event);

/* Takes a timer of one of these kinds that is due. */
void sessions_on_timer(struct sessions *sessions, struct timer *timer);

/* Runs each ready session once, within the byte budget. Some may be ready again afterwards. */
void sessions_run_ready(struct sessions *sessions);

/*
 * Ends a session at once with `reason`, one of those whose rule is RST, even if it only waits for
 * bytes to arrive. It may be over when this returns.
 */
void session_end(struct sessions *sessions, struct session *session, enum close_reason reason);

/* Does that to every session. */
void sessions_close_all(struct sessions *sessions, enum close_reason reason);
