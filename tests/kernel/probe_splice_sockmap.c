/* SPDX-License-Identifier: MIT */
/*
 * Claim: if a socket is in an eBPF sockmap with a stream_verdict program, splice(2) does not see
 * its bytes: it returns EAGAIN although poll(2) reports the socket readable, and 0 once the FIN is
 * there. recv(2) returns the bytes. If a part of a buffer was read before the program's first run,
 * the whole buffer is returned again, by recv(2) too.
 * Since: 4.20 (stream_verdict without a parser: 5.13).
 * Why: agents of other vendors put sockets into a sockmap. The lane calls recv(2) after a splice
 * that found nothing, and so loses no bytes. A program cannot detect the bytes that come twice;
 * `sixpipe doctor` warns.
 */
#include "probe.h"

#include "../sockmap.h"

enum { CHUNK = 64 };

static void join(int fd)
{
	int map = sockmap_join(fd);

	if (map == -EPERM || map == -ENOSYS || map == -EINVAL)
		probe_skip("no sockmap here: %s", strerror(-map));
	errno = -map;
	PROBE_NEED(map >= 0);
}

/*
 * Whether bytes come twice: 10 of 16 bytes are read, the socket joins a map, 1 more byte arrives.
 */
static bool comes_again(void)
{
	char bytes[CHUNK];
	int near, far;
	ssize_t got;

	probe_pair(&near, &far);
	probe_send(far, "0123456789abcdef", 16);
	probe_await_bytes(near, 16);
	PROBE_NEED(recv(near, bytes, 10, 0) == 10);
	join(near);
	probe_send(far, "!", 1);
	PROBE_NEED(probe_poll(near, POLLIN, PROBE_DEADLINE_MS) & POLLIN);
	got = recv(near, bytes, sizeof(bytes), 0);
	close(near);
	close(far);
	return got > 7;
}

int main(void)
{
	char bytes[CHUNK];
	int near, far, pipe_fd[2];
	ssize_t moved;

	probe_pair(&near, &far);
	probe_pipe(pipe_fd, 0);
	join(near);
	probe_send(far, "first", 5);
	PROBE_NEED(probe_poll(near, POLLIN, PROBE_DEADLINE_MS) & POLLIN);
	moved = probe_splice(near, pipe_fd[1], CHUNK);
	PROBE_CHECK(moved == -EAGAIN, "with bytes there splice gave %zd", moved);
	moved = recv(near, bytes, sizeof(bytes), 0);
	PROBE_CHECK(moved == 5 && memcmp(bytes, "first", 5) == 0, "recv gave %zd bytes", moved);

	probe_send(far, "last", 4);
	PROBE_NEED(shutdown(far, SHUT_WR) == 0);
	PROBE_NEED(probe_poll(near, POLLRDHUP, PROBE_DEADLINE_MS) & POLLRDHUP);
	moved = probe_splice(near, pipe_fd[1], CHUNK);
	PROBE_CHECK(moved == 0, "with bytes and a FIN there splice gave %zd", moved);
	moved = recv(near, bytes, sizeof(bytes), 0);
	PROBE_CHECK(moved == 4 && memcmp(bytes, "last", 4) == 0, "recv gave %zd bytes", moved);
	probe_hold("splice misses the bytes, recv gets them; bytes that were read before %s",
		   comes_again() ? "come again" : "do not come again");
}
