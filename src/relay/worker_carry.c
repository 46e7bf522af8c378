/* SPDX-License-Identifier: MIT */
/* Writes and reads what the workers have, for another process: worker.h. */
#include "relay/worker_parts.h"

#include <errno.h>
#include <unistd.h>

#include "base/check.h"
#include "forward/forward_carry.h"
#include "forward/history_carry.h"
#include "stats/metrics_carry.h"

/* Writing -------------------------------------------------------------------------------------- */

static void write_clients(const struct listeners *listeners, struct carrier *carrier,
			  const bool *moves)
{
	for (unsigned i = 0; i < listeners->count; i++) {
		const struct listener *listener = &listeners->listeners[i];

		if (listener->waiting_fd < 0 || !moves[listener->forward->index])
			continue;
		carrier_begin(carrier, CARRIER_CLIENT);
		carrier_put(carrier, listeners->sessions->worker);
		carrier_put_text(carrier, listener->forward->config->name);
		carrier_put_fd(carrier, listener->waiting_fd);
		carrier_end(carrier);
	}
}

static void write_pool(const struct pipe_pool *pool, struct carrier *carrier)
{
	for (unsigned i = 0; i < pipe_pool_free_count(pool); i++) {
		const struct pipe *pipe = pipe_pool_free_at(pool, i);

		carrier_begin(carrier, CARRIER_PIPE);
		carrier_put_fd(carrier, pipe->read_fd);
		carrier_put_fd(carrier, pipe->write_fd);
		carrier_end(carrier);
	}
}

static void write_counters(const struct workers *workers, struct carrier *carrier)
{
	struct metrics_totals totals;

	for (unsigned i = 0; i < METRIC_COUNT; i++)
		totals.values[i] = workers_metric(workers, (enum metric)i);
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		totals.closed_by_reason[i] = workers_closed_count(workers, (enum close_reason)i);
	metrics_write(&totals, carrier);
}

static void write_forward_counts(const struct workers *workers, struct carrier *carrier)
{
	for (unsigned i = 0; i < workers->forwards->count; i++) {
		struct metrics_of_forward sum;

		workers_count_forward(workers, i, &sum);
		carrier_begin(carrier, CARRIER_FORWARD_COUNTS);
		carrier_put_text(carrier, workers->forwards->list[i].config->name);
		carrier_put(carrier, sum.opened);
		carrier_put(carrier, sum.refused);
		carrier_put(carrier, sum.bytes_up);
		carrier_put(carrier, sum.bytes_down);
		carrier_end(carrier);
	}
}

void workers_write(const struct workers *workers, struct carrier *carrier, const bool *moves)
{
	write_counters(workers, carrier);
	write_forward_counts(workers, carrier);
	for (unsigned i = 0; i < workers->count; i++)
		if (workers->list[i].sessions.history)
			history_write(workers->list[i].sessions.history, workers->forwards,
				      carrier);
	for (unsigned i = 0; i < workers->count; i++) {
		write_clients(&workers->list[i].listeners, carrier, moves);
		sessions_write(&workers->list[i].sessions, carrier, moves);
	}
	/* last: lanes that hold bytes have the first claim on the room of the other process */
	workers_write_pipes(workers, carrier);
}

void workers_write_pipes(const struct workers *workers, struct carrier *carrier)
{
	for (unsigned i = 0; i < workers->count; i++)
		if (workers->list[i].sessions.pump.pipes)
			write_pool(workers->list[i].sessions.pump.pipes, carrier);
}

/* Reading -------------------------------------------------------------------------------------- */

static int read_counters(struct workers *workers, struct carrier *carrier, enum carrier_kind kind)
{
	struct metrics *metrics = &workers->list[0].metrics;
	int result = metrics_read(metrics, carrier, kind);

	/* no worker, of this process or of an earlier one, has counted further than all together */
	for (unsigned i = 0; i < workers->count; i++)
		workers->list[i].sessions.opened_count =
			metrics_get(metrics, METRIC_sessions_opened);
	return result;
}

/* Worker 0 counts on from the sums. */
static int read_forward_counts(struct workers *workers, struct carrier *carrier)
{
	const struct forward *forward = forwards_take_name(workers->forwards, carrier);
	struct metrics_forward *counts = workers->list[0].sessions.by_forward;

	if (!forward || !counts)
		return 0;
	counts += forward->index;
	metrics_forward_add(&counts->opened, carrier_take(carrier));
	metrics_forward_add(&counts->refused, carrier_take(carrier));
	metrics_forward_add(&counts->moved_bytes[0], carrier_take(carrier));
	metrics_forward_add(&counts->moved_bytes[1], carrier_take(carrier));
	return 0;
}

static int read_history(struct workers *workers, struct carrier *carrier)
{
	struct worker *worker = &workers->list[workers->history_count++ % workers->count];

	if (!worker->sessions.history)
		return 0;
	return history_read(worker->sessions.history, workers->forwards, carrier);
}

/* The same worker as before, if there are as many; else all get as many. */
static struct worker *choose_worker(struct workers *workers, uint64_t old_worker)
{
	if (workers->count != workers->old_count)
		old_worker = workers->read_count++;
	return &workers->list[old_worker % workers->count];
}

static int read_client(struct workers *workers, struct carrier *carrier)
{
	unsigned first = (unsigned)(choose_worker(workers, carrier_take(carrier)) - workers->list);
	const struct forward *forward = forwards_take_name(workers->forwards, carrier);
	int fd = carrier_take_fd(carrier);

	if (!forward || fd < 0) {
		if (fd >= 0)
			close(fd);
		return forward ? -EBADMSG : -ENOENT;
	}
	for (unsigned i = 0; i < workers->count; i++) {
		struct worker *worker = &workers->list[(first + i) % workers->count];

		if (listeners_take(&worker->listeners, forward->index, fd))
			return 0;
	}
	/* fewer workers than before, and each has one that waits */
	close(fd);
	metrics_add(&workers->list[first].metrics, METRIC_connections_shed, 1);
	return 0;
}

static int read_session(struct workers *workers, struct carrier *carrier)
{
	struct worker *worker = choose_worker(workers, carrier_take(carrier));

	worker->sessions.now_ms = timer_now_ms();
	timer_wheel_advance(&worker->wheel, worker->sessions.now_ms);
	return session_read(&worker->sessions, carrier);
}

/* A pipe that no pool has room for is closed with the record. */
static int read_pipe(struct workers *workers, struct carrier *carrier)
{
	struct pipe_pool *least = NULL;
	struct pipe *pipe;
	int read_fd;

	for (unsigned i = 0; i < workers->count; i++) {
		struct pipe_pool *pool = workers->list[i].sessions.pump.pipes;

		if (pool && (!least || pipe_pool_count(pool) < pipe_pool_count(least)))
			least = pool;
	}
	if (!least || pipe_pool_count(least) >= workers->pipes_wanted)
		return 0;
	read_fd = carrier_take_fd(carrier);
	pipe = pipe_pool_adopt(least, read_fd, carrier_take_fd(carrier), workers->pipe_bytes);
	if (!pipe)
		return -EBADMSG;
	pipe_pool_give(least, pipe);
	return 0;
}

int workers_read(struct workers *workers, struct carrier *carrier, enum carrier_kind kind)
{
	int result;

	CHECK(!workers->started_count || atomic_load(&workers->phase) == WORKER_FREEZE);
	switch (kind) {
	case CARRIER_COUNTERS:
	case CARRIER_CLOSED:
		result = read_counters(workers, carrier, kind);
		break;
	case CARRIER_FORWARD_COUNTS:
		result = read_forward_counts(workers, carrier);
		break;
	case CARRIER_HISTORY:
		result = read_history(workers, carrier);
		break;
	case CARRIER_CLIENT:
		result = read_client(workers, carrier);
		break;
	case CARRIER_SESSION:
		result = read_session(workers, carrier);
		break;
	case CARRIER_PIPE:
		result = read_pipe(workers, carrier);
		break;
	default:
		return -ENOTSUP;
	}
	return !result && !carrier_is_whole(carrier) ? -EBADMSG : result;
}

int workers_complete(struct workers *workers)
{
	struct pipe_pool *pools[CONFIG_WORKER_LIMIT];

	workers->incomplete = false;
	if (workers->splice_refusal)
		return 0;
	for (unsigned i = 0; i < workers->count; i++)
		pools[i] = workers->list[i].sessions.pump.pipes;
	return pipe_pools_complete(pools, workers->count, workers->pipes_wanted,
				   workers->pipe_bytes);
}

uint64_t workers_boot_id(const struct workers *workers)
{
	return workers->boot_id;
}

uint32_t workers_slot_count(const struct workers *workers)
{
	return workers->list[0].sessions.slot_count;
}
