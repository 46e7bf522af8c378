/* SPDX-License-Identifier: MIT */
/*
 * Claim: bytes that arrived before a RST can still be spliced; only after them comes ECONNRESET,
 * once. A send that fails also takes the error away: a later splice returns the bytes and then 0,
 * which looks like a clean end.
 * Since: always (tcp_reset keeps the receive queue; the first reader of SO_ERROR clears it).
 * Why: the forwarder delivers these bytes and then resets the other side. It must remember a reset
 * that any call has shown, because the next call would report a FIN.
 */
#include "probe.h"

enum { CHUNK = 64 };

/* Leaves `near` with five bytes to read and a RST after them. */
static void send_then_reset(int *near)
{
	int far;

	probe_pair(near, &far);
	probe_send(far, "hello", 5);
	probe_await_bytes(*near, 5);
	probe_reset(far);
	PROBE_NEED(probe_poll(*near, 0, PROBE_DEADLINE_MS) & POLLHUP);
}

int main(void)
{
	int near, pipe_fd[2], polled;
	ssize_t moved;

	probe_pipe(pipe_fd, 0);
	send_then_reset(&near);
	moved = probe_splice(near, pipe_fd[1], CHUNK);
	PROBE_CHECK(moved == 5, "data before the RST: splice gave %zd", moved);
	moved = probe_splice(near, pipe_fd[1], CHUNK);
	PROBE_CHECK(moved == -ECONNRESET, "after the data: splice gave %zd, not ECONNRESET", moved);
	moved = probe_splice(near, pipe_fd[1], CHUNK);
	PROBE_CHECK(moved == 0, "once the error was taken: splice gave %zd, not 0", moved);
	close(near);

	send_then_reset(&near);
	moved = send(near, "x", 1, MSG_NOSIGNAL);
	PROBE_CHECK(moved < 0 && errno == ECONNRESET, "send after the RST gave %zd (%s)", moved,
		    strerror(errno));
	moved = probe_splice(near, pipe_fd[1], CHUNK);
	PROBE_CHECK(moved == 5, "data before the RST, after a failed send: splice gave %zd", moved);
	moved = probe_splice(near, pipe_fd[1], CHUNK);
	PROBE_CHECK(moved == 0, "after a failed send and the data: splice gave %zd, not 0", moved);
	polled = probe_poll(near, 0, 0);
	PROBE_CHECK(polled == POLLHUP, "with the error taken poll shows 0x%x", (unsigned)polled);
	probe_hold(
		"data, then ECONNRESET once; with the error taken, 0 and POLLHUP without POLLERR");
}
