/* SPDX-License-Identifier: MIT */
/* The log lines of start and end: limits, privileges, engine, counters. Main thread. */
#pragma once

#include "config/capacity.h"
#include "config/config.h"
#include "relay/worker.h"

/* Warns if the descriptor limit or the control group's memory is too small for --maxconn. */
void report_short_limits(const struct capacity *limits);

/* Call it after the privilege drop, which changes the limits. */
void report_limits(const struct config *config, const struct capacity *limits,
		   const struct workers *workers);
void report_privileges(const struct config *config);

/* Warns if the process may not make files in the directory of --log-file, after the drop. */
void report_log(const struct config *config);

/*
 * Every worker serves: the engine in use, and event=ready. `metrics` is what --metrics listens on,
 * NULL: nothing.
 */
void report_ready(const struct capacity *limits, const struct workers *workers,
		  const struct addr *metrics);

/* After workers_join(): event=stopped, with every counter. */
void report_stopped(const struct workers *workers);
