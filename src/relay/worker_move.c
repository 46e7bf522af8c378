/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. To move its sessions to another process, the main thread makes all workers
 * stand still, in two steps:
 *
 * 1. WORKER_HOLD: each worker cancels its accepts, and waits until their last answers have come and
 *    no connection is on its way to another worker. Sessions run as ever.
 * 2. WORKER_FREEZE, when all workers have come so far: so nothing more is sent to any worker. Each
 *    worker waits until the connections that were on their way to it have arrived, and until the
 *    connects in flight are cancelled (session_move.c). Then it sleeps.
 *
 * Each worker publishes the phase that it has entered. The main thread reads the workers' memory
 * only after all have entered WORKER_FREEZE, and the workers go on only after the main thread has
 * set another phase, so neither needs a lock for it: `entered` and `phase` order their accesses.
 *
 * No request of a relaying session is cancelled before it is sure that the session moves: to wait
 * for a socket takes nothing out of it. So a takeover that fails costs the sessions nothing.
 */
#include "relay/worker_parts.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"

/* A worker ------------------------------------------------------------------------------------- */

void worker_hold(struct worker *worker)
{
	struct listeners *listeners = &worker->listeners;

	if (listeners->state == LISTENERS_OPEN) {
		listeners_hold(listeners);
		worker->phase = WORKER_START;
	}
	worker_work_on_query(worker);
	if (worker->asked || !listeners_are_held(listeners))
		return;
	worker->phase = WORKER_HOLD;
	atomic_store(&worker->entered, WORKER_HOLD);
	worker_wake_main(worker->workers);
}

/* Whether a connection is on its way to this worker, or a connect is not answered. */
static bool is_moving(struct worker *worker)
{
	const struct load *load = &worker->workers->load;

	return load_worker_count(load, worker->sessions.worker) !=
		       sessions_count(&worker->sessions) ||
	       sessions_hold_connects(&worker->sessions);
}

static bool is_freezing(const struct workers *workers)
{
	return atomic_load(&workers->phase) == WORKER_FREEZE;
}

static void stand_still(struct worker *worker)
{
	struct workers *workers = worker->workers;

	pthread_mutex_lock(&workers->still);
	atomic_store(&worker->entered, WORKER_FREEZE);
	worker_wake_main(workers);
	while (is_freezing(workers))
		pthread_cond_wait(&workers->thaw, &workers->still);
	pthread_mutex_unlock(&workers->still);
	worker->sessions.now_ms = timer_now_ms();
	timer_wheel_advance(&worker->wheel, worker->sessions.now_ms);
}

void worker_begin_still(struct worker *worker)
{
	if (is_freezing(worker->workers))
		stand_still(worker);
}

static void leave(struct worker *worker)
{
	const bool *moved = worker->workers->moved;
	struct sessions *sessions = &worker->sessions;

	worker->leaves = false;
	listeners_leave(&worker->listeners, moved);
	/* the other process has these pipes too: two users would mix up their bytes */
	if (sessions->pump.pipes)
		pipe_pool_close_free(sessions->pump.pipes);
	sessions_leave(sessions, moved);
}

enum worker_phase worker_freeze(struct worker *worker)
{
	struct workers *workers = worker->workers;

	while (is_freezing(workers) && is_moving(worker))
		/* the next tick fails in the same way, and ends the worker */
		if (worker_take_events(worker, -1))
			return worker->phase;
	if (is_freezing(workers))
		stand_still(worker);
	if (worker->leaves)
		leave(worker);
	return (enum worker_phase)atomic_load(&workers->phase);
}

/* The main thread: standing still -------------------------------------------------------------- */

static bool has_entered(const struct worker *worker, enum worker_phase phase)
{
	return atomic_load(&worker->entered) == (int)phase;
}

static bool has_swept(const struct worker *worker, enum worker_phase unused)
{
	(void)unused;
	return atomic_load(&worker->swept);
}

typedef bool worker_state(const struct worker *worker, enum worker_phase phase);

static bool are_all(const struct workers *workers, worker_state *is_so, enum worker_phase phase)
{
	for (unsigned i = 0; i < workers->count; i++)
		if (!is_so(&workers->list[i], phase))
			return false;
	return true;
}

/* Waits until a state holds for all workers. Returns 0 or -errno. */
static int await(struct workers *workers, worker_state *is_so, enum worker_phase phase,
		 uint64_t due_ms)
{
	struct pollfd polled = {.fd = workers->event_fd, .events = POLLIN};
	uint64_t wakes;

	while (!are_all(workers, is_so, phase)) {
		uint64_t now_ms = timer_now_ms();

		if (atomic_load(&workers->ended_count))
			return workers_error(workers) ? workers_error(workers) : -EBUSY;
		if (now_ms >= due_ms)
			return -ETIMEDOUT;
		if (poll(&polled, 1, (int)MIN(due_ms - now_ms, INT32_MAX)) > 0 &&
		    read(workers->event_fd, &wakes, sizeof(wakes)) < 0 && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

void workers_await_sessions(struct workers *workers, uint64_t due_ms)
{
	(void)await(workers, has_swept, WORKER_SERVE, due_ms);
	/* the event that was read here may have been for the control loop */
	worker_wake_main(workers);
}

int workers_freeze(struct workers *workers, uint64_t due_ms)
{
	int result;

	if (atomic_load(&workers->phase) != WORKER_SERVE || workers_error(workers))
		return -EBUSY;
	/* a worker may still be on its way back from a freeze that failed */
	result = await(workers, has_entered, WORKER_SERVE, due_ms);
	if (!result) {
		workers_enter(workers, WORKER_HOLD);
		result = await(workers, has_entered, WORKER_HOLD, due_ms);
	}
	if (!result) {
		workers_enter(workers, WORKER_FREEZE);
		result = await(workers, has_entered, WORKER_FREEZE, due_ms);
	}
	if (result)
		workers_thaw(workers);
	/* the event that was read here may have been for the control loop */
	worker_wake_main(workers);
	return result;
}

void workers_thaw(struct workers *workers)
{
	workers_enter(workers, WORKER_SERVE);
}

void workers_leave(struct workers *workers, const bool *moves)
{
	CHECK(atomic_load(&workers->phase) == WORKER_FREEZE);
	memcpy(workers->moved, moves, workers->forwards->count * sizeof(*moves));
	for (unsigned i = 0; i < workers->count; i++)
		workers->list[i].leaves = true;
	workers_enter(workers, WORKER_DRAIN);
}
