/* SPDX-License-Identifier: MIT */
/*
 * Claim: a ring that one thread creates R_DISABLED takes no submission (EBADFD) until another
 * thread enables it by io_uring_register(2). From then on that thread is the ring's issuer; others
 * get EEXIST. If restrictions were registered before, an opcode outside the list completes with
 * EACCES, and so do further register calls.
 * Since: 5.10 (R_DISABLED, restrictions), 6.0 (SINGLE_ISSUER: the enabling task becomes the
 * issuer).
 * Why: the main thread creates and restricts the rings while an error can still end the start; each
 * worker enables its own ring.
 */
#include "probe_ring.h"

#include <pthread.h>

static int ring_register(const struct io_uring *ring, unsigned opcode, const void *argument,
			 unsigned count)
{
	return syscall(__NR_io_uring_register, ring->ring_fd, opcode, argument, count) < 0 ? -errno
											   : 0;
}

static void *worker_run(void *argument)
{
	struct io_uring *ring = argument;
	struct io_uring_cqe cqe;
	int error = ring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);

	PROBE_CHECK(error == 0, "enabling by the worker gave %s", strerror(-error));
	io_uring_prep_nop(probe_ring_sqe(ring));
	probe_ring_submit(ring);
	PROBE_CHECK(probe_ring_wait(ring, &cqe, PROBE_DEADLINE_MS) && cqe.res == 0,
		    "an allowed opcode failed");
	io_uring_prep_fsync(probe_ring_sqe(ring), 0, 0);
	probe_ring_submit(ring);
	PROBE_CHECK(probe_ring_wait(ring, &cqe, PROBE_DEADLINE_MS) && cqe.res == -EACCES,
		    "an opcode outside the list gave %d", cqe.res);
	error = ring_register(ring, IORING_UNREGISTER_FILES, NULL, 0);
	PROBE_CHECK(error == -EACCES, "a register call outside the list gave %d", error);
	return NULL;
}

int main(void)
{
	struct io_uring_restriction allowed[] = {
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_NOP}};
	struct io_uring ring;
	pthread_t worker;
	int error;

	probe_ring_open(&ring, IORING_SETUP_R_DISABLED);
	error = ring_register(&ring, IORING_REGISTER_RESTRICTIONS, allowed, 1);
	PROBE_CHECK(error == 0, "restricting gave %s", strerror(-error));
	error = (int)syscall(__NR_io_uring_enter, ring.ring_fd, 1, 0, 0, NULL, 0) < 0 ? -errno : 0;
	PROBE_CHECK(error == -EBADFD, "entering a disabled ring gave %d", error);

	PROBE_NEED(pthread_create(&worker, NULL, worker_run, &ring) == 0);
	PROBE_NEED(pthread_join(worker, NULL) == 0);
	if (!(ring.flags & IORING_SETUP_SINGLE_ISSUER))
		probe_hold("restricted, enabled by the worker; this kernel has no SINGLE_ISSUER");
	io_uring_prep_nop(probe_ring_sqe(&ring));
	error = io_uring_submit(&ring);
	PROBE_CHECK(error == -EEXIST, "submitting from the creator gave %d", error);
	probe_hold("restricted, enabled by the worker, which is the only issuer");
}
