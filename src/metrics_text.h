/*
 * All counters as text for Prometheus: the exposition format 0.0.4
 * (prometheus.io/docs/instrumenting/exposition_formats). metrics.def and close_reasons.def are the
 * source: METRIC(bytes_up, COUNTER, ...) is sixpipe_bytes_up_total, a GAUGE has no suffix, and the
 * close reasons are the labels of sixpipe_sessions_closed_by_reason_total.
 */
#pragma once

#include <stdio.h>

#include "metrics.h"

#define METRICS_TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Added up over all workers. */
struct metrics_totals {
	uint64_t values[METRIC_COUNT];
	uint64_t closed_by_reason[CLOSE_REASON_COUNT];
};

/* Every row of both tables, those that are 0 too. Errors are left in the stream: ferror(3). */
void metrics_text_print(FILE *out, const struct metrics_totals *totals);
