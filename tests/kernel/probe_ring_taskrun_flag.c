/* SPDX-License-Identifier: MIT */
/*
 * Claim: with TASKRUN_FLAG the kernel sets IORING_SQ_TASKRUN in the ring's shared flags while a
 * completion waits for io_uring_enter(2). The enter clears the flag.
 * Since: 5.19.
 * Why: engine_has_events() reads the flag between two bulk slices, without a system call.
 */
#include "probe_ring.h"

static bool is_flagged(const struct io_uring *ring)
{
	return IO_URING_READ_ONCE(*ring->sq.kflags) & IORING_SQ_TASKRUN;
}

int main(void)
{
	struct io_uring ring;
	struct io_uring_cqe cqe;
	int near, far;

	probe_ring_open(&ring, IORING_SETUP_TASKRUN_FLAG);
	if (!(ring.flags & (IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN)))
		probe_skip("this kernel's ring has neither DEFER_TASKRUN nor COOP_TASKRUN");
	probe_pair(&near, &far);
	io_uring_prep_poll_add(probe_ring_sqe(&ring), near, POLLIN);
	probe_ring_submit(&ring);
	PROBE_CHECK(!is_flagged(&ring), "flagged before anything has happened");

	probe_send(far, "x", 1);
	probe_await_bytes(near, 1);
	PROBE_CHECK(is_flagged(&ring) || io_uring_cq_ready(&ring),
		    "the poll has fired, and the flags do not tell");
	PROBE_CHECK(probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS) && cqe.res == POLLIN,
		    "waiting saw no completion");
	PROBE_CHECK(!is_flagged(&ring) && !io_uring_cq_ready(&ring),
		    "flagged though the only completion was taken");
	probe_hold("the flags tell of a completion that waits");
}
