/* SPDX-License-Identifier: MIT */
#include "os/sock_tuning.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/util.h"
#include "os/host.h"

#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78 /* linux/in6.h, since 4.15 */
#endif
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51 /* linux/in.h, since 6.3 */
#endif

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* asm-generic/socket.h, since 5.14 */
#endif

#define SYSCTL_BYTES 512

int sock_set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) ? -errno : 0;
}

static int set_name(int fd, int level, int option, const char *name)
{
	return setsockopt(fd, level, option, name, (socklen_t)strlen(name)) ? -errno : 0;
}

/* An option of a socket. 0: the kernel's default is kept. */
struct option {
	int level;
	int name;
	uint64_t value;
};

static int set_all(int fd, const struct option *options, unsigned count)
{
	int error = 0;

	for (unsigned i = 0; i < count && !error; i++)
		if (options[i].value)
			error = sock_set(fd, options[i].level, options[i].name,
					 (int)options[i].value);
	return error;
}

/* tcp(7) takes 1 to 32767 s. 0 stays 0. */
static uint64_t to_seconds(uint64_t milliseconds)
{
	return milliseconds ? MIN(MAX(milliseconds / 1000, 1), 32767) : 0;
}

const char *sock_wanted_congestion(const struct addr *address, const struct sock_tuning *tuning)
{
	if (tuning->congestion || !addr_is_loopback(address))
		return tuning->congestion;
	return tuning->loopback_congestion;
}

int sock_tune(int fd, const struct addr *address, const struct sock_tuning *tuning,
	      int *congestion_error)
{
	const char *congestion = sock_wanted_congestion(address, tuning);
	const struct option options[] = {
		/* RFC 6093: urgent data stays in the stream: no byte is lost or stalls the stream */
		{SOL_SOCKET, SO_OOBINLINE, 1},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, MIN(tuning->user_timeout_ms, (uint64_t)INT_MAX)},
		/* for IPv6 sockets too: they use it towards IPv4-mapped peers */
		{IPPROTO_IP, IP_TOS, tuning->tos},
		{IPPROTO_IPV6, IPV6_TCLASS, address->any.sa_family == AF_INET6 ? tuning->tos : 0},
		/* before listen(2) and connect(2), which choose the window scale */
		{SOL_SOCKET, SO_SNDBUF, tuning->send_bytes},
		{SOL_SOCKET, SO_RCVBUF, tuning->receive_bytes},
	};
	int error = set_all(fd, options, ARRAY_COUNT(options));

	if (!error && tuning->reset_on_close)
		sock_reset_on_close(fd, true);
	*congestion_error = 0;
	if (!error && congestion)
		*congestion_error = set_name(fd, IPPROTO_TCP, TCP_CONGESTION, congestion);
	return error;
}

int sock_free_bind(int fd, sa_family_t family)
{
	return family == AF_INET6 ? sock_set(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1)
				  : sock_set(fd, IPPROTO_IP, IP_FREEBIND, 1);
}

void sock_reset_on_close(int fd, bool reset)
{
	struct linger linger = {.l_onoff = reset};

	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)))
		CHECK(errno != EBADF && errno != ENOTSOCK);
}

int sock_tune_listener(int fd, const struct addr *address, const struct sock_tuning *tuning)
{
	bool dual = tuning->dual_stack && addr_is_v6_wildcard(address);
	int error = 0;

	if (address->any.sa_family == AF_INET6)
		error = sock_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, !dual);
	if (!error && tuning->freebind)
		error = sock_free_bind(fd, address->any.sa_family);
	if (!error && tuning->device)
		error = set_name(fd, SOL_SOCKET, SO_BINDTODEVICE, tuning->device);
	return error ? error : sock_tune_bound(fd, tuning);
}

int sock_tune_bound(int fd, const struct sock_tuning *tuning)
{
	const struct option options[] = {
		{IPPROTO_TCP, TCP_FASTOPEN, tuning->fastopen_queue},
		{IPPROTO_TCP, TCP_DEFER_ACCEPT, to_seconds(tuning->defer_accept_ms)},
	};
	int error = sock_tune_client(fd, tuning);

	return error ? error : set_all(fd, options, ARRAY_COUNT(options));
}

int sock_tune_client(int fd, const struct sock_tuning *tuning)
{
	const struct option options[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},
		{SOL_SOCKET, SO_MARK, tuning->mark},
	};
	int error = sock_keep_alive(fd, tuning);

	return error ? error : set_all(fd, options, ARRAY_COUNT(options));
}

/* The system's congestion control, which every user may set: ip-sysctl. */
static const char *read_usual_congestion(char text[SYSCTL_BYTES])
{
	if (host_read_file("", "/proc/sys/net/ipv4/tcp_congestion_control", text, SYSCTL_BYTES))
		*text = '\0';
	text[strcspn(text, "\n")] = '\0';
	return text;
}

void sock_tune_inherited(int fd, const struct addr *address, const struct sock_tuning *tuning)
{
	const struct option options[] = {
		{SOL_SOCKET, SO_KEEPALIVE, tuning->keepalive_ms != 0},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, MIN(tuning->user_timeout_ms, (uint64_t)INT_MAX)},
		{IPPROTO_IP, IP_TOS, tuning->tos},
		{IPPROTO_IPV6, IPV6_TCLASS, tuning->tos},
		{IPPROTO_TCP, TCP_FASTOPEN, tuning->fastopen_queue},
		{IPPROTO_TCP, TCP_DEFER_ACCEPT, to_seconds(tuning->defer_accept_ms)},
		/* the kernel chooses the size again, from the last one on */
		{SOL_SOCKET, SO_BUF_LOCK, 0},
	};
	const char *congestion = sock_wanted_congestion(address, tuning);
	char usual[SYSCTL_BYTES];
	int unused;

	/* also those that are 0, which the socket may have had before. Some fail for some sockets */
	for (unsigned i = 0; i < ARRAY_COUNT(options); i++)
		(void)sock_set(fd, options[i].level, options[i].name, (int)options[i].value);
	if (!congestion)
		(void)set_name(fd, IPPROTO_TCP, TCP_CONGESTION, read_usual_congestion(usual));
	(void)sock_tune(fd, address, tuning, &unused);
	(void)sock_keep_alive(fd, tuning);
}

static int join_ports(struct sock_ports ports)
{
	return (int)((uint32_t)ports.last << 16 | ports.first);
}

int sock_tune_backend(int fd, const struct sock_tuning *tuning)
{
	return tuning->ports.first
		       ? sock_set(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, join_ports(tuning->ports))
		       : 0;
}

void sock_send_at_once(int fd)
{
	/*
	 * fails for local sockets, and for a dead socket, which the owner notices at its next call
	 */
	(void)sock_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

int sock_keep_alive(int fd, const struct sock_tuning *tuning)
{
	const struct option options[] = {
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, to_seconds(tuning->keepalive_ms)},
		{IPPROTO_TCP, TCP_KEEPINTVL, to_seconds(tuning->keepalive_interval_ms)},
		{IPPROTO_TCP, TCP_KEEPCNT, tuning->keepalive_count},
	};

	return tuning->keepalive_ms ? set_all(fd, options, ARRAY_COUNT(options)) : 0;
}

const char *sock_choose_loopback_congestion(const char *root)
{
	static const char *const unpaced[] = {"cubic", "reno"};
	char usual[SYSCTL_BYTES], allowed[SYSCTL_BYTES];

	if (host_read_file(root, "/proc/sys/net/ipv4/tcp_congestion_control", usual,
			   sizeof(usual)) ||
	    strncmp(usual, "bbr", 3))
		return NULL;
	/* before Linux 5.13 a network namespace lacks this file; reno is in the list by default */
	if (host_read_file(root, "/proc/sys/net/ipv4/tcp_allowed_congestion_control", allowed,
			   sizeof(allowed)))
		return "reno";
	for (unsigned i = 0; i < ARRAY_COUNT(unpaced); i++)
		if (host_lists(allowed, " \n", unpaced[i]))
			return unpaced[i];
	return NULL;
}

struct sock_ports sock_read_port_range(const char *root)
{
	struct sock_ports range = {1, UINT16_MAX};
	char text[SYSCTL_BYTES];
	unsigned first, last;

	if (!host_read_file(root, "/proc/sys/net/ipv4/ip_local_port_range", text, sizeof(text)) &&
	    sscanf(text, "%u %u", &first, &last) == 2 && last <= UINT16_MAX && first <= last)
		range = (struct sock_ports){(uint16_t)first, (uint16_t)last};
	return range;
}

/* Sets an option of a test socket: 0 or -errno. `granted` gets the value afterwards; 0: unknown. */
static int try_option(int level, int option, int value, int *granted)
{
	socklen_t length = sizeof(*granted);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	int error;

	*granted = 0;
	if (fd < 0)
		return -errno;
	error = sock_set(fd, level, option, value);
	if (!error)
		(void)getsockopt(fd, level, option, granted, &length);
	close(fd);
	return error;
}

int sock_try_ports(struct sock_ports ports)
{
	int granted;

	return try_option(IPPROTO_IP, IP_LOCAL_PORT_RANGE, join_ports(ports), &granted);
}

int sock_try_mark(uint64_t mark)
{
	int granted;

	return try_option(SOL_SOCKET, SO_MARK, (int)(uint32_t)mark, &granted);
}

uint64_t sock_try_buffer(int option, uint64_t bytes)
{
	int granted;

	(void)try_option(SOL_SOCKET, option, (int)bytes, &granted);
	/* the kernel doubles the value for its own overhead: socket(7) */
	return (uint64_t)granted / 2;
}
