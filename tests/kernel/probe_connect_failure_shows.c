/* SPDX-License-Identifier: MIT */
/*
 * Claim: epoll shows EPOLLERR or EPOLLHUP beside EPOLLOUT for a non-blocking connect that was
 * refused, and for a connection that was accepted and reset before anybody looked at it. A
 * successful connect shows EPOLLOUT without these two.
 * Since: always.
 * Why: engine_epoll.c does not read SO_ERROR if a connect shows neither EPOLLERR nor EPOLLHUP.
 */
#include "probe.h"

#include <sys/epoll.h>

enum { FAILURE = EPOLLERR | EPOLLHUP };

/* Waits with epoll for the outcome of the connect, as the engine does. Returns the events. */
static uint32_t events_of(int fd)
{
	struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	PROBE_NEED(epoll_fd >= 0);
	PROBE_NEED(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0);
	PROBE_NEED(epoll_wait(epoll_fd, &event, 1, PROBE_DEADLINE_MS) == 1);
	close(epoll_fd);
	return event.events;
}

static int error_of(int fd)
{
	socklen_t length = sizeof(int);
	int error;

	PROBE_NEED(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0);
	return error;
}

static void check_failed(const char *how, int fd, int expected)
{
	uint32_t seen = events_of(fd);
	int error = error_of(fd);

	PROBE_CHECK(seen & EPOLLOUT && seen & FAILURE, "%s: epoll shows %#x", how, seen);
	PROBE_CHECK(error == expected, "%s: SO_ERROR is %s", how, strerror(error));
	close(fd);
}

int main(void)
{
	struct sockaddr_in address;
	int listener = probe_listen(&address, 8);
	int fd = probe_connect(&address);
	uint32_t seen = events_of(fd);

	PROBE_CHECK(seen == EPOLLOUT, "connected: epoll shows %#x", seen);
	PROBE_CHECK(error_of(fd) == 0, "connected: SO_ERROR is set");
	close(fd);
	close(probe_accept(listener));

	fd = probe_connect(&address);
	probe_reset(probe_accept(listener));
	check_failed("accepted and reset", fd, ECONNRESET);

	close(listener);
	fd = probe_connect(&address);
	check_failed("refused", fd, ECONNREFUSED);
	probe_hold("a failed connect shows EPOLLERR or EPOLLHUP, a successful one neither");
}
