/*
 * The only file that moves bytes: it does what a lane asks for. Bulk goes by splice(2) through a
 * borrowed pipe, small messages by recv and send, which cost less; what the target does not take of
 * those is written into a borrowed pipe, so that nothing is ever held in user space.
 *
 * With no pipe free it copies in a third way: recv(MSG_PEEK), send, and recv(MSG_TRUNC) of what was
 * sent.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "os/pipe_pool.h"
#include "relay/lane.h"
#include "stats/metrics.h"

/* One for a worker; the pointers are the caller's and must outlive it. */
struct pump {
	struct pipe_pool *pipes; /* NULL: never a pipe, as where splice(2) is forbidden */
	struct metrics *metrics;
	char *scratch; /* PUMP_SCRATCH_BYTES for copying */
};

/* One direction of a session: what the bytes go by. All of it is the caller's. */
struct pump_flow {
	struct lane *lane;
	struct pipe **pipe; /* the lane's borrowed pipe; NULL whenever nothing is held */
	int read_fd;	    /* both are non-blocking */
	int write_fd;
};

/* What one copy takes at most where no pipe is free. Scenario: a_stalled_target in test_pump.c. */
#define PUMP_SCRATCH_BYTES 65536

/* The most that may go before a stream. */
#define PUMP_PREFACE_BYTES 8192

/*
 * Whether this process may call splice(2): 0, or -errno (a seccomp filter; often -EPERM or -ENOSYS).
 * Needs no descriptor.
 */
int pump_try_splice(void);

/*
 * Runs the lane until it waits, ends, or has used up *budget_bytes, which is counted down; afterwards
 * lane_next() says where it stands. A failed socket is reported to the lane, never returned. Returns
 * whether bytes moved.
 */
bool pump_run(struct pump *pump, const struct pump_flow *flow, uint32_t *budget_bytes);

/*
 * Sends what goes before the stream: the first `preface_bytes` > 0 of pump->scratch, at most
 * PUMP_PREFACE_BYTES, and in the same call what the source has sent already, if little. For a lane that was
 * just begun; otherwise as pump_run(). With no pipe free, a target that does not take the preface
 * whole has failed: a fresh connection does take it.
 */
void pump_begin(struct pump *pump, const struct pump_flow *flow, uint32_t preface_bytes);

/*
 * Looks at up to `size` bytes that wait in a socket and takes nothing: recv(2), MSG_PEEK. Returns their
 * number, 0 at the stream's end, or -errno. pump_discard() takes `bytes` that were seen; false: they
 * are not there any more.
 */
ssize_t pump_peek(int fd, void *bytes, size_t size);
bool pump_discard(struct pump *pump, int fd, size_t bytes);

/*
 * For a lane that was just begun: takes the source's first `bytes` > 0, which the target had with its SYN, out of
 * its socket, where they were seen. Otherwise as pump_run().
 */
void pump_pass_early(struct pump *pump, const struct pump_flow *flow, uint32_t bytes);

/*
 * Takes the pipe from a lane that will not run again, and drops what it holds. Returns 0 or -errno
 * when the pool has lost the pipe: pipe_pool_empty().
 */
int pump_release(struct pump *pump, struct lane *lane, struct pipe **pipe);
