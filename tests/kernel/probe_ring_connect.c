/* SPDX-License-Identifier: MIT */
/*
 * Claim: IORING_OP_CONNECT on a non-blocking socket completes when the connection is decided, never
 * with EINPROGRESS: with 0, with ECONNREFUSED, or with ECANCELED if it was cancelled before.
 * Since: 5.5.
 * Why: a connect is one submission and one completion; the connect timeout cancels it.
 */
#include "probe_ring.h"

enum { CONNECT_TAG = 1, CANCEL_TAG, QUIET_MS = 50, FILL_MAX = 16 };

static void connect_start(struct io_uring *ring, const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct io_uring_sqe *sqe = probe_ring_sqe(ring);

	PROBE_NEED(fd >= 0);
	io_uring_prep_connect(sqe, fd, (const struct sockaddr *)address, sizeof(*address));
	io_uring_sqe_set_data64(sqe, CONNECT_TAG);
	probe_ring_submit(ring);
}

/* Fills the accept queue, so that the kernel drops the next SYN. Returns whether that worked. */
static bool fill_queue(const struct sockaddr_in *address)
{
	for (int i = 0; i < FILL_MAX; i++)
		if (probe_poll(probe_connect(address), POLLOUT, QUIET_MS) == 0)
			return true;
	return false;
}

/* Bound and not listening: connects are refused, and no other process can get the port. */
static void bind_only(struct sockaddr_in *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address->sin_port = 0;
	PROBE_NEED(bind(fd, (struct sockaddr *)address, length) == 0);
	PROBE_NEED(getsockname(fd, (struct sockaddr *)address, &length) == 0);
}

int main(void)
{
	struct io_uring ring;
	struct io_uring_cqe cqe;
	struct io_uring_sqe *sqe;
	struct sockaddr_in address;

	probe_ring_open(&ring, 0);
	probe_listen(&address, 0);
	connect_start(&ring, &address);
	PROBE_CHECK(probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS) && cqe.res == 0,
		    "to a listener: %d", cqe.res);

	bool is_full = fill_queue(&address);
	if (is_full) {
		connect_start(&ring, &address);
		PROBE_CHECK(!probe_ring_wait(&ring, &cqe, QUIET_MS),
			    "a pending connect completed with %d", cqe.res);
		sqe = probe_ring_sqe(&ring);
		io_uring_prep_cancel64(sqe, CONNECT_TAG, 0);
		io_uring_sqe_set_data64(sqe, CANCEL_TAG);
		probe_ring_submit(&ring);
		for (int i = 0; i < 2; i++) {
			PROBE_CHECK(probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS),
				    "a cancelled connect does not complete");
			PROBE_CHECK(cqe.res == (cqe.user_data == CONNECT_TAG ? -ECANCELED : 0),
				    "completion %d gave %d", (int)cqe.user_data, cqe.res);
		}
	}

	bind_only(&address);
	connect_start(&ring, &address);
	PROBE_CHECK(probe_ring_wait(&ring, &cqe, PROBE_DEADLINE_MS) && cqe.res == -ECONNREFUSED,
		    "to nobody: %d", cqe.res);
	if (!is_full)
		probe_skip("0 and ECONNREFUSED hold; no connect could be kept pending here");
	probe_hold("0, ECONNREFUSED, and ECANCELED when cancelled");
}
