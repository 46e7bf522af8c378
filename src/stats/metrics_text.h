/* SPDX-License-Identifier: MIT */
/*
 * All counters as text for Prometheus: the exposition format 0.0.4
 * (prometheus.io/docs/instrumenting/exposition_formats). The names come from metrics.def and
 * close_reasons.def: METRIC(bytes_up, COUNTER, ...) is sixpipe_bytes_up_total, a GAUGE has no
 * suffix, and the close reasons are the labels of sixpipe_sessions_closed_by_reason_total. A
 * BACKEND_METRIC has a sample for each backend, named by its labels.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/addr.h"
#include "stats/metrics.h"

#define METRICS_TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* The word of a metric in metrics.def; static. */
const char *metrics_word(enum metric metric);

/* Whether a metric only grows; or else it is a gauge. */
bool metrics_is_counter(enum metric metric);

/* The sums over all workers. */
struct metrics_totals {
	uint64_t values[METRIC_COUNT];
	uint64_t closed_by_reason[CLOSE_REASON_COUNT];
};

/* Prints every row of both tables, also where it is 0. Errors are in the stream: ferror(3). */
void metrics_text_print(FILE *out, const struct metrics_totals *totals);

enum backend_metric {
#define METRIC(word, kind, meaning)
#define BACKEND_METRIC(word, kind, meaning) BACKEND_METRIC_##word,
#include "stats/metrics.def"
#undef METRIC
#undef BACKEND_METRIC
	BACKEND_METRIC_COUNT
};

/* One member of one forward. The first four are its labels; no two may have the same labels. */
struct metrics_backend {
	const char *forward; /* the section of --config, or a number */
	const struct addr *listen;
	struct addr address;
	const char *name; /* without the port; "": the backend is configured by address */
	uint64_t values[BACKEND_METRIC_COUNT];
};

/* Prints every row of each backend, ordered by metric as the format demands. Errors as above. */
void metrics_text_print_backends(FILE *out, const struct metrics_backend *backends, size_t count);
