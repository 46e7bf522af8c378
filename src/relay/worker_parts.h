/* SPDX-License-Identifier: MIT */
/* The members of workers. For worker*.c only. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "relay/listener.h"
#include "relay/pulse.h"
#include "relay/query.h"
#include "relay/session.h"
#include "relay/worker.h"

struct worker {
	struct workers *workers;
	pthread_t thread;
	struct sessions sessions;
	struct listeners listeners;
	struct timer_wheel wheel;
	struct metrics metrics;
	enum worker_phase phase;
	bool resume;	  /* call listeners_resume() at the end of the tick */
	bool asked;	  /* there is more to do for a question: do not wait */
	atomic_int error; /* 0, or the -errno that ended the worker */
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
	atomic_uint up_count;
	atomic_uint ended_count;
	int event_fd; /* workers_end_fd(): eventfd(2) */
};
