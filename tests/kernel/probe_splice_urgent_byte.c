/* SPDX-License-Identifier: MIT */
/*
 * Claim: splice stops before a TCP urgent byte with EAGAIN for ever, although poll(2) reports the
 * socket readable, and SO_OOBINLINE does not change this. With SO_OOBINLINE, recv(MSG_PEEK) at this
 * point returns the urgent byte and the bytes after it, recv(MSG_TRUNC) of as many bytes discards
 * them, and splice works again.
 * Since: 2.6.25 (splice); recv(MSG_TRUNC) discards since 2.4.
 * Why: with a single urgent byte any client could make a forwarder spin that only splices. The sign
 * is a readable socket, an empty pipe and EAGAIN; then a lane peeks, sends and discards.
 * SO_OOBINLINE keeps the byte in the stream.
 */
#include "probe.h"

enum { CHUNK = 64 };

/* Sends `before`, then the urgent byte '!' and "after", and splices up to the urgent byte. */
static void meet_urgent_byte(int near, int far, const int pipe_fd[2])
{
	ssize_t moved;
	int polled;

	probe_send(far, "before", 6);
	probe_await_bytes(near, 6);
	PROBE_NEED(send(far, "!", 1, MSG_OOB) == 1);
	probe_send(far, "after", 5);
	PROBE_NEED(probe_poll(near, POLLPRI, PROBE_DEADLINE_MS) & POLLPRI);

	moved = probe_splice(near, pipe_fd[1], CHUNK);
	PROBE_CHECK(moved == 6, "before the urgent byte: splice gave %zd, not 6", moved);
	polled = probe_poll(near, POLLIN, PROBE_DEADLINE_MS);
	for (int i = 0; i < 3; i++) {
		moved = probe_splice(near, pipe_fd[1], CHUNK);
		polled &= probe_poll(near, POLLIN, 0);
		PROBE_CHECK(moved == -EAGAIN && polled & POLLIN,
			    "at the urgent byte: splice gave %zd, poll 0x%x", moved,
			    (unsigned)polled);
	}
}

int main(void)
{
	char bytes[CHUNK];
	int near, far, pipe_fd[2];
	ssize_t moved;

	/* Urgent byte out of line: recv skips the byte, and the stream loses it. */
	probe_pair(&near, &far);
	probe_pipe(pipe_fd, 0);
	meet_urgent_byte(near, far, pipe_fd);
	moved = recv(near, bytes, sizeof(bytes), MSG_PEEK);
	PROBE_CHECK(moved == 5 && memcmp(bytes, "after", 5) == 0,
		    "out of line: peek gave %zd bytes", moved);
	close(near);
	close(far);
	close(pipe_fd[0]);
	close(pipe_fd[1]);

	/* Urgent byte in line: the stream loses nothing. */
	probe_pair(&near, &far);
	probe_pipe(pipe_fd, 0);
	probe_set(near, SOL_SOCKET, SO_OOBINLINE, 1);
	meet_urgent_byte(near, far, pipe_fd);
	probe_await_bytes(near, 6);
	moved = recv(near, bytes, sizeof(bytes), MSG_PEEK);
	PROBE_CHECK(moved == 6 && memcmp(bytes, "!after", 6) == 0, "in line: peek gave %zd bytes",
		    moved);
	moved = recv(near, NULL, 6, MSG_TRUNC);
	PROBE_CHECK(moved == 6, "discarding 6 bytes gave %zd", moved);

	probe_send(far, "later", 5);
	PROBE_NEED(probe_poll(near, POLLIN, PROBE_DEADLINE_MS) & POLLIN);
	moved = probe_splice(near, pipe_fd[1], CHUNK);
	PROBE_CHECK(moved == 5, "past the urgent byte: splice gave %zd, not 5", moved);
	moved = read(pipe_fd[0], bytes, sizeof(bytes));
	PROBE_CHECK(moved == 11 && memcmp(bytes, "beforelater", 11) == 0, "the pipe held %zd bytes",
		    moved);
	probe_hold("splice stops at an urgent byte; peek and discard step past it");
}
