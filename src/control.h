/*
 * The main thread's work while the workers run: signals and the drain. It may block; a worker never
 *does.
 *
 *	TERM, INT	stop accepting, let sessions finish until --drain-timeout, then reset the
 *rest; once more: reset everything at once
 *	HUP		nothing to read again without a configuration file
 */
#pragma once

#include "worker.h"

/*
 * Blocks the signals above in the calling thread, so that threads made afterwards do not get them,
 * and ignores SIGPIPE, which splice(2) cannot be told not to send. Returns a signalfd(2) or -errno.
 */
int control_take_signals(void);

/* Runs until every worker has ended. Returns 0, or the -errno that ended one of them. */
int control_run(struct workers *workers, int signal_fd, uint64_t drain_timeout_ms);
