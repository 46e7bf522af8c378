/* SPDX-License-Identifier: MIT */
/*
 * The counters on their way to a process that takes over, so that they go on where they were.
 * Metrics and close reasons are matched by their words. Gauges do not move: they follow from the
 * sessions and tables that move.
 */
#pragma once

#include "os/carrier.h"
#include "stats/metrics_text.h"

/* Writes CARRIER_COUNTERS and CARRIER_CLOSED: the sums of the process. */
void metrics_write(const struct metrics_totals *totals, struct carrier *carrier);

/*
 * Adds a record of these kinds to the metrics of one worker, which must not run. Words that this
 * process does not know are passed over. Returns 0; -ENOTSUP for another kind; or -EBADMSG if
 * values are missing.
 */
int metrics_read(struct metrics *metrics, struct carrier *carrier, enum carrier_kind kind);
