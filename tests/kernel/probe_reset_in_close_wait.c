/* SPDX-License-Identifier: MIT */
/*
 * Claim: a RST that arrives after the peer's FIN (in CLOSE_WAIT) leaves EPIPE as the socket's
 * error, not ECONNRESET. A splice from that socket goes on returning 0: only POLLERR, SO_ERROR and
 * a send show the RST.
 * Since: always (tcp_reset).
 * Why: EPIPE from a send or from SO_ERROR is a reset by the peer, as ECONNRESET is. A lane whose
 * read side has ended must wait for POLLERR on that socket, because reading never shows the reset.
 */
#include "probe.h"

enum { CHUNK = 64 };

/* Leaves `near` with the peer's FIN seen and a RST after it. */
static void fin_then_reset(int *near, const int pipe_fd[2])
{
	ssize_t moved;
	int far, polled;

	probe_pair(near, &far);
	PROBE_NEED(shutdown(far, SHUT_WR) == 0);
	PROBE_NEED(probe_poll(*near, POLLRDHUP, PROBE_DEADLINE_MS) & POLLRDHUP);
	moved = probe_splice(*near, pipe_fd[1], CHUNK);
	PROBE_CHECK(moved == 0, "at the FIN: splice gave %zd", moved);
	probe_reset(far);
	polled = probe_poll(*near, 0, PROBE_DEADLINE_MS);
	PROBE_CHECK(polled == (POLLERR | POLLHUP), "at the RST: poll gave 0x%x", (unsigned)polled);
	moved = probe_splice(*near, pipe_fd[1], CHUNK);
	PROBE_CHECK(moved == 0, "at the RST: splice gave %zd, not 0", moved);
}

int main(void)
{
	int near, pipe_fd[2], error = 0;
	socklen_t length = sizeof(error);
	ssize_t moved;

	probe_pipe(pipe_fd, 0);
	fin_then_reset(&near, pipe_fd);
	PROBE_NEED(getsockopt(near, SOL_SOCKET, SO_ERROR, &error, &length) == 0);
	PROBE_CHECK(error == EPIPE, "SO_ERROR is %d (%s)", error, strerror(error));
	close(near);

	fin_then_reset(&near, pipe_fd);
	PROBE_NEED(write(pipe_fd[1], "x", 1) == 1);
	moved = probe_splice(pipe_fd[0], near, 1);
	PROBE_CHECK(moved == -EPIPE, "splice to the socket gave %zd", moved);
	probe_hold("EPIPE from SO_ERROR and from splice to it; splice from it returns 0");
}
