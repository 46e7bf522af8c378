/* SPDX-License-Identifier: MIT */
/*
 * Claim: if a socket is bound without SO_REUSEPORT and gets SO_REUSEPORT before listen(2), further
 * SO_REUSEPORT sockets of this user can bind the same port and share its connections. A bind
 * without SO_REUSEPORT then fails with EADDRINUSE. Both also hold with SO_REUSEADDR, which a
 * listener needs because of TIME_WAIT.
 * Since: 3.9 (SO_REUSEPORT).
 * Why: if all workers' sockets were bound with SO_REUSEPORT, they would join the group of another
 * sixpipe that serves this port already, without any error, and take half its clients. Binding the
 * first socket without SO_REUSEPORT finds the other sixpipe.
 */
#include "probe.h"

enum { CLIENTS = 64 };

static int bind_socket(bool reuse_address, bool reuse_port, struct sockaddr_in *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	PROBE_NEED(fd >= 0);
	probe_set(fd, SOL_SOCKET, SO_REUSEADDR, reuse_address);
	probe_set(fd, SOL_SOCKET, SO_REUSEPORT, reuse_port);
	if (bind(fd, (struct sockaddr *)address, length) != 0)
		return -errno;
	PROBE_NEED(getsockname(fd, (struct sockaddr *)address, &length) == 0);
	return fd;
}

static int accept_all(int listener)
{
	int fd, count = 0;

	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		close(fd);
		count++;
	}
	return count;
}

static void check_group(bool reuse_address)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int first = bind_socket(reuse_address, false, &address);
	int second, intruder, count[2];

	PROBE_NEED(first >= 0);
	probe_set(first, SOL_SOCKET, SO_REUSEPORT, 1);
	PROBE_NEED(listen(first, CLIENTS) == 0);
	second = bind_socket(reuse_address, true, &address);
	PROBE_CHECK(second >= 0, "SO_REUSEADDR %d: the second bind gave %s", reuse_address,
		    strerror(-second));
	PROBE_CHECK(listen(second, CLIENTS) == 0, "SO_REUSEADDR %d: the second listen gave %s",
		    reuse_address, strerror(errno));
	intruder = bind_socket(reuse_address, false, &address);
	PROBE_CHECK(intruder == -EADDRINUSE, "SO_REUSEADDR %d: a bind without SO_REUSEPORT gave %d",
		    reuse_address, intruder);

	for (int i = 0; i < CLIENTS; i++) {
		int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		PROBE_NEED(client >= 0 &&
			   connect(client, (struct sockaddr *)&address, sizeof(address)) == 0);
		close(client);
	}
	count[0] = accept_all(first);
	count[1] = accept_all(second);
	PROBE_CHECK(count[0] > 0 && count[1] > 0 && count[0] + count[1] == CLIENTS,
		    "SO_REUSEADDR %d: %d clients went %d and %d", reuse_address, CLIENTS, count[0],
		    count[1]);
	close(first);
	close(second);
}

int main(void)
{
	check_group(false);
	check_group(true);
	probe_hold(
		"the group forms after a bind without SO_REUSEPORT, and a later such bind is refused");
}
