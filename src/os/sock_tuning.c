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

#define SYSCTL_BYTES 512

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) ? -errno : 0;
}

static int set_name(int fd, int level, int option, const char *name)
{
	return setsockopt(fd, level, option, name, (socklen_t)strlen(name)) ? -errno : 0;
}

/* tcp(7) takes 1 to 32767 s. */
static int to_seconds(uint64_t milliseconds)
{
	return (int)MIN(MAX(milliseconds / 1000, 1), 32767);
}

static int set_tos(int fd, sa_family_t family, uint64_t tos)
{
	int error;

	if (!tos)
		return 0;
	/* for IPv6 sockets too: they use it towards IPv4-mapped peers */
	error = set_option(fd, IPPROTO_IP, IP_TOS, (int)tos);
	if (!error && family == AF_INET6)
		error = set_option(fd, IPPROTO_IPV6, IPV6_TCLASS, (int)tos);
	return error;
}

/* Must be set before listen(2) and connect(2), which choose the window scale. */
static int set_buffers(int fd, const struct sock_tuning *tuning)
{
	int error = 0;

	if (tuning->send_bytes)
		error = set_option(fd, SOL_SOCKET, SO_SNDBUF, (int)tuning->send_bytes);
	if (!error && tuning->receive_bytes)
		error = set_option(fd, SOL_SOCKET, SO_RCVBUF, (int)tuning->receive_bytes);
	return error;
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
	/*
	 * RFC 6093: urgent data stays in the stream, so that no byte is lost or stalls the stream
	 */
	int error = set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1);

	if (!error && tuning->user_timeout_ms)
		error = set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
				   (int)MIN(tuning->user_timeout_ms, (uint64_t)INT_MAX));
	if (!error)
		error = set_tos(fd, address->any.sa_family, tuning->tos);
	if (!error)
		error = set_buffers(fd, tuning);
	if (!error && tuning->reset_on_close)
		sock_reset_on_close(fd, true);
	*congestion_error = 0;
	if (!error && congestion)
		*congestion_error = set_name(fd, IPPROTO_TCP, TCP_CONGESTION, congestion);
	return error;
}

int sock_free_bind(int fd, sa_family_t family)
{
	return family == AF_INET6 ? set_option(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1)
				  : set_option(fd, IPPROTO_IP, IP_FREEBIND, 1);
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
	int error = sock_keep_alive(fd, tuning);

	if (!error)
		error = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (!error && address->any.sa_family == AF_INET6)
		error = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !dual);
	if (!error && tuning->freebind)
		error = sock_free_bind(fd, address->any.sa_family);
	if (!error && tuning->device)
		error = set_name(fd, SOL_SOCKET, SO_BINDTODEVICE, tuning->device);
	if (!error && tuning->mark)
		error = set_option(fd, SOL_SOCKET, SO_MARK, (int)(uint32_t)tuning->mark);
	if (!error && tuning->fastopen_queue)
		error = set_option(fd, IPPROTO_TCP, TCP_FASTOPEN, (int)tuning->fastopen_queue);
	if (!error && tuning->defer_accept_ms)
		error = set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT,
				   to_seconds(tuning->defer_accept_ms));
	return error;
}

static int set_ports(int fd, struct sock_ports ports)
{
	return set_option(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE,
			  (int)((uint32_t)ports.last << 16 | ports.first));
}

int sock_tune_backend(int fd, const struct sock_tuning *tuning)
{
	return tuning->ports.first ? set_ports(fd, tuning->ports) : 0;
}

void sock_send_at_once(int fd)
{
	/*
	 * fails for local sockets, and for a dead socket, which the owner notices at its next call
	 */
	(void)set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

int sock_keep_alive(int fd, const struct sock_tuning *tuning)
{
	int error;

	if (!tuning->keepalive_ms)
		return 0;
	error = set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (!error)
		error = set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, to_seconds(tuning->keepalive_ms));
	if (!error && tuning->keepalive_interval_ms)
		error = set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL,
				   to_seconds(tuning->keepalive_interval_ms));
	if (!error && tuning->keepalive_count)
		error = set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, (int)tuning->keepalive_count);
	return error;
}

static int open_socket(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
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

int sock_try_ports(struct sock_ports ports)
{
	int fd = open_socket();
	int error = fd < 0 ? -errno : set_ports(fd, ports);

	if (fd >= 0)
		close(fd);
	return error;
}

int sock_try_mark(uint64_t mark)
{
	int fd = open_socket();
	int error = fd < 0 ? -errno : set_option(fd, SOL_SOCKET, SO_MARK, (int)(uint32_t)mark);

	if (fd >= 0)
		close(fd);
	return error;
}

uint64_t sock_try_buffer(int option, uint64_t bytes)
{
	int fd = open_socket(), value = 0;
	socklen_t length = sizeof(value);

	if (fd < 0)
		return 0;
	if (set_option(fd, SOL_SOCKET, option, (int)bytes) ||
	    getsockopt(fd, SOL_SOCKET, option, &value, &length))
		value = 0;
	close(fd);
	/* the kernel doubles the value for its own overhead: socket(7) */
	return (uint64_t)value / 2;
}
