/* SPDX-License-Identifier: MIT */
/* The history of a worker on its way to a process that takes over. */
#pragma once

#include "forward/forward.h"
#include "os/carrier.h"
#include "stats/history.h"

/*
 * Writes a CARRIER_HISTORY for each session of the history, the oldest first. The worker must not
 * run.
 */
void history_write(const struct history *history, const struct forwards *forwards,
		   struct carrier *carrier);

/*
 * Adds the session of one such record; while the worker does not run. Passes over the session of a
 * forward that this process does not have. A backend that was a local socket is known only if the
 * forward still has it. Returns 0, or -EBADMSG if values are missing.
 */
int history_read(struct history *history, struct forwards *forwards, struct carrier *carrier);
