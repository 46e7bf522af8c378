/* SPDX-License-Identifier: MIT */
/*
 * Claim: a multishot accept that finds no free descriptor completes with EMFILE and without F_MORE:
 * it has ended. The connection stays in the backlog, and an accept that is armed later gets it.
 * Since: 5.19 (multishot accept).
 * Why: the listener looks at F_MORE, not at the result, to know that it must arm the accept again.
 * It does so after a pause, because an accept would fail again at once.
 */
#include "probe_ring.h"

#include <sys/resource.h>

int main(void)
{
	struct io_uring ring;
	struct io_uring_cqe cqe;
	struct sockaddr_in address;
	struct rlimit files, few;
	int listener, client[2], next;

	probe_ring_open(&ring, 0);
	listener = probe_listen(&address, 8);
	client[0] = socket(AF_INET, SOCK_STREAM, 0);
	client[1] = socket(AF_INET, SOCK_STREAM, 0);
	next = dup(listener);
	PROBE_NEED(client[0] >= 0 && client[1] >= 0 && next >= 0 && close(next) == 0);
	PROBE_NEED(getrlimit(RLIMIT_NOFILE, &files) == 0);
	few = (struct rlimit){.rlim_cur = (rlim_t)next + 1, .rlim_max = files.rlim_max};
	PROBE_NEED(setrlimit(RLIMIT_NOFILE, &few) == 0);

	io_uring_prep_multishot_accept(probe_ring_sqe(&ring), listener, NULL, NULL, SOCK_NONBLOCK);
	probe_ring_submit(&ring);
	PROBE_NEED(connect(client[0], (struct sockaddr *)&address, sizeof(address)) == 0);
	PROBE_NEED(probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS));
	if (cqe.res == -EINVAL)
		probe_skip("no multishot accept before 5.19");
	PROBE_CHECK(cqe.res == next && cqe.flags & IORING_CQE_F_MORE,
		    "the first accept gave %d, flags 0x%x", cqe.res, cqe.flags);

	PROBE_NEED(connect(client[1], (struct sockaddr *)&address, sizeof(address)) == 0);
	PROBE_CHECK(probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS),
		    "no completion without a descriptor left");
	PROBE_CHECK(cqe.res == -EMFILE && !(cqe.flags & IORING_CQE_F_MORE),
		    "the accept without a descriptor left gave %d, flags 0x%x", cqe.res, cqe.flags);
	PROBE_CHECK(!probe_ring_wait(&ring, &cqe, 20), "a further completion: %d, flags 0x%x",
		    cqe.res, cqe.flags);

	PROBE_NEED(setrlimit(RLIMIT_NOFILE, &files) == 0);
	io_uring_prep_multishot_accept(probe_ring_sqe(&ring), listener, NULL, NULL, SOCK_NONBLOCK);
	probe_ring_submit(&ring);
	PROBE_CHECK(probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS) && cqe.res >= 0,
		    "the queued connection is lost: %d", cqe.res);
	probe_hold(
		"EMFILE ends it without F_MORE; the queued connection waits for the next accept");
}
