/* SPDX-License-Identifier: MIT */
/* Shared by the probes that use io_uring. */
#pragma once

#include "probe.h"

#include <liburing.h>

/* The forwarder's ring; probe_ring_flags.c tells what of it this kernel has. */
#define PROBE_RING_FLAGS                                                                           \
	(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |       \
	 IORING_SETUP_CQSIZE)

static inline int probe_ring_try(struct io_uring *ring, unsigned flags)
{
	struct io_uring_params params = {.flags = flags, .cq_entries = 64};

	return io_uring_queue_init_params(16, ring, &params);
}

/*
 * Opens the best ring that this kernel has, as the forwarder does, with `extra` flags; skips the
 * probe if there is none.
 */
static inline void probe_ring_open(struct io_uring *ring, unsigned extra)
{
	int error = probe_ring_try(ring, PROBE_RING_FLAGS | extra);

	if (error == -EINVAL)
		error = probe_ring_try(ring,
				       IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL | extra);
	if (error == -EINVAL)
		error = probe_ring_try(ring, extra);
	if (error < 0)
		probe_skip("io_uring_setup: %s", strerror(-error));
}

static inline struct io_uring_sqe *probe_ring_sqe(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	PROBE_NEED(sqe);
	return sqe;
}

static inline void probe_ring_submit(struct io_uring *ring)
{
	int submitted = io_uring_submit(ring);

	PROBE_CHECK(submitted > 0, "submit gave %s", strerror(-submitted));
}

/* Takes the next completion into `cqe`. Returns false when none came in time. */
static inline bool probe_ring_wait(struct io_uring *ring, struct io_uring_cqe *cqe, int timeout_ms)
{
	struct __kernel_timespec timeout = {.tv_sec = timeout_ms / 1000,
					    .tv_nsec = timeout_ms % 1000 * 1000000LL};
	struct io_uring_cqe *next = NULL;
	int error = io_uring_wait_cqe_timeout(ring, &next, &timeout);

	if (error == -ETIME)
		return false;
	PROBE_CHECK(error == 0, "waiting for a completion gave %s", strerror(-error));
	*cqe = *next;
	io_uring_cqe_seen(ring, next);
	return true;
}
