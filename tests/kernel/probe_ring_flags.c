/* SPDX-License-Identifier: MIT */
/*
 * Claim: the kernel creates a ring with SINGLE_ISSUER | DEFER_TASKRUN | SUBMIT_ALL | CQSIZE, also
 * with R_DISABLED. If it answers EINVAL, it is too old, and creates a ring with COOP_TASKRUN or
 * without flags. With DEFER_TASKRUN, completions run only inside a wait or a get-events call:
 * peeking makes no progress.
 * Since: 6.1 (DEFER_TASKRUN), 6.0 (SINGLE_ISSUER), 5.19 (COOP_TASKRUN), 5.18 (SUBMIT_ALL).
 * Why: the engine tries these sets of flags in this order, and reaps only after its one wait in
 * each tick.
 */
#include "probe_ring.h"

int main(void)
{
	struct io_uring ring;
	struct io_uring_cqe cqe, *peeked = NULL;
	int near, far, error, given;

	given = probe_ring_try(&ring, PROBE_RING_FLAGS | IORING_SETUP_R_DISABLED);
	if (given == -EINVAL) {
		error = probe_ring_try(&ring, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL);
		if (error == -EINVAL)
			error = probe_ring_try(&ring, 0);
		if (error < 0)
			probe_skip("io_uring_setup, without flags too: %s", strerror(-error));
		probe_skip("this kernel is before 6.1: the forwarder's ring has no DEFER_TASKRUN");
	}
	if (given < 0)
		probe_skip("io_uring_setup: %s", strerror(-given));
	PROBE_NEED(syscall(__NR_io_uring_register, ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
			   0) == 0);

	probe_pair(&near, &far);
	io_uring_prep_poll_add(probe_ring_sqe(&ring), near, POLLIN);
	probe_ring_submit(&ring);
	probe_send(far, "x", 1);
	probe_await_bytes(near, 1);

	/*
	 * The poll has fired. Its completion is queued as task work; other system calls do not run
	 * it.
	 */
	for (int64_t end_ms = probe_now_ms() + 50; probe_now_ms() < end_ms;) {
		PROBE_NEED(probe_poll(near, POLLIN, 0) == POLLIN);
		error = io_uring_peek_cqe(&ring, &peeked);
		PROBE_CHECK(error == -EAGAIN, "peeking saw a completion (%d)", error);
	}
	PROBE_CHECK(probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS) && cqe.res == POLLIN,
		    "waiting saw no completion");
	probe_hold("the ring has DEFER_TASKRUN, and completes only when waited for");
}
