/*
 * Workers: one thread each, with its own engine, pipes, sessions and listening sockets. Made by the
 * main thread before the privilege drop, started after it.
 */
#pragma once

#include "config/capacity.h"
#include "config/config.h"
#include "forward/forward.h"
#include "relay/query.h"
#include "stats/metrics.h"

enum worker_phase {
	WORKER_START, /* until every worker is up: none could be handed a connection yet */
	WORKER_SERVE,
	WORKER_DRAIN,  /* no new connections; sessions finish */
	WORKER_EXPIRE, /* the drain has lasted long enough: reset what is left */
	WORKER_STOP,   /* reset everything now */
};

struct workers;

/* What workers are made for; config and forwards must outlive them. */
struct workers_setup {
	const struct config *config;
	const struct capacity *limits; /* how many workers, and how large */
	struct forwards *forwards;     /* with admission and source addresses */
};

/*
 * Makes the workers and the forwards' upstreams, and binds the listeners last: forwards_open(). Returns 0 and the workers, or -errno and
 * adds to `errors`, which must be empty, what could not be had, why, and what to do.
 */
int workers_create(struct workers **workers, const struct workers_setup *setup,
		   struct config_errors *errors);
void workers_destroy(struct workers *workers);

/*
 * Before the start: the workers refuse whom `bans` hold, keep a history of their sessions, and answer
 * what `queries` ask. Both must outlive them. Returns 0 or -ENOMEM.
 */
int workers_attach(struct workers *workers, struct bans *bans, struct queries *queries);

/* Starts the threads and returns when all serve, or one has failed. Returns 0 or -errno. */
int workers_start(struct workers *workers);

/* Moves all workers on to a later phase. */
void workers_enter(struct workers *workers, enum worker_phase phase);

/* Makes each worker look at what it is asked. */
void workers_wake(struct workers *workers);

/* Readable (poll(2)) when a worker has ended, or has answered a query. */
int workers_end_fd(const struct workers *workers);

/* How many are still running; and the first error that ended one, 0 for none. */
unsigned workers_running_count(const struct workers *workers);
int workers_error(const struct workers *workers);

/* Waits for all threads, which must have been told to end. */
void workers_join(struct workers *workers);

/* The forward of a listener that has failed (METRIC_listeners_failed), -1: none. Any thread. */
int workers_failed_listener(const struct workers *workers);

unsigned workers_count(const struct workers *workers);

/* The forwards that they were made for. */
struct forwards *workers_forwards(const struct workers *workers);

/* Sums over all workers; any time, by the control thread. */
uint64_t workers_metric(const struct workers *workers, enum metric metric);
uint64_t workers_closed_count(const struct workers *workers, enum close_reason reason);

/* What the workers have: pipes in all, pipes free, the smallest pipe's bytes. Only while none runs. */
unsigned workers_pipe_count(const struct workers *workers);
unsigned workers_free_pipe_count(const struct workers *workers);
uint32_t workers_pipe_bytes(const struct workers *workers);

const char *workers_engine_name(const struct workers *workers);
const char *workers_engine_features(const struct workers *workers);

/*
 * 0, or the -errno that splice(2) was refused with: pump_try_splice(). Then there are no pipes, and
 * all bytes are copied.
 */
int workers_splice_refusal(const struct workers *workers);

/* Why --engine auto came to epoll: the -errno that io_uring was refused with, or 0. */
int workers_engine_refusal(const struct workers *workers);
