/*
 * The log lines of the start and of the end: what the process got of what it was asked for, and its
 * counters. Each writes events of log_events.def, from the main thread.
 */
#pragma once

#include "config/capacity.h"
#include "config/config.h"
#include "relay/worker.h"

/*
 * Says what the descriptor limit and the control group's memory are too small for, and what to do:
 * at the start, not when they have run out. Nothing where they suffice.
 */
void report_short_limits(const struct capacity *limits);

/* After the privilege drop, so that the limits are those under which the workers run. */
void report_limits(const struct config *config, const struct capacity *limits,
		   const struct workers *workers);
void report_privileges(const struct config *config);

/* Every worker serves: the engine in use, and event=ready. `metrics` is what --metrics listens on, NULL: nothing. */
void report_ready(const struct capacity *limits, const struct workers *workers,
		  const struct addr *metrics);

/* After workers_join(): event=stopped, with every counter. */
void report_stopped(const struct workers *workers);
