/* What workers are made of. For worker*.c alone. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "relay/listener.h"
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
	bool resume;	  /* accepting may go on */
	bool asked;	  /* a question is being worked on */
	atomic_int error; /* -errno that ended it */
};

struct workers {
	struct worker *list;
	struct engine **engines;
	unsigned engine_count;
	int refusal; /* why there is no io_uring: -errno, 0 where there is or none was asked for */
	int splice_refusal; /* 0, or why splice(2) cannot be called: -errno; then there are no pipes */
	unsigned count;
	unsigned started_count;
	struct forwards *forwards;
	struct bans *bans; /* these two are NULL without --admin, and not ours */
	struct queries *queries;
	struct load load;
	atomic_int phase;
	atomic_uint up_count;
	atomic_uint ended_count;
	int event_fd; /* counts workers that came up or ended */
};
