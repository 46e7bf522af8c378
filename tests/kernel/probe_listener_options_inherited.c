/* SPDX-License-Identifier: MIT */
/*
 * Claim: an accepted socket inherits these options from its listener: SO_OOBINLINE, TCP_NODELAY,
 * SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT and SO_LINGER.
 * Since: always (inet_csk_clone_lock copies the listener's socket).
 * Why: the options are set once for each listener instead of once for each connection.
 */
#include "probe.h"

static const struct row {
	const char *name;
	int level, option, value;
} rows[] = {
	{"SO_OOBINLINE", SOL_SOCKET, SO_OOBINLINE, 1},
	{"TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, 1},
	{"SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 1},
	{"TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, 123},
	{"TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL, 12},
	{"TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT, 4},
	{"TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT, 45678},
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static int option_get(int fd, const struct row *row)
{
	socklen_t length = sizeof(int);
	int value = -1;

	PROBE_NEED(getsockopt(fd, row->level, row->option, &value, &length) == 0);
	return value;
}

static void check_linger(const char *family, int accepted)
{
	struct linger linger;
	socklen_t length = sizeof(linger);

	PROBE_NEED(getsockopt(accepted, SOL_SOCKET, SO_LINGER, &linger, &length) == 0);
	PROBE_CHECK(linger.l_onoff == 1 && linger.l_linger == 0,
		    "%s: SO_LINGER is {%d, %d} on the accepted socket, not {1, 0}", family,
		    linger.l_onoff, linger.l_linger);
}

static void check_family(const char *family, int listener, const struct sockaddr *address,
			 socklen_t length)
{
	const struct linger reset = {.l_onoff = 1};
	int client = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int accepted;

	for (int i = 0; i < ROWS; i++)
		probe_set(listener, rows[i].level, rows[i].option, rows[i].value);
	PROBE_NEED(setsockopt(listener, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	PROBE_NEED(connect(client, address, length) == 0);
	accepted = probe_accept(listener);
	for (int i = 0; i < ROWS; i++)
		PROBE_CHECK(option_get(accepted, &rows[i]) == rows[i].value,
			    "%s: %s is %d on the accepted socket, not %d", family, rows[i].name,
			    option_get(accepted, &rows[i]), rows[i].value);
	check_linger(family, accepted);
}

int main(void)
{
	struct sockaddr_in address4;
	struct sockaddr_in6 address6 = {.sin6_family = AF_INET6,
					.sin6_addr = IN6ADDR_LOOPBACK_INIT};
	socklen_t length = sizeof(address6);
	int listener = probe_listen(&address4, 1);

	check_family("IPv4", listener, (struct sockaddr *)&address4, sizeof(address4));

	listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address6, length) != 0)
		probe_hold("%d options and SO_LINGER, over IPv4 only: no IPv6 loopback here", ROWS);
	PROBE_NEED(listen(listener, 1) == 0);
	PROBE_NEED(getsockname(listener, (struct sockaddr *)&address6, &length) == 0);
	check_family("IPv6", listener, (struct sockaddr *)&address6, length);
	probe_hold("%d options and SO_LINGER, over IPv4 and IPv6", ROWS);
}
