/*
 * How many sessions there are, in the whole process and per worker: the limit of --maxconn and the
 * choice of the worker for a new connection. Shared by all workers; relaxed atomics, no lock.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/util.h"

#define LOAD_RETIRED (1U << 31) /* more sessions than any worker can have: never the least loaded */

struct load_worker {
	/* admitted for it, opened or on their way */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint32_t sessions;
	/* it holds back a connection until a session ends anywhere */
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
 * `limit`: sessions at a time; `crowd`: so many are a crowd, and more care is taken of memory.
 * Returns 0 or -ENOMEM.
 */
int load_init(struct load *load, uint32_t limit, uint32_t crowd, unsigned worker_count);
void load_finish(struct load *load);

bool load_is_crowded(const struct load *load);

/* Sessions that may still be admitted. */
uint32_t load_room(const struct load *load);

/*
 * Admits one connection accepted by worker `own` and chooses its worker: `own`, unless that has two
 * more than the least loaded one. Returns the worker, or -1 when the limit is reached. Each
 * admission must be given back with load_release().
 */
int load_admit(struct load *load, unsigned own);
void load_release(struct load *load, unsigned worker);

/* As load_admit(), with no choice but `own`. */
int load_admit_here(struct load *load, unsigned own);

/*
 * Moves an admission that did not reach worker `from`. The caller wakes worker `from` unless it has retired: in a
 * drain it may be waiting for this admission alone (load_retire()).
 */
void load_move(struct load *load, unsigned from, unsigned to);

/*
 * A worker that wants to end takes itself out of the choice. False while sessions are admitted for
 * it; once true, none ever will be.
 */
bool load_retire(struct load *load, unsigned worker);

/* A worker says that it waits for room; load_take_waiting() tells one that waits, and forgets it. */
void load_wait(struct load *load, unsigned worker);
int load_take_waiting(struct load *load);
