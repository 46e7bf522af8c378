/* SPDX-License-Identifier: MIT */
/*
 * Claim: a listening socket that was destroyed from outside (SOCK_DESTROY, as by ss -K) reports
 * POLLHUP and POLLERR, fails accept with EINVAL, and keeps its port. It serves again after
 * connect(2) to AF_UNSPEC and listen(2). Without that connect its accepted sockets are shut down
 * from the beginning.
 * Since: 4.5 (CONFIG_INET_DIAG_DESTROY).
 * Why: a destroyed listener is opened again in the same socket, because the privileges to make a
 * new socket are gone.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#ifndef SOCK_DESTROY
#define SOCK_DESTROY 21
#endif

/* Destroys the socket that listens on [::1]:port; returns 0 or -errno. */
static int destroy(uint16_t port)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 body;
	} request = {
		.head = {.nlmsg_len = sizeof(request),
			 .nlmsg_type = SOCK_DESTROY,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.body = {.sdiag_family = AF_INET6,
			 .sdiag_protocol = IPPROTO_TCP,
			 .idiag_states = ~0U,
			 .id = {.idiag_sport = htons(port),
				.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
	};
	struct {
		struct nlmsghdr head;
		struct nlmsgerr body;
		char rest[512];
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	PROBE_NEED(fd >= 0);
	memcpy(request.body.id.idiag_src, &in6addr_loopback, sizeof(in6addr_loopback));
	PROBE_NEED(send(fd, &request, sizeof(request), 0) == (ssize_t)sizeof(request));
	PROBE_NEED(recv(fd, &answer, sizeof(answer), 0) > 0);
	close(fd);
	return answer.body.error;
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in6 address = {
		.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	PROBE_NEED(fd >= 0);
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	close(fd);
	return -errno;
}

/* Returns a free port. It is bound explicitly, because a port that the kernel chose is not kept. */
static int listen_on(uint16_t *port)
{
	int one = 1;

	for (*port = 20000; *port < 30000; ++*port) {
		struct sockaddr_in6 address = {.sin6_family = AF_INET6,
					       .sin6_port = htons(*port),
					       .sin6_addr = in6addr_loopback};
		int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		PROBE_NEED(fd >= 0);
		PROBE_NEED(!setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
		if (!bind(fd, (struct sockaddr *)&address, sizeof(address)) && !listen(fd, 8))
			return fd;
		close(fd);
	}
	probe_skip("no port is free");
}

int main(void)
{
	const struct sockaddr nothing = {.sa_family = AF_UNSPEC};
	struct pollfd polled = {.events = POLLIN};
	int fd, client, server, error;
	uint16_t port;
	char byte;

	fd = polled.fd = listen_on(&port);
	error = destroy(port);
	if (error)
		probe_skip("the socket cannot be destroyed: %s", strerror(-error));
	PROBE_CHECK(poll(&polled, 1, 0) == 1 && polled.revents & POLLHUP &&
			    polled.revents & POLLERR,
		    "a destroyed listener reports %#x", (unsigned)polled.revents);
	PROBE_CHECK(accept(fd, NULL, NULL) < 0 && errno == EINVAL, "accept: %s", strerror(errno));
	PROBE_CHECK(connect_to(port) == -ECONNREFUSED, "a connect to it is not refused");
	PROBE_CHECK(!connect(fd, &nothing, sizeof(nothing)), "connect to AF_UNSPEC: %s",
		    strerror(errno));
	PROBE_CHECK(!listen(fd, 8), "listen: %s", strerror(errno));
	client = connect_to(port);
	PROBE_CHECK(client >= 0, "a connect afterwards: %s", strerror(-client));
	PROBE_NEED(probe_poll(fd, POLLIN, PROBE_DEADLINE_MS));
	server = accept(fd, NULL, NULL);
	PROBE_CHECK(server >= 0, "accept afterwards: %s", strerror(errno));
	probe_send(client, "x", 1);
	PROBE_NEED(probe_poll(server, POLLIN, PROBE_DEADLINE_MS));
	PROBE_CHECK(recv(server, &byte, 1, 0) == 1, "nothing is received afterwards");
	probe_hold("a destroyed listener serves again");
}
