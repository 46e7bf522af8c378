/* SPDX-License-Identifier: MIT */
/*
 * Claim: if the pipe was empty, EAGAIN from splice(socket -> pipe) means that the socket is empty.
 * If the pipe was full, EAGAIN means only that; bytes or a FIN may still wait in the socket. A pipe
 * is full by slots, one for each fragment, not by bytes.
 * Since: 2.6.25 (a full pipe gives EAGAIN before the socket is looked at).
 * Why: a lane concludes that its read side is empty only if the pipe was empty. Otherwise it
 * flushes and tries again.
 */
#include "probe.h"

enum { SEGMENTS = 100, PIPE_BYTES = 16 * 4096 };

static char scratch[PIPE_BYTES];

int main(void)
{
	int near, far, pipe_fd[2];
	int held = 0, queued = 0;
	ssize_t moved;

	probe_pair(&near, &far);
	probe_pipe(pipe_fd, 0);
	PROBE_NEED(fcntl(pipe_fd[1], F_SETPIPE_SZ, PIPE_BYTES) == PIPE_BYTES);

	moved = probe_splice(near, pipe_fd[1], PIPE_BYTES);
	PROBE_CHECK(moved == -EAGAIN, "empty socket, empty pipe: splice gave %zd", moved);

	/* Far fewer bytes than the pipe's size fill it, because each segment takes a slot. */
	for (int i = 0; i < SEGMENTS; i++) {
		probe_send(far, "x", 1);
		probe_await_bytes(near, i + 1);
	}
	while ((moved = probe_splice(near, pipe_fd[1], PIPE_BYTES)) > 0)
		held += (int)moved;
	PROBE_NEED(ioctl(near, FIONREAD, &queued) == 0);
	PROBE_CHECK(moved == -EAGAIN && held > 0 && queued == SEGMENTS - held,
		    "%d one-byte segments: %d in the pipe, %d still queued, then splice gave %zd",
		    SEGMENTS, held, queued, moved);
	PROBE_CHECK(queued > 0, "a pipe of %d bytes took all of %d one-byte segments", PIPE_BYTES,
		    SEGMENTS);

	/* Flush and splice again until EAGAIN with an empty pipe: only then the socket is empty. */
	int total = held;
	do {
		PROBE_NEED(read(pipe_fd[0], scratch, sizeof(scratch)) > 0);
		moved = probe_splice(near, pipe_fd[1], PIPE_BYTES);
		total += moved > 0 ? (int)moved : 0;
	} while (moved > 0);
	PROBE_NEED(ioctl(near, FIONREAD, &queued) == 0);
	PROBE_CHECK(moved == -EAGAIN && total == SEGMENTS && queued == 0,
		    "with the pipe emptied each time %d of %d bytes came, then %zd", total,
		    SEGMENTS, moved);

	/* With a full pipe a FIN shows as EAGAIN, and as 0 once the pipe has room. */
	while (write(pipe_fd[1], scratch, sizeof(scratch)) > 0)
		;
	PROBE_NEED(shutdown(far, SHUT_WR) == 0);
	PROBE_NEED(probe_poll(near, POLLIN | POLLRDHUP, PROBE_DEADLINE_MS) & POLLRDHUP);
	moved = probe_splice(near, pipe_fd[1], PIPE_BYTES);
	PROBE_CHECK(moved == -EAGAIN, "FIN and a full pipe: splice gave %zd", moved);
	while (read(pipe_fd[0], scratch, sizeof(scratch)) > 0)
		;
	moved = probe_splice(near, pipe_fd[1], PIPE_BYTES);
	PROBE_CHECK(moved == 0, "FIN and an empty pipe: splice gave %zd", moved);
	probe_hold("a pipe of %d bytes was full at %d of %d one-byte segments", PIPE_BYTES, held,
		   SEGMENTS);
}
