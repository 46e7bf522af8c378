/* SPDX-License-Identifier: MIT */
/*
 * Workers: each has a thread, an engine, pipes, sessions and listening sockets of its own. The main
 * thread creates them before the privilege drop, and starts the threads after it.
 */
#pragma once

#include "config/capacity.h"
#include "config/config.h"
#include "forward/forward.h"
#include "os/carrier.h"
#include "relay/query.h"
#include "stats/metrics.h"

enum worker_phase {
	WORKER_START, /* until all workers are up and can be handed connections */
	WORKER_SERVE,
	WORKER_HOLD,   /* no new connections, for workers_freeze() */
	WORKER_FREEZE, /* the workers stand still */
	WORKER_DRAIN,  /* no new connections; sessions finish */
	WORKER_EXPIRE, /* the time for the drain is over: reset the sessions that are left */
	WORKER_STOP,   /* reset all sessions now */
};

struct workers;

/* The configuration and the forwards must outlive the workers. */
struct workers_setup {
	const struct config *config;
	const struct capacity *limits;
	struct forwards *forwards; /* with admission and source addresses */
};

/*
 * Creates the workers and the upstreams of the forwards, and binds the listeners last:
 * forwards_open(). `errors` must be empty. Returns 0 and the workers, or -errno and adds to
 * `errors` what failed, why, and the remedy.
 */
int workers_create(struct workers **workers, const struct workers_setup *setup,
		   struct config_errors *errors);
void workers_destroy(struct workers *workers);

/*
 * Before the start: makes the workers refuse the clients in `bans`, keep a history of their
 * sessions, and answer `queries`, which this creates. The caller owns both, and destroys them after
 * the workers have ended. Returns 0 or -ENOMEM.
 */
int workers_attach(struct workers *workers, struct bans *bans, struct queries **queries);

/*
 * Starts the threads. workers_start() returns when all serve: 0, or -errno with no thread left.
 *
 * In a takeover there are two steps, so that nothing can fail after the sessions have come, and
 * little is left to do. workers_start_still(): the threads stand still (WORKER_FREEZE), and the
 * main thread may work on what belongs to the workers. Returns 0, or -errno: then the process can
 * only _exit(2), because to stop the threads would take clients from the sockets that the old
 * process uses. workers_serve(), after workers_complete() and CARRIER_COMMIT: tunes the inherited
 * listening sockets, and the workers go on. workers_await_sessions() returns when all sessions of
 * the old process have run, at the latest at `due_ms` (CLOCK_MONOTONIC).
 */
int workers_start(struct workers *workers);
int workers_start_still(struct workers *workers);
void workers_serve(struct workers *workers);
void workers_await_sessions(struct workers *workers, uint64_t due_ms);

/* Moves all workers on to a later phase; thaws them if they are frozen. */
void workers_enter(struct workers *workers, enum worker_phase phase);

/*
 * Moving to another process: worker_move.c. All of it is for the main thread.
 *
 * workers_freeze() makes all workers stand still between two ticks. Clients wait in the backlogs, no
 * connect is in flight, and questions (query.h) are answered; ask none until the thaw. The calling
 * thread may then read what belongs to the workers. Returns 0; -EBUSY unless all workers serve;
 * -ETIMEDOUT from `due_ms` (CLOCK_MONOTONIC) on; or the -errno with which a worker has ended. After
 * an error no worker is frozen. workers_thaw() makes all of them go on as before.
 */
int workers_freeze(struct workers *workers, uint64_t due_ms);
void workers_thaw(struct workers *workers);

/*
 * While the workers are frozen: writes counters, history, connections that wait for a session,
 * sessions and free pipes as records of these kinds. `moves`: by index, the forwards whose
 * connections and sessions are written.
 */
void workers_write(const struct workers *workers, struct carrier *carrier, const bool *moves);

/* Only the free pipes, for a process that cannot read the rest. */
void workers_write_pipes(const struct workers *workers, struct carrier *carrier);

/*
 * While the workers are frozen, after the other process has got all that workers_write() wrote and
 * forwards_give_away(): forgets it, closes the listening sockets that were given away without a
 * look at their backlogs, and makes the workers drain the rest: WORKER_DRAIN. Their bytes are
 * copied, because the pipes moved.
 */
void workers_leave(struct workers *workers, const bool *moves);

/*
 * Before the start, or after workers_start_still(): takes one record that workers_write() of the
 * other process has written. Returns 0; -ENOTSUP: it is of another kind; -EBADMSG: it makes no
 * sense; or -errno of session_read(). workers_complete() makes the pipes that did not come; call it
 * in any process that inherits, after the last record. Returns 0 or -errno: pipe(2).
 * workers_start() calls it if nobody has.
 */
int workers_read(struct workers *workers, struct carrier *carrier, enum carrier_kind kind);
int workers_complete(struct workers *workers);

/* For the greeting of the next process: inherited.h. */
uint64_t workers_boot_id(const struct workers *workers);
uint32_t workers_slot_count(const struct workers *workers);

/* Wakes all workers, so that they see a new question (query.h). */
void workers_wake(struct workers *workers);

/*
 * Whether the workers turn (pulse.h). workers_make_pulse(): before the start; returns 0 or -ENOMEM.
 * workers_ask_pulse() asks each worker for an answer in its next tick; to get answers of idle
 * workers too, wake them. workers_silent_count(): the running workers that have not answered; 0
 * while they are frozen.
 */
int workers_make_pulse(struct workers *workers);
void workers_ask_pulse(struct workers *workers);
unsigned workers_silent_count(const struct workers *workers);

/* A descriptor that is readable (poll(2)) when a worker has ended or has answered a question. */
int workers_end_fd(const struct workers *workers);

/* The number of workers that run; and the first -errno that ended a worker, 0 if there is none. */
unsigned workers_running_count(const struct workers *workers);
int workers_error(const struct workers *workers);

/* Waits for all threads, which must have been told to end. */
void workers_join(struct workers *workers);

/*
 * The index of a forward whose listener has failed (METRIC_listeners_failed); -1: none. Any thread
 * may call it.
 */
int workers_failed_listener(const struct workers *workers);

/*
 * Writes a record of every listening socket for the process that takes over (os/inherited.h). Not
 * after workers_enter() of WORKER_DRAIN or later.
 */
void workers_write_sockets(const struct workers *workers, struct carrier *carrier);

/* The forwards that the workers were created for. */
struct forwards *workers_forwards(const struct workers *workers);

/* Sums over all workers, at any time. For the control thread. */
uint64_t workers_metric(const struct workers *workers, enum metric metric);
void workers_count_forward(const struct workers *workers, unsigned forward,
			   struct metrics_of_forward *sum);

/* The most sessions at a time. */
uint32_t workers_session_limit(const struct workers *workers);
uint64_t workers_closed_count(const struct workers *workers, enum close_reason reason);

/* The pipes of all workers. All zeros if splice(2) is refused. */
struct workers_pipes {
	unsigned count;
	unsigned free_count;
	uint32_t smallest_bytes; /* the size of the smallest pipe */
};

/* Only while no worker runs. */
struct workers_pipes workers_pipes(const struct workers *workers);

/* An engine to ask for its name and features: all workers have the same kind. */
const struct engine *workers_first_engine(const struct workers *workers);

/*
 * 0, or the -errno with which splice(2) was refused: pump_try_splice(). Then there are no pipes,
 * and all bytes are copied.
 */
int workers_splice_refusal(const struct workers *workers);

/* 0, or the -errno with which io_uring was refused, so that --engine auto has chosen epoll. */
int workers_engine_refusal(const struct workers *workers);
