/* SPDX-License-Identifier: MIT */
/*
 * Shared by all kernel probes.
 *
 * A probe checks one claim about the running kernel on which the forwarder relies. It prints one
 * line and exits with
 *   0   the claim at the top of its file holds,
 *   77  this machine cannot answer (the line says why),
 *   1   the claim does not hold (the line says what was seen instead).
 * Probes use loopback and port 0 only, and wait with a deadline for what must happen, never for a
 * fixed time.
 *
 * Include this header first: it asks for the GNU interfaces.
 */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The longest wait for something that must happen; only a failing probe waits this long. */
enum { PROBE_DEADLINE_MS = 5000 };

__attribute__((noreturn, format(printf, 3, 4))) static inline void
probe_exit(int code, const char *verdict, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	printf("%s: ", verdict);
	vprintf(format, arguments);
	printf("\n");
	va_end(arguments);
	exit(code);
}

#define probe_hold(...) probe_exit(0, "holds", __VA_ARGS__)
#define probe_skip(...) probe_exit(77, "skipped", __VA_ARGS__)

/* A part of the claim. The message says what was seen instead. */
#define PROBE_CHECK(condition, ...)                                                                \
	do {                                                                                       \
		if (!(condition))                                                                  \
			probe_exit(1, "does not hold", __VA_ARGS__);                               \
	} while (0)

/* A step of the set-up, without which the probe cannot answer. */
#define PROBE_NEED(condition)                                                                      \
	do {                                                                                       \
		if (!(condition))                                                                  \
			probe_exit(1, "set-up failed", "line %d: %s: %s", __LINE__, #condition,    \
				   strerror(errno));                                               \
	} while (0)

static inline int64_t probe_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Returns the events of poll(2), 0 after the timeout. */
static inline int probe_poll(int fd, int events, int timeout_ms)
{
	struct pollfd entry = {.fd = fd, .events = (short)events};

	PROBE_NEED(poll(&entry, 1, timeout_ms) >= 0);
	return entry.revents;
}

static inline void probe_set(int fd, int level, int option, int value)
{
	PROBE_NEED(setsockopt(fd, level, option, &value, sizeof(value)) == 0);
}

/* Opens a listener on 127.0.0.1, on a port that the kernel chooses. Sets `address`. */
static inline int probe_listen(struct sockaddr_in *address, int backlog)
{
	socklen_t length = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_in){.sin_family = AF_INET,
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	PROBE_NEED(fd >= 0);
	PROBE_NEED(bind(fd, (struct sockaddr *)address, sizeof(*address)) == 0);
	PROBE_NEED(listen(fd, backlog) == 0);
	PROBE_NEED(getsockname(fd, (struct sockaddr *)address, &length) == 0);
	return fd;
}

/* Begins to connect and does not wait. Returns the socket. */
static inline int probe_connect(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	PROBE_NEED(fd >= 0);
	PROBE_NEED(connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
		   errno == EINPROGRESS);
	return fd;
}

static inline int probe_accept(int listener)
{
	int fd;

	PROBE_NEED(probe_poll(listener, POLLIN, PROBE_DEADLINE_MS) & POLLIN);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	PROBE_NEED(fd >= 0);
	return fd;
}

/*
 * A connected loopback pair, non-blocking, TCP_NODELAY set. `near` stands for the forwarder's end,
 * `far` for its peer.
 */
static inline void probe_pair(int *near, int *far)
{
	struct sockaddr_in address;
	int listener = probe_listen(&address, 1);

	*far = probe_connect(&address);
	*near = probe_accept(listener);
	PROBE_NEED(probe_poll(*far, POLLOUT, PROBE_DEADLINE_MS) & POLLOUT);
	probe_set(*near, IPPROTO_TCP, TCP_NODELAY, 1);
	probe_set(*far, IPPROTO_TCP, TCP_NODELAY, 1);
	close(listener);
	signal(SIGPIPE, SIG_IGN);
}

/* O_DIRECT makes every write one buffer of its own. */
static inline void probe_pipe(int pipe_fd[2], int flags)
{
	PROBE_NEED(pipe2(pipe_fd, O_NONBLOCK | O_CLOEXEC | flags) == 0);
}

static inline void probe_send(int fd, const void *bytes, size_t length)
{
	PROBE_NEED(send(fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length);
}

/* Waits until `length` bytes can be read from a socket or a pipe. */
static inline void probe_await_bytes(int fd, int length)
{
	int64_t deadline_ms = probe_now_ms() + PROBE_DEADLINE_MS;
	int queued = 0;

	while (queued < length) {
		PROBE_NEED(ioctl(fd, FIONREAD, &queued) == 0);
		PROBE_NEED(probe_now_ms() < deadline_ms);
		if (queued < length)
			poll(NULL, 0, 1);
	}
}

/* splice(2) as the forwarder calls it; returns the bytes moved, or -errno. */
static inline ssize_t probe_splice(int from, int to, size_t length)
{
	ssize_t moved = splice(from, NULL, to, NULL, length, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	return moved < 0 ? -errno : moved;
}

/* Closes with a RST. */
static inline void probe_reset(int fd)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	PROBE_NEED(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
	PROBE_NEED(close(fd) == 0);
}
