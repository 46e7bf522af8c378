/* SPDX-License-Identifier: MIT */
/*
 * Claim: sendto(2) with MSG_FASTOPEN on a non-blocking socket begins to connect. It returns the
 * number of bytes that travel with the SYN, or EINPROGRESS (no bytes) if there is no cookie yet.
 * poll(2) reports the socket writable once it is connected or has failed; then SO_ERROR has the
 * error. If the SYN was refused, its bytes reach no program.
 * Since: 3.7 (MSG_FASTOPEN).
 * Why: sock_connect_with() and engine_await_connect() rely on this. Because the bytes of a refused
 * SYN reach no program, a session can send them to another backend.
 */
#include "probe.h"

#include <net/if.h>
#include <sched.h>

#define FIRST "first bytes"

/* Enters a new network namespace, where fast open can be turned on for both sides. */
static void enter_namespace(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd;

	if (unshare(CLONE_NEWNET))
		probe_skip("no network namespace here: %s", strerror(errno));
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	PROBE_NEED(fd >= 0);
	PROBE_NEED(!ioctl(fd, SIOCSIFFLAGS, &request));
	close(fd);
	fd = open("/proc/sys/net/ipv4/tcp_fastopen", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "3", 1) != 1)
		probe_skip("net.ipv4.tcp_fastopen cannot be set: %s", strerror(errno));
	close(fd);
}

/* Begins to connect. Returns the number of bytes in the SYN or -errno; sets *fd to the socket. */
static ssize_t connect_with(const struct sockaddr_in *address, int *fd)
{
	ssize_t taken;

	*fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	PROBE_NEED(*fd >= 0);
	taken = sendto(*fd, FIRST, strlen(FIRST), MSG_FASTOPEN | MSG_DONTWAIT | MSG_NOSIGNAL,
		       (const struct sockaddr *)address, sizeof(*address));
	return taken < 0 ? -errno : taken;
}

static int error_of(int fd)
{
	socklen_t length = sizeof(int);
	int error;

	PROBE_NEED(!getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
	return error;
}

static void expect_connected(int fd)
{
	int seen = probe_poll(fd, POLLOUT, PROBE_DEADLINE_MS);

	PROBE_CHECK(seen == POLLOUT, "connected, and poll says %#x", seen);
	PROBE_CHECK(!error_of(fd), "connected, and there is an error");
}

int main(void)
{
	struct sockaddr_in address;
	char got[32] = "";
	ssize_t taken;
	int listener, client, server, seen, error;

	enter_namespace();
	listener = probe_listen(&address, 8);
	probe_set(listener, IPPROTO_TCP, TCP_FASTOPEN, 8);

	taken = connect_with(&address, &client);
	PROBE_CHECK(taken == -EINPROGRESS, "without a cookie: %zd", taken);
	expect_connected(client);
	close(client);
	close(probe_accept(listener));

	taken = connect_with(&address, &client);
	PROBE_CHECK(taken == (ssize_t)strlen(FIRST), "with a cookie: %zd", taken);
	expect_connected(client);
	server = probe_accept(listener);
	PROBE_CHECK(recv(server, got, sizeof(got), MSG_DONTWAIT) == taken && !strcmp(got, FIRST),
		    "the bytes are not there with the connection");
	close(client);
	close(server);
	close(listener);

	taken = connect_with(&address, &client);
	PROBE_CHECK(taken == (ssize_t)strlen(FIRST), "to nobody: %zd", taken);
	seen = probe_poll(client, POLLOUT, PROBE_DEADLINE_MS);
	error = error_of(client);
	PROBE_CHECK(seen & POLLERR && error == ECONNREFUSED, "refused: poll %#x, error %d", seen,
		    error);
	close(client);
	probe_hold("%zd bytes go with a SYN, and how it went is told as of any connect", taken);
}
