/* SPDX-License-Identifier: MIT */
/*
 * The pump does the steps that a lane asks for (lane.h). pump.c is the only file that moves bytes,
 * in one of three ways:
 *
 * - Bulk lanes splice(2) into a pipe borrowed from the worker's pool, and from there into the write
 *   side.
 * - Small lanes recv and send, which costs less than two splices. If the write side takes only a
 *   part, the rest is written into a borrowed pipe.
 * - With no pipe free, a lane copies: recv(MSG_PEEK), send, then recv(MSG_TRUNC) of the sent bytes.
 *
 * So bytes wait in sockets and pipes only, never in user space.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "os/pipe_pool.h"
#include "relay/lane.h"
#include "stats/metrics.h"

/* A worker has one. The pointers are the caller's and must outlive the pump. */
struct pump {
	struct pipe_pool *pipes; /* NULL: there are no pipes, because splice(2) is forbidden */
	struct metrics *metrics;
	char *scratch; /* PUMP_SCRATCH_BYTES, for copying */
};

/* A lane with its sockets and its pipe. Everything in it is the caller's. */
struct pump_flow {
	struct lane *lane;
	struct pipe **pipe; /* the lane's borrowed pipe; NULL when the lane holds nothing */
	int read_fd;	    /* both sockets are non-blocking */
	int write_fd;
};

/* The most bytes of one copy with no pipe free. Scenario: a_stalled_write_side in test_pump.c. */
#define PUMP_SCRATCH_BYTES 65536

/* The most bytes that may be sent before a stream: pump_begin(). */
#define PUMP_PREFACE_BYTES 8192

/*
 * Tries splice(2), without a descriptor. Returns 0 if this process may call it, or -errno if a
 * seccomp filter forbids it (often -EPERM or -ENOSYS).
 */
int pump_try_splice(void);

/*
 * Runs the lane until it waits, ends or has used up *budget_bytes, from which its bytes are
 * subtracted. Returns whether bytes moved. Errors of the sockets are reported to the lane.
 */
bool pump_run(struct pump *pump, const struct pump_flow *flow, uint32_t *budget_bytes);

/*
 * Sends a preface, such as a PROXY header, to the write side of a new lane: the first
 * `preface_bytes` > 0 of pump->scratch, at most PUMP_PREFACE_BYTES. The same send(2) sends up to
 * LANE_SMALL_BYTES that have come from the read side. With no pipe free, only the preface is sent.
 * A write side that does not take the whole preface then counts as failed, because a new connection
 * has room for a preface. Errors as of pump_run().
 */
void pump_begin(struct pump *pump, const struct pump_flow *flow, uint32_t preface_bytes);

/*
 * pump_peek() copies up to `size` bytes out of a socket and leaves them there: recv(2), MSG_PEEK.
 * Returns their number, 0 at the end of the stream, or -errno. pump_discard() takes `bytes` bytes
 * out of the socket after a peek; false: they are not there any more.
 */
ssize_t pump_peek(int fd, void *bytes, size_t size);
bool pump_discard(struct pump *pump, int fd, size_t bytes);

/*
 * For a new lane whose first `bytes` > 0 went to the write side with the SYN: takes these bytes out
 * of the read side, where pump_peek() saw them. Errors as of pump_run().
 */
void pump_pass_early(struct pump *pump, const struct pump_flow *flow, uint32_t bytes);

/*
 * Takes the pipe from a lane that will not run again, and drops the bytes in the pipe. Returns 0,
 * or -errno if the pool has lost the pipe (pipe_pool_empty()).
 */
int pump_release(struct pump *pump, struct lane *lane, struct pipe **pipe);
