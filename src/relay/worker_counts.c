/* SPDX-License-Identifier: MIT */
/* Sums and facts of all workers: worker.h. */
#include "relay/worker_parts.h"

struct forwards *workers_forwards(const struct workers *workers)
{
	return workers->forwards;
}

uint64_t workers_metric(const struct workers *workers, enum metric metric)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < workers->count; i++)
		sum += metrics_get(&workers->list[i].metrics, metric);
	if (metric == METRIC_bans && workers->bans)
		sum += bans_count(workers->bans);
	return sum + forwards_metric(workers->forwards, metric);
}

void workers_count_forward(const struct workers *workers, unsigned forward,
			   struct metrics_of_forward *sum)
{
	*sum = (struct metrics_of_forward){0};
	for (unsigned i = 0; i < workers->count; i++)
		if (workers->list[i].sessions.by_forward)
			metrics_forward_sum(&workers->list[i].sessions.by_forward[forward], sum);
}

uint32_t workers_session_limit(const struct workers *workers)
{
	return workers->load.limit;
}

uint64_t workers_closed_count(const struct workers *workers, enum close_reason reason)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < workers->count; i++)
		sum += metrics_get_closed(&workers->list[i].metrics, reason);
	return sum;
}

int workers_failed_listener(const struct workers *workers)
{
	for (unsigned i = 0; i < workers->count; i++)
		for (unsigned j = 0; j < workers->list[i].listeners.count; j++) {
			const struct listener *listener = &workers->list[i].listeners.listeners[j];

			if (atomic_load(&listener->failed))
				return (int)listener->forward->index;
		}
	return -1;
}

void workers_write_sockets(const struct workers *workers, struct carrier *carrier)
{
	/* those of one forward one after the other, as os/inherited.h wants them */
	for (unsigned i = 0; i < workers->forwards->count; i++)
		for (unsigned j = 0; j < workers->count; j++)
			listeners_write(&workers->list[j].listeners, &workers->forwards->list[i],
					carrier);
}

struct workers_pipes workers_pipes(const struct workers *workers)
{
	struct workers_pipes pipes = {.smallest_bytes = workers->splice_refusal ? 0 : UINT32_MAX};

	for (unsigned i = 0; i < workers->count && !workers->splice_refusal; i++) {
		const struct pipe_pool *pool = workers->list[i].sessions.pump.pipes;
		uint32_t bytes = pipe_pool_size_bytes(pool);

		pipes.count += pipe_pool_count(pool);
		pipes.free_count += pipe_pool_free_count(pool);
		pipes.smallest_bytes = MIN(pipes.smallest_bytes, bytes);
	}
	return pipes;
}

const struct engine *workers_first_engine(const struct workers *workers)
{
	return workers->engines[0];
}

int workers_engine_refusal(const struct workers *workers)
{
	return workers->refusal;
}

int workers_splice_refusal(const struct workers *workers)
{
	return workers->splice_refusal;
}
