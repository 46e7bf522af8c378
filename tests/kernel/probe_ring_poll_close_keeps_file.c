/* SPDX-License-Identifier: MIT */
/*
 * Claim: a poll that is armed in the ring keeps its file open: close(2) alone does not send the
 * FIN. The FIN is sent if the poll is cancelled before or after the close, or if the socket is shut
 * down before it.
 * Since: 5.1.
 * Why: session_close cancels and reaps, or shuts down, before it closes. A slot is free only when
 * no request is in flight for it.
 */
#include "probe_ring.h"

enum { POLL_TAG = 1, CANCEL_TAG, QUIET_MS = 100 };

static void poll_arm(struct io_uring *ring, int fd)
{
	struct io_uring_sqe *sqe = probe_ring_sqe(ring);

	io_uring_prep_poll_add(sqe, fd, POLLIN);
	io_uring_sqe_set_data64(sqe, POLL_TAG);
	probe_ring_submit(ring);
}

/* Takes both completions, of the cancel and of the poll, in any order. */
static void poll_cancel(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = probe_ring_sqe(ring);

	io_uring_prep_cancel64(sqe, POLL_TAG, 0);
	io_uring_sqe_set_data64(sqe, CANCEL_TAG);
	probe_ring_submit(ring);
	for (int i = 0; i < 2; i++) {
		struct io_uring_cqe cqe;
		PROBE_CHECK(probe_ring_wait(ring, &cqe, PROBE_DEADLINE_MS),
			    "a cancelled poll does not complete");
		PROBE_CHECK(cqe.res == (cqe.user_data == POLL_TAG ? -ECANCELED : 0),
			    "completion %d gave %d", (int)cqe.user_data, cqe.res);
	}
}

static bool fin_came(int far, int timeout_ms)
{
	return probe_poll(far, POLLIN | POLLRDHUP, timeout_ms) & POLLRDHUP;
}

int main(void)
{
	struct io_uring ring;
	struct io_uring_cqe cqe;
	int near, far;

	probe_ring_open(&ring, 0);

	probe_pair(&near, &far);
	poll_arm(&ring, near);
	PROBE_NEED(close(near) == 0);
	PROBE_CHECK(!fin_came(far, QUIET_MS), "the FIN came although the poll was armed");
	poll_cancel(&ring);
	PROBE_CHECK(fin_came(far, PROBE_DEADLINE_MS), "no FIN after close and then cancel");

	probe_pair(&near, &far);
	poll_arm(&ring, near);
	poll_cancel(&ring);
	PROBE_NEED(close(near) == 0);
	PROBE_CHECK(fin_came(far, PROBE_DEADLINE_MS), "no FIN after cancel and then close");

	probe_pair(&near, &far);
	poll_arm(&ring, near);
	PROBE_NEED(shutdown(near, SHUT_RDWR) == 0 && close(near) == 0);
	PROBE_CHECK(fin_came(far, PROBE_DEADLINE_MS), "no FIN after shutdown and then close");
	PROBE_CHECK(probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS) && cqe.res > 0,
		    "shutdown does not end the poll");
	probe_hold("close alone sends no FIN within %d ms; cancel or shutdown releases it",
		   QUIET_MS);
}
