/* SPDX-License-Identifier: MIT */
/*
 * Claim: splice(pipe -> socket) with the exact number of bytes is delivered at once, whatever the
 * number of buffers.
 * Since: always; it matters since 6.5, when splice became MSG_SPLICE_PAGES.
 * Why: with a length above the pipe's content, every 16th buffer is sent as if SPLICE_F_MORE were
 * set. If that is the last buffer, the end of the data may wait for 200 ms (on 6.18 with 16 and 48
 * buffers of 100 bytes, not with 32). So the pump counts the bytes in a pipe and passes exactly
 * this number. The probe reports what this kernel does with a length that is too large, without
 * judging.
 */
#include "probe.h"

enum { BUFFER_BYTES = 100, TRIES = 3, AT_ONCE_MS = 100 };

/*
 * The milliseconds until `buffers` buffers have arrived if the splice asks for `excess_bytes` too
 * many. The best of TRIES.
 */
static int deliver(int buffers, size_t excess_bytes)
{
	static const char buffer[BUFFER_BYTES];
	size_t total = (size_t)buffers * BUFFER_BYTES;
	int best_ms = PROBE_DEADLINE_MS;

	for (int try = 0; try < TRIES && best_ms >= AT_ONCE_MS; try++) {
		int near, far, pipe_fd[2];
		size_t sent = 0;

		probe_pair(&near, &far);
		probe_pipe(pipe_fd, O_DIRECT);
		PROBE_NEED(fcntl(pipe_fd[1], F_SETPIPE_SZ, 64 * 4096) > 0);
		for (int i = 0; i < buffers; i++)
			PROBE_NEED(write(pipe_fd[1], buffer, sizeof(buffer)) == sizeof(buffer));
		int64_t start_ms = probe_now_ms();
		while (sent < total) {
			ssize_t moved = probe_splice(pipe_fd[0], near, total - sent + excess_bytes);
			PROBE_CHECK(moved > 0, "splice of %d buffers gave %zd after %zu bytes",
				    buffers, moved, sent);
			sent += (size_t)moved;
		}
		probe_await_bytes(far, (int)total);
		int elapsed_ms = (int)(probe_now_ms() - start_ms);
		best_ms = elapsed_ms < best_ms ? elapsed_ms : best_ms;
		close(near);
		close(far);
		close(pipe_fd[0]);
		close(pipe_fd[1]);
	}
	return best_ms;
}

int main(void)
{
	static const int rows[] = {16, 32, 48};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int exact_ms = deliver(rows[i], 0);
		PROBE_CHECK(exact_ms < AT_ONCE_MS, "%d buffers by their exact length took %d ms",
			    rows[i], exact_ms);
	}
	probe_hold("at once by the exact length; 16 buffers by one byte more took %d ms",
		   deliver(16, 1));
}
