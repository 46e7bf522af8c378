/* What can be read off the workers. */
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
		for (unsigned j = 0; j < workers->list[i].listeners.count; j++)
			if (atomic_load(&workers->list[i].listeners.listeners[j].failed))
				return (int)j;
	return -1;
}

unsigned workers_count(const struct workers *workers)
{
	return workers->count;
}

unsigned workers_pipe_count(const struct workers *workers)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < workers->count && !workers->splice_refusal; i++)
		sum += pipe_pool_count(workers->list[i].sessions.pump.pipes);
	return sum;
}

unsigned workers_free_pipe_count(const struct workers *workers)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < workers->count && !workers->splice_refusal; i++)
		sum += pipe_pool_free_count(workers->list[i].sessions.pump.pipes);
	return sum;
}

uint32_t workers_pipe_bytes(const struct workers *workers)
{
	uint32_t smallest = UINT32_MAX;

	if (workers->splice_refusal)
		return 0;
	for (unsigned i = 0; i < workers->count; i++) {
		uint32_t bytes = pipe_pool_size_bytes(workers->list[i].sessions.pump.pipes);

		smallest = MIN(smallest, bytes);
	}
	return smallest;
}

const char *workers_engine_name(const struct workers *workers)
{
	return engine_name(workers->engines[0]);
}

const char *workers_engine_features(const struct workers *workers)
{
	return engine_features(workers->engines[0]);
}

int workers_engine_refusal(const struct workers *workers)
{
	return workers->refusal;
}

int workers_splice_refusal(const struct workers *workers)
{
	return workers->splice_refusal;
}
