/* SPDX-License-Identifier: MIT */
/*
 * Claim: options that are set on a listening socket do not reach the connections that are in its
 * backlog already. TCP_INFO of the listening socket tells their number in tcpi_unacked. A second
 * listen(2) replaces the backlog.
 * Since: Linux 2.6.24 (tcp_get_info), the others always.
 * Why: a passed socket has a backlog, and connections in it, before its options are set.
 */
#include "probe.h"

enum { EARLY = 3, BACKLOG = 16 };

static int get(int fd, int level, int option)
{
	socklen_t length = sizeof(int);
	int value = -1;

	PROBE_NEED(getsockopt(fd, level, option, &value, &length) == 0);
	return value;
}

static struct tcp_info ask(int listener)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);

	PROBE_NEED(getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &length) == 0);
	return info;
}

static void connect_to(const struct sockaddr_in *address)
{
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	PROBE_NEED(connect(client, (const struct sockaddr *)address, sizeof(*address)) == 0);
}

int main(void)
{
	struct sockaddr_in address;
	int listener = probe_listen(&address, EARLY);

	for (int i = 0; i < EARLY; i++)
		connect_to(&address);
	probe_set(listener, SOL_SOCKET, SO_OOBINLINE, 1);
	PROBE_NEED(listen(listener, BACKLOG) == 0);
	PROBE_CHECK(ask(listener).tcpi_unacked == EARLY, "tcpi_unacked is %u with %d connections",
		    ask(listener).tcpi_unacked, EARLY);
	/* tcpi_sacked of a listening socket is its backlog */
	PROBE_CHECK(ask(listener).tcpi_sacked == BACKLOG, "the backlog is %u, not %d",
		    ask(listener).tcpi_sacked, BACKLOG);
	connect_to(&address);
	for (int i = 0; i <= EARLY; i++) {
		int inline_bytes = get(probe_accept(listener), SOL_SOCKET, SO_OOBINLINE);

		PROBE_CHECK(inline_bytes == (i == EARLY), "SO_OOBINLINE is %d on connection %d",
			    inline_bytes, i);
	}
	probe_hold("%d early connections without the option, backlog %d", EARLY, BACKLOG);
}
