/* SPDX-License-Identifier: MIT */
/*
 * Claim: SO_MEMINFO shows the room of a socket: sndbuf - wmem_queued. Towards a peer that does not
 * read, a splice of at most 7/8 of the room is taken whole, if the pipe's buffers have a segment
 * (1448 bytes) or more and the peer has an ordinary receive window.
 * Since: 4.12 (SO_MEMINFO).
 * Why: a lane reads only as many bytes as its write side has room for, so that a stalled write side
 * holds no pipe. The room is an estimate: the kernel charges some 800 bytes for each skb beside its
 * data, and an skb has at most 17 buffers, and at most half of the peer's largest window. So with
 * many small buffers, or a peer with a tiny window, a rest stays in the pipe; this probe reports
 * how much, without judging. A limit on unsent bytes (TCP_NOTSENT_LOWAT) makes the room smaller
 * than SO_MEMINFO shows.
 */
#include "probe.h"

#include <linux/sock_diag.h>

enum { PIPE_BYTES = 1 << 20, BUFFER_LIMIT = 4096, ROUND_LIMIT = 1000 };

struct row {
	const char *name;
	int buffer_bytes;
	int segment_bytes; /* TCP_MAXSEG; 0: the default of loopback, near 64 KiB */
	int window_bytes;  /* the peer's SO_RCVBUF; 0: the default */
};

static const struct row claimed[] = {
	{"pages", 4096, 0, 0},
	{"segments", 1448, 0, 0},
	{"pages, MTU 1500", 4096, 1448, 0},
	{"segments, MTU 1500", 1448, 1448, 0},
};

static const struct row reported[] = {
	{"100-byte buffers", 100, 1448, 0},
	{"1-byte buffers", 1, 1448, 0},
	{"tiny window", 4096, 1448, 1152},
};

static void connect_row(const struct row *row, int *near, int *far)
{
	struct sockaddr_in address;
	int listener = probe_listen(&address, 1);

	if (row->segment_bytes > 0)
		probe_set(listener, IPPROTO_TCP, TCP_MAXSEG, row->segment_bytes);
	*far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (row->window_bytes > 0)
		probe_set(*far, SOL_SOCKET, SO_RCVBUF, row->window_bytes);
	PROBE_NEED(connect(*far, (struct sockaddr *)&address, sizeof(address)) == 0);
	*near = probe_accept(listener);
	close(listener);
}

static int64_t room_of(int fd)
{
	uint32_t memory[SK_MEMINFO_VARS] = {0};
	socklen_t length = sizeof(memory);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &length) != 0)
		probe_skip("SO_MEMINFO: %s", strerror(errno));
	return (int64_t)memory[SK_MEMINFO_SNDBUF] - memory[SK_MEMINFO_WMEM_QUEUED];
}

/* Fills the pipe with at most `limit` bytes in buffers of the given size. Returns the bytes. */
static size_t pipe_fill(int pipe_fd, size_t limit, size_t buffer_bytes)
{
	static const char buffer[BUFFER_LIMIT];
	size_t filled = 0;

	while (filled < limit) {
		size_t part = limit - filled < buffer_bytes ? limit - filled : buffer_bytes;
		if (write(pipe_fd, buffer, part) < 0)
			break;
		filled += part;
	}
	return filled;
}

/*
 * Splices 7/8 of the room again and again, until there is no room or a rest stays in the pipe.
 * Returns the rest; sets `offered` to the bytes of the last splice.
 */
static size_t stall(const struct row *row, size_t *offered)
{
	int near, far, pipe_fd[2];
	int64_t room;
	size_t left = 0;

	connect_row(row, &near, &far);
	probe_pipe(pipe_fd, O_DIRECT);
	PROBE_NEED(fcntl(pipe_fd[1], F_SETPIPE_SZ, PIPE_BYTES) == PIPE_BYTES);
	for (int i = 0; i < ROUND_LIMIT && left == 0 && (room = room_of(near) / 8 * 7) > 0; i++) {
		ssize_t moved = 1;
		*offered = pipe_fill(pipe_fd[1], (size_t)room, (size_t)row->buffer_bytes);
		for (left = *offered; left > 0 && moved > 0; left -= moved > 0 ? (size_t)moved : 0)
			moved = probe_splice(pipe_fd[0], near, left);
	}
	close(near);
	close(far);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	return left;
}

int main(void)
{
	char report[256];
	size_t used = 0, offered = 0;

	for (size_t i = 0; i < sizeof(claimed) / sizeof(claimed[0]); i++) {
		size_t left = stall(&claimed[i], &offered);
		PROBE_CHECK(left == 0, "%s: %zu of %zu bytes were left", claimed[i].name, left,
			    offered);
	}
	for (size_t i = 0; i < sizeof(reported) / sizeof(reported[0]); i++) {
		size_t left = stall(&reported[i], &offered);
		used += (size_t)snprintf(report + used, sizeof(report) - used,
					 "; %s: %zu of %zu left", reported[i].name, left, offered);
	}
	probe_hold("pages and segments are taken whole%s", report);
}
