/* SPDX-License-Identifier: MIT */
/* Creates and destroys the workers: worker.h. */
#include "relay/worker_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/check.h"
#include "base/memory.h"
#include "config/config_origin.h"

/* Chooses what makes the ids of sessions unique, or goes on with that of the process before. */
static int choose_boot_id(struct workers *workers, const struct inherited *inherited,
			  struct fault *fault)
{
	int result;

	/* without its sessions, that process goes on to use its own */
	if (inherited && !inherited->listeners_only) {
		workers->boot_id = inherited->boot_id;
		return 0;
	}
	if (getrandom(&workers->boot_id, sizeof(workers->boot_id), 0) == sizeof(workers->boot_id))
		return 0;
	result = errno ? -errno : -EIO;
	fault_set(fault, NULL, NULL,
		  "no random number for the ids of sessions: getrandom(2): %s; allow it in the "
		  "seccomp profile",
		  strerror(-result));
	return result;
}

static int make_worker(struct workers *workers, unsigned index, const struct workers_setup *setup,
		       struct fault *fault)
{
	const struct inherited *inherited = setup->config->inherited;
	/* a limit that is lower than that of the process before ends no session */
	uint32_t maxconn = MAX(setup->limits->maxconn, inherited ? inherited->old_maxconn : 0);
	struct worker *worker = &workers->list[index];
	struct sessions *sessions = &worker->sessions;
	int result;

	worker->workers = workers;
	sessions->config = setup->config;
	sessions->wheel = &worker->wheel;
	sessions->forwards = workers->forwards;
	sessions->load = &workers->load;
	sessions->metrics = &worker->metrics;
	sessions->worker = index;
	sessions->pump.metrics = &worker->metrics;
	sessions->boot_id = workers->boot_id;
	timer_wheel_init(&worker->wheel, timer_now_ms());
	sessions->pump.scratch = malloc(PUMP_SCRATCH_BYTES);
	result = sessions->pump.scratch ? 0 : -ENOMEM;
	if (!result)
		/* a worker can get all sessions if the others have ended; unused slots cost nothing */
		result = sessions_init(sessions, maxconn);
	if (result) {
		fault_set(fault, NULL, NULL, "no memory for %u sessions: %s; lower --maxconn",
			  maxconn, strerror(-result));
		return result;
	}
	atomic_init(&worker->swept, !inherited || inherited->listeners_only);
	if (!worker->swept) {
		sessions_expect(sessions, inherited->old_sessions / workers->count);
		sweep_wake(&worker->sweep);
	}
	sessions->engine = workers->engines[index];
	(void)reserve_keep(&sessions->reserve);
	return 0;
}

static void set_shortage(struct fault *fault, const char *what, unsigned worker_count, int error)
{
	fault_set(fault, NULL, NULL,
		  "cannot make %s for each of %u workers: %s; raise the descriptor limit "
		  "(ulimit -n), or lower --workers",
		  what, worker_count, strerror(-error));
}

/* Creates the pipes of all workers together, because they share the user's budget: pipe(7). */
static int make_pipes(struct workers *workers, const struct config *config,
		      const struct capacity *limits, struct fault *fault)
{
	struct pipe_pool *pools[CONFIG_WORKER_LIMIT];
	int result;

	workers->pipes_wanted = limits->pipes_per_worker;
	workers->pipe_bytes = (uint32_t)config->pipe_bytes;
	if (workers->splice_refusal)
		return 0;
	workers->incomplete = config->inherited != NULL;
	if (workers->incomplete)
		result = pipe_pools_create_empty(pools, workers->count);
	else
		result = pipe_pools_create(pools, workers->count, limits->pipes_per_worker,
					   (uint32_t)config->pipe_bytes);
	if (result) {
		set_shortage(fault, "a pipe", workers->count, result);
		return result;
	}
	for (unsigned i = 0; i < workers->count; i++)
		workers->list[i].sessions.pump.pipes = pools[i];
	return 0;
}

static int make_engines(struct workers *workers, const struct config *config, struct fault *fault)
{
	enum engine_kind kind = (enum engine_kind)config->engine;
	int result;

	workers->engines = calloc(workers->count, sizeof(struct engine *));
	if (!workers->engines)
		return -ENOMEM;
	result = engines_create(kind, workers->engines, workers->count, &workers->refusal);
	if (!result) {
		workers->engine_count = workers->count;
	} else if (kind == ENGINE_IO_URING && engine_is_missing(result)) {
		fault_set(fault, "engine", "io_uring",
			  "%s; it needs Linux 5.19 or newer, kernel.io_uring_disabled = 0, and a "
			  "seccomp profile that allows it (containers forbid it by default); or "
			  "give --engine auto",
			  strerror(-result));
	} else {
		set_shortage(fault, "an engine", workers->count, result);
	}
	return result;
}

static int bind_workers(struct workers *workers, struct config_errors *errors)
{
	struct forward_sockets sockets;
	int result = forwards_open(workers->forwards, workers->count, &sockets, errors);

	for (unsigned i = 0; i < workers->count && !result; i++)
		result = listeners_init(&workers->list[i].listeners, &sockets,
					&workers->list[i].sessions, workers->engines);
	free(sockets.list);
	return result;
}

int workers_create(struct workers **workers, const struct workers_setup *setup,
		   struct config_errors *errors)
{
	struct fault fault;
	const struct capacity *limits = setup->limits;
	struct workers *made = calloc(1, sizeof(*made));
	unsigned count = limits->workers;
	int result;

	CHECK(!errors->count);
	fault_set(&fault, NULL, NULL, "out of memory; lower --workers or --maxconn");
	if (!made) {
		config_errors_add(errors, &fault);
		return -ENOMEM;
	}
	made->count = count;
	made->splice_refusal = pump_try_splice();
	made->forwards = setup->forwards;
	made->old_count = setup->config->inherited ? setup->config->inherited->old_workers : 0;
	pthread_mutex_init(&made->still, NULL);
	pthread_cond_init(&made->thaw, NULL);
	made->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	result = made->event_fd < 0 ? -errno : 0;
	/* each worker's counters have cache lines of their own */
	if (!result) {
		made->list = memory_alloc_lines(count * sizeof(*made->list));
		result = made->list ? 0 : -ENOMEM;
	}
	if (!result)
		result = load_init(&made->load, limits->maxconn, limits->crowd, count);
	if (!result)
		result = make_engines(made, setup->config, &fault);
	if (!result)
		result = forwards_make_upstreams(made->forwards);
	if (!result)
		result = choose_boot_id(made, setup->config->inherited, &fault);
	for (unsigned i = 0; i < count && !result; i++)
		result = make_worker(made, i, setup, &fault);
	if (!result)
		result = make_pipes(made, setup->config, limits, &fault);
	if (!result)
		result = bind_workers(made, errors);
	if (result) {
		/* forwards_open() has added its own errors */
		if (!errors->count)
			config_origin_add_to(errors, setup->config, NULL, &fault);
		workers_destroy(made);
		return result;
	}
	*workers = made;
	return 0;
}

int workers_attach(struct workers *workers, struct bans *bans, struct queries **queries)
{
	int result = queries_create(queries, workers->count);

	for (unsigned i = 0; i < workers->count && !result; i++) {
		workers->list[i].sessions.bans = bans;
		result = history_create(&workers->list[i].sessions.history, HISTORY_LIMIT);
		if (result)
			break;
		workers->list[i].sessions.by_forward = memory_alloc_lines(
			workers->forwards->count * sizeof(*workers->list[i].sessions.by_forward));
		result = workers->list[i].sessions.by_forward ? 0 : -ENOMEM;
	}
	workers->bans = bans;
	workers->queries = *queries;
	return result;
}

int workers_make_pulse(struct workers *workers)
{
	return pulse_create(&workers->pulse, workers->count);
}

static void destroy_worker(struct worker *worker)
{
	struct sessions *sessions = &worker->sessions;

	listeners_finish(&worker->listeners);
	(void)reserve_use(&sessions->reserve);
	/* of a process that took sessions over and did not start */
	if (sessions->table)
		sessions_drop(sessions);
	if (sessions->pump.pipes)
		pipe_pool_destroy(sessions->pump.pipes);
	sessions_finish(sessions);
	history_destroy(sessions->history);
	free(sessions->by_forward);
	free(sessions->pump.scratch);
}

void workers_destroy(struct workers *workers)
{
	for (unsigned i = 0; i < workers->count && workers->list; i++)
		destroy_worker(&workers->list[i]);
	for (unsigned i = 0; i < workers->engine_count; i++)
		engine_destroy(workers->engines[i]);
	pulse_destroy(workers->pulse);
	load_finish(&workers->load);
	if (workers->event_fd >= 0)
		close(workers->event_fd);
	pthread_cond_destroy(&workers->thaw);
	pthread_mutex_destroy(&workers->still);
	free(workers->engines);
	free(workers->list);
	free(workers);
}
