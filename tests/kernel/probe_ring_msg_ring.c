/* SPDX-License-Identifier: MIT */
/*
 * Claim: IORING_OP_MSG_RING puts a completion with the sender's user_data and result into the ring
 * of another thread, and wakes that thread from its wait, also with DEFER_TASKRUN.
 * Since: 5.18; DEFER_TASKRUN since 6.1.
 * Why: a worker hands an accepted socket over to another worker without an eventfd or a lock.
 */
#include "probe_ring.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

enum { RESULT = 4711 };
static const uint64_t tag = 0x1122334455667788;

static struct io_uring target;
static atomic_int target_tid;

static void *target_run(void *argument)
{
	struct io_uring_cqe cqe;
	bool came;

	(void)argument;
	PROBE_NEED(syscall(__NR_io_uring_register, target.ring_fd, IORING_REGISTER_ENABLE_RINGS,
			   NULL, 0) == 0);
	atomic_store(&target_tid, (int)syscall(SYS_gettid));
	came = probe_ring_wait(&target, &cqe, PROBE_DEADLINE_MS);
	PROBE_CHECK(came, "the waiting thread was not woken");
	PROBE_CHECK(cqe.user_data == tag && cqe.res == RESULT,
		    "it got user_data 0x%llx and result %d", (unsigned long long)cqe.user_data,
		    cqe.res);
	return NULL;
}

/* Whether the thread sleeps; it sleeps only in its wait. */
static bool target_is_asleep(void)
{
	char path[64], state = '?';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", atomic_load(&target_tid));
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = '?';
	fclose(file);
	return state == 'S';
}

int main(void)
{
	struct io_uring ring;
	struct io_uring_cqe cqe;
	struct io_uring_sqe *sqe;
	pthread_t thread;
	int64_t start_ms = probe_now_ms();

	probe_ring_open(&target, IORING_SETUP_R_DISABLED);
	probe_ring_open(&ring, 0);
	PROBE_NEED(pthread_create(&thread, NULL, target_run, NULL) == 0);
	while (!target_is_asleep()) {
		PROBE_NEED(probe_now_ms() < start_ms + PROBE_DEADLINE_MS);
		poll(NULL, 0, 1);
	}

	sqe = probe_ring_sqe(&ring);
	io_uring_prep_msg_ring(sqe, target.ring_fd, RESULT, tag, 0);
	probe_ring_submit(&ring);
	PROBE_NEED(probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS));
	if (cqe.res == -EINVAL)
		probe_skip("no IORING_OP_MSG_RING before 5.18");
	PROBE_CHECK(cqe.res == 0, "the sender got %s", strerror(-cqe.res));
	PROBE_NEED(pthread_join(thread, NULL) == 0);
	probe_hold("a message wakes the other ring's thread, with its user_data and result");
}
