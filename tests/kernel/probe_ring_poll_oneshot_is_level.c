/* SPDX-License-Identifier: MIT */
/*
 * Claim: a oneshot poll of a socket that is readable already completes at once, every time it is
 * armed.
 * Since: 5.1.
 * Why: a lane may leave bytes in a socket (its slice is used up, its pipe is full) and wait later,
 * and misses nothing. A multishot poll is edge-triggered and would not report these bytes again.
 */
#include "probe_ring.h"

enum { ROUNDS = 3, QUIET_MS = 50 };

int main(void)
{
	struct io_uring ring;
	struct io_uring_cqe cqe;
	int near, far;

	probe_ring_open(&ring, 0);
	probe_pair(&near, &far);
	probe_send(far, "x", 1);
	probe_await_bytes(near, 1);
	for (int i = 0; i < ROUNDS; i++) {
		io_uring_prep_poll_add(probe_ring_sqe(&ring), near, POLLIN | POLLRDHUP);
		probe_ring_submit(&ring);
		PROBE_CHECK(probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS),
			    "round %d: no completion", i);
		PROBE_CHECK(cqe.res == POLLIN && !(cqe.flags & IORING_CQE_F_MORE),
			    "round %d: %d, flags 0x%x", i, cqe.res, cqe.flags);
	}

	/* For comparison: a multishot poll reports the byte once. */
	io_uring_prep_poll_multishot(probe_ring_sqe(&ring), near, POLLIN);
	probe_ring_submit(&ring);
	PROBE_CHECK(probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS), "multishot: no completion");
	bool again = probe_ring_wait(&ring, &cqe, QUIET_MS);
	probe_hold("oneshot reports an unread byte each time, multishot %s",
		   again ? "too" : "once");
}
