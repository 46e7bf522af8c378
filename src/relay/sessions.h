/*
 * What the files of the session layer share: the sessions of one worker, what they work with, and
 * what is known of each. Nothing here changes a session.
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
#include "relay/session_table.h"
#include "stats/close_reason.h"
#include "stats/history.h"
#include "stats/metrics.h"

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

/* What is set for the session's forward. */
static inline const struct config_forward_options *session_options(const struct session *session)
{
	return &session->tenancy.forward->config->options;
}

/* What the pump moves a lane's bytes by. */
static inline struct pump_flow session_flow(struct session *session, unsigned lane)
{
	return (struct pump_flow){
		.lane = &session->lane[lane],
		.pipe = &session->pipe[lane],
		.read_fd = session->fd[lane],
		.write_fd = session->fd[!lane],
	};
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
bool session_embedded_client(const struct session *session, struct in6_addr *mapped);

/* Makes a queue empty. */
void session_queue_init(struct session_queue *queue);

/* Makes the queues of ready sessions; the other members are the caller's to fill in. */
void sessions_init(struct sessions *sessions);
