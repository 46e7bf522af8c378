/*
 * The only file that moves bytes: it does what a lane asks for. Bulk goes by splice(2) through a
 * borrowed pipe, small messages by recv and send, which cost less; what the target does not take of
 * those is written into a borrowed pipe, so that nothing is ever held in user space.
 *
 * With no pipe free, and at urgent data, where splice stops for ever, it copies in a third way:
 * recv(MSG_PEEK), send, and recv(MSG_TRUNC) of what was sent.
 */
#pragma once

#include <stdint.h>

#include "lane.h"
#include "metrics.h"
#include "pipe_pool.h"

/* One for a worker; the pointers are the caller's and must outlive it. */
struct pump {
	struct pipe_pool *pipes;
	struct metrics *metrics;
	char *scratch; /* PUMP_SCRATCH_BYTES for copying */
};

/* What one copy takes at most where no pipe is free. Scenario: a_stalled_target in test_pump.c. */
#define PUMP_SCRATCH_BYTES 65536

/*
 * Runs the lane from `source_fd` to `target_fd` until it waits, ends, or has used up *budget_bytes,
 * which is counted down; afterwards lane_next() says where it stands. Both descriptors must be
 * non-blocking. *pipe is the lane's borrowed pipe and NULL whenever nothing is held. A failed
 * socket is reported to the lane, never returned. Returns whether bytes moved.
 */
bool pump_run(struct pump *pump, struct lane *lane, struct pipe **pipe, int source_fd,
	      int target_fd, uint32_t *budget_bytes);

/*
 * Takes the pipe from a lane that will not run again. One that holds bytes is closed and replaced.
 * Returns 0 or -errno when it could not be replaced.
 */
int pump_release(struct pump *pump, struct lane *lane, struct pipe **pipe);
