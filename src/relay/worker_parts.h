/* SPDX-License-Identifier: MIT */
/* The members of workers. For worker*.c only. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "relay/listener.h"
#include "relay/pulse.h"
#include "relay/query.h"
#include "relay/session.h"
#include "relay/sweep.h"
#include "relay/worker.h"

struct worker {
	struct workers *workers;
	pthread_t thread;
	struct sessions sessions;
	struct listeners listeners;
	struct timer_wheel wheel;
	struct metrics metrics;
	struct sweep sweep;
	enum worker_phase phase; /* WORKER_START: on the way to WORKER_HOLD */
	atomic_int entered;	 /* the same, when it was entered, for the main thread */
	bool leaves;		 /* workers_leave() was called; not seen yet */
	bool resume;		 /* call listeners_resume() at the end of the tick */
	bool asked;		 /* there is more to do for a question: do not wait */
	atomic_bool swept;	 /* no session sleeps: sweep.h */
	atomic_int error;	 /* 0, or the -errno that ended the worker */
};

struct workers {
	struct worker *list;
	struct engine **engines;
	unsigned engine_count;
	int refusal;	    /* workers_engine_refusal() */
	int splice_refusal; /* workers_splice_refusal() */
	unsigned count;
	unsigned started_count;
	struct forwards *forwards;
	struct bans *bans;	 /* NULL without --admin; the caller's */
	struct queries *queries; /* NULL without --admin; the caller's */
	struct pulse *pulse;	 /* NULL without workers_make_pulse() */
	struct load load;
	atomic_int phase;
	pthread_mutex_t still; /* protects changes of `phase`, for workers that stand still */
	pthread_cond_t thaw;
	bool moved[CONFIG_FORWARD_LIMIT]; /* workers_leave() */
	uint64_t boot_id;
	/* of a process that takes over */
	bool incomplete;       /* workers_complete() is still to be called */
	unsigned pipes_wanted; /* for each worker */
	uint32_t pipe_bytes;
	unsigned old_count;	      /* workers of the other process */
	uint64_t read_count;	      /* sessions that have come */
	uint64_t history_count;	      /* ended sessions that have come */
	_Atomic uint32_t sweep_count; /* of the sweeps that all workers were told of */
	atomic_uint up_count;
	atomic_uint ended_count;
	int event_fd; /* workers_end_fd(): eventfd(2) */
};

/* Between worker.c and worker_move.c ----------------------------------------------------------- */

void worker_wake_main(struct workers *workers);

/* Waits for events, as engine_wait(), and takes them: no session runs. Returns 0 or -errno. */
int worker_take_events(struct worker *worker, int64_t timeout_ms);

/* Answers a part of the control thread's question, if there is one. */
void worker_work_on_query(struct worker *worker);

/* Before the first tick: stands still during WORKER_FREEZE. */
void worker_begin_still(struct worker *worker);

/* WORKER_HOLD: stops accepting. Call it in each tick, until the worker has entered this phase. */
void worker_hold(struct worker *worker);

/* WORKER_FREEZE: stands still. Returns the phase that ends it. */
enum worker_phase worker_freeze(struct worker *worker);
