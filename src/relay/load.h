/* SPDX-License-Identifier: MIT */
/*
 * Counts the sessions of the process and of each worker. Enforces --maxconn, and chooses the worker
 * for a new connection. Shared by all workers; atomics, no lock.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/util.h"

#define LOAD_RETIRED (1U << 31) /* more than a worker can have: never chosen */

struct load_worker {
	/* sessions admitted for this worker: open, or on the way from another worker */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint32_t sessions;
	/* the worker holds a connection back until a session of any worker ends */
	atomic_bool waits;
};

struct load {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint32_t sessions;
	uint32_t limit;
	uint32_t crowd;
	unsigned worker_count;
	struct load_worker *workers;
};

/*
 * `limit`: the most sessions at a time; `crowd`: load_is_crowded() is true from this number on.
 * Returns 0 or -ENOMEM.
 */
int load_init(struct load *load, uint32_t limit, uint32_t crowd, unsigned worker_count);
void load_finish(struct load *load);

/* Whether there are so many sessions that their socket buffers should be smaller. */
bool load_is_crowded(const struct load *load);

/* The sessions that are admitted now, and how many more may be. */
uint32_t load_count(const struct load *load);
uint32_t load_room(const struct load *load);

/* The sessions that are admitted for a worker: open, or on the way from another worker. */
uint32_t load_worker_count(const struct load *load, unsigned worker);

/*
 * Admits a connection that worker `own` accepted, and chooses its worker: `own`, or the worker with
 * the fewest sessions if `own` has at least two more. Returns the worker, or -1 if the limit is
 * reached. The caller gives each admission back with load_release().
 */
int load_admit(struct load *load, unsigned own);
void load_release(struct load *load, unsigned worker);

/* Like load_admit(), but the worker is always `own`. */
int load_admit_here(struct load *load, unsigned own);

/* Admits a session of another process for `worker`, also beyond the limit. */
void load_resume(struct load *load, unsigned worker);

/*
 * Moves an admission from worker `from` to worker `to`, because its connection did not reach
 * `from`. The caller wakes `from` unless `from` has retired: in a drain, `from` may be waiting only
 * for the end of this admission (load_retire()).
 */
void load_move(struct load *load, unsigned from, unsigned to);

/*
 * For a worker that wants to end. False: the worker has admissions. True: it has none, and
 * load_admit() will not choose it again.
 */
bool load_retire(struct load *load, unsigned worker);

/*
 * load_wait() notes that a worker waits for a session to end. load_take_waiting() returns a waiting
 * worker, which waits no longer, or -1.
 */
void load_wait(struct load *load, unsigned worker);
int load_take_waiting(struct load *load);
