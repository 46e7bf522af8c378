/* SPDX-License-Identifier: MIT */
#include "stats/metrics.h"

/* There is one writer, so a load and a store suffice; no locked instruction is needed. */
static void change(_Atomic uint64_t *value, uint64_t amount)
{
	uint64_t old = atomic_load_explicit(value, memory_order_relaxed);

	atomic_store_explicit(value, old + amount, memory_order_relaxed);
}

void metrics_add(struct metrics *metrics, enum metric metric, uint64_t amount)
{
	change(&metrics->values[metric], amount);
}

void metrics_subtract(struct metrics *metrics, enum metric gauge, uint64_t amount)
{
	change(&metrics->values[gauge], -amount);
}

void metrics_count_close(struct metrics *metrics, enum close_reason reason)
{
	change(&metrics->closed_by_reason[reason], 1);
}

void metrics_count_closes(struct metrics *metrics, enum close_reason reason, uint64_t count)
{
	change(&metrics->closed_by_reason[reason], count);
}

uint64_t metrics_get(const struct metrics *metrics, enum metric metric)
{
	return atomic_load_explicit(&metrics->values[metric], memory_order_relaxed);
}

uint64_t metrics_get_closed(const struct metrics *metrics, enum close_reason reason)
{
	return atomic_load_explicit(&metrics->closed_by_reason[reason], memory_order_relaxed);
}

void metrics_forward_add(_Atomic uint64_t *value, uint64_t amount)
{
	change(value, amount);
}

void metrics_forward_sum(const struct metrics_forward *metrics, struct metrics_of_forward *sum)
{
	sum->opened += atomic_load_explicit(&metrics->opened, memory_order_relaxed);
	sum->refused += atomic_load_explicit(&metrics->refused, memory_order_relaxed);
	sum->bytes_up += atomic_load_explicit(&metrics->moved_bytes[0], memory_order_relaxed);
	sum->bytes_down += atomic_load_explicit(&metrics->moved_bytes[1], memory_order_relaxed);
}
