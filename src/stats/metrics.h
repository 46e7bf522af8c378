/* SPDX-License-Identifier: MIT */
/*
 * Counters of one worker; they are listed in metrics.def. Only the worker changes them, any thread
 * may read them: relaxed atomics, no lock, no shared cache line.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/util.h"
#include "stats/close_reason.h"

enum metric {
#define METRIC(word, kind, meaning) METRIC_##word,
#define BACKEND_METRIC(word, kind, meaning)
#include "stats/metrics.def"
#undef METRIC
#undef BACKEND_METRIC
	METRIC_COUNT
};

struct metrics {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t values[METRIC_COUNT];
	_Atomic uint64_t closed_by_reason[CLOSE_REASON_COUNT];
};

/* The sessions of one forward that one worker has had, changed and read as struct metrics. */
struct metrics_forward {
	_Atomic uint64_t opened;
	_Atomic uint64_t refused;	 /* ended before a backend accepted the connection */
	_Atomic uint64_t moved_bytes[2]; /* of ended sessions, by lane: 0 up, 1 down */
};

struct metrics_of_forward {
	uint64_t opened, refused, bytes_up, bytes_down;
};

/* For the worker alone. */
void metrics_forward_add(_Atomic uint64_t *value, uint64_t amount);
void metrics_add(struct metrics *metrics, enum metric metric, uint64_t amount);
void metrics_subtract(struct metrics *metrics, enum metric gauge, uint64_t amount);
void metrics_count_close(struct metrics *metrics, enum close_reason reason);

/* Before the worker starts: sessions that an earlier process has ended. */
void metrics_count_closes(struct metrics *metrics, enum close_reason reason, uint64_t count);

/* Any thread. metrics_forward_sum() adds to `sum`. */
void metrics_forward_sum(const struct metrics_forward *metrics, struct metrics_of_forward *sum);
uint64_t metrics_get(const struct metrics *metrics, enum metric metric);
uint64_t metrics_get_closed(const struct metrics *metrics, enum close_reason reason);
