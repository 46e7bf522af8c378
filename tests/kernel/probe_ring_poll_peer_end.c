/* SPDX-License-Identifier: MIT */
/*
 * Claim: on a full socket whose peer has ended its stream, a oneshot poll for POLLOUT completes at
 * once with POLLRDHUP, although nobody asked for that event. A oneshot poll for no event does the
 * same. A multishot poll reports POLLRDHUP once, and then nothing until the socket is writable.
 * Since: 5.1. poll(2) and epoll(7) report POLLRDHUP only if asked for it.
 * Why: a lane that waits with oneshot polls to write to such a socket would spin. So the engine
 * uses a multishot poll for this wait and drops the completions that do not meet the condition.
 */
#include "probe_ring.h"

enum { ROUNDS = 3, QUIET_MS = 50 };

static void fill(int fd)
{
	static const char bytes[65536];

	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	PROBE_NEED(errno == EAGAIN);
}

static void drain(int fd)
{
	static char bytes[65536];

	while (probe_poll(fd, POLLIN, QUIET_MS) & POLLIN)
		if (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) <= 0)
			return;
}

int main(void)
{
	struct io_uring ring;
	struct io_uring_cqe cqe;
	int near, far;
	bool writable = false;

	probe_ring_open(&ring, 0);
	probe_pair(&near, &far);
	PROBE_NEED(!shutdown(far, SHUT_WR));
	PROBE_NEED(probe_poll(near, POLLIN | POLLRDHUP, PROBE_DEADLINE_MS) & POLLRDHUP);
	fill(near);
	for (int i = 0; i < 2 * ROUNDS; i++) {
		io_uring_prep_poll_add(probe_ring_sqe(&ring), near, i < ROUNDS ? POLLOUT : 0);
		probe_ring_submit(&ring);
		PROBE_CHECK(probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS),
			    "oneshot %d: no completion; the engine's detour is not needed here", i);
		PROBE_CHECK(cqe.res == POLLRDHUP, "oneshot %d: events 0x%x", i, cqe.res);
	}

	io_uring_prep_poll_multishot(probe_ring_sqe(&ring), near, POLLOUT);
	probe_ring_submit(&ring);
	PROBE_CHECK(probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS) && cqe.res == POLLRDHUP &&
			    cqe.flags & IORING_CQE_F_MORE,
		    "multishot: %d, flags 0x%x", cqe.res, cqe.flags);
	PROBE_CHECK(!probe_ring_wait(&ring, &cqe, QUIET_MS), "multishot: it spins, too: %d",
		    cqe.res);
	drain(far);
	while (!writable && probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS)) {
		PROBE_CHECK(cqe.flags & IORING_CQE_F_MORE, "multishot ended: %d", cqe.res);
		writable = cqe.res & POLLOUT;
	}
	PROBE_CHECK(writable, "multishot: nothing said that the socket became writable");
	probe_hold("oneshot gives POLLRDHUP for ever, multishot once");
}
