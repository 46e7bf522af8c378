/*
 * What can be set on a TCP socket, and setting it. The tuning of a forward holds for its listeners,
 * from which accepted sockets inherit, and for its sockets towards backends, but for what is said
 * to be of one side alone. 0 and NULL leave a thing to the kernel.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/addr.h"

/* Local ports, both ends included; 0: none given. */
struct sock_ports {
	uint16_t first, last;
};

/* Of a congestion control's name, with its NUL: TCP_CA_NAME_MAX, include/net/tcp.h of Linux. */
#define SOCK_CONGESTION_BYTES 16

/* What to do where a congestion control is refused without privileges. */
#define SOCK_CONGESTION_REMEDY                                                                     \
	"add the wanted name to net.ipv4.tcp_allowed_congestion_control, then restart sixpipe"

struct sock_tuning {
	/* idle time before the first probe, 0 for none: SO_KEEPALIVE, tcp(7) */
	uint64_t keepalive_ms;
	uint64_t keepalive_interval_ms; /* between probes: TCP_KEEPINTVL */
	uint64_t keepalive_count;	/* unanswered ones until the peer is lost: TCP_KEEPCNT */
	/* a peer that leaves bytes unacknowledged for so long is lost: TCP_USER_TIMEOUT, tcp(7) */
	uint64_t user_timeout_ms;
	uint64_t send_bytes;	/* SO_SNDBUF, socket(7), which ends the kernel's own sizing */
	uint64_t receive_bytes; /* SO_RCVBUF */
	uint64_t tos;		/* IP_TOS, ip(7), and IPV6_TCLASS, RFC 3542 */
	const char *congestion; /* TCP_CONGESTION, tcp(7) */
	/* sock_choose_loopback_congestion(), where `congestion` says nothing */
	const char *loopback_congestion;
	/*
	 * sock_reset_on_close() from the start, so that the end of the process, however it comes, is
	 * a RST for the peer and never looks like the end of a stream
	 */
	bool reset_on_close;

	/* of listeners alone */
	uint64_t
		fastopen_queue; /* TCP_FASTOPEN, tcp(7): half-open connections that brought bytes */
	uint64_t defer_accept_ms; /* TCP_DEFER_ACCEPT, tcp(7) */
	uint64_t mark;		  /* SO_MARK, socket(7); needs CAP_NET_ADMIN */
	const char *device;	  /* SO_BINDTODEVICE, socket(7) */
	uint64_t local_mode;	  /* of the file of a local socket: chmod(2) */
	bool dual_stack;	  /* [::] takes IPv4 clients too: IPV6_V6ONLY, ipv6(7) */
	/* binds an address that no interface has yet: IP_FREEBIND, ip(7); IPV6_FREEBIND, Linux 4.15 */
	bool freebind;

	/* of sockets towards backends alone */
	struct sock_ports ports;	/* IP_LOCAL_PORT_RANGE, ip(7), Linux 6.3 */
	struct sock_ports system_ports; /* sock_read_port_range() */
};

/*
 * The congestion control for connections that stay on this host (TCP_CONGESTION, tcp(7)). Where the
 * system's default is one that paces (bbr), its timers cost more CPU than all the rest of a
 * forwarder, and on loopback there is nothing to pace for. The choice needs no privilege: only a name
 * in net.ipv4.tcp_allowed_congestion_control can be set without CAP_NET_ADMIN
 * (tests/kernel/probe_congestion_allowed), so nothing is tried here. `root` stands before /proc/sys,
 * "" for this host's own. NULL when the default will do, the list has neither cubic nor reno, or
 * /proc/sys is not there. Static strings.
 */
const char *sock_choose_loopback_congestion(const char *root);

/*
 * The ports that the kernel chooses from for connects: net.ipv4.ip_local_port_range below `root`,
 * ip(7). All ports where that cannot be read.
 */
struct sock_ports sock_read_port_range(const char *root);

/* The congestion control that sockets to or at `address` are given; NULL: the system's stays. */
const char *sock_wanted_congestion(const struct addr *address, const struct sock_tuning *tuning);

/*
 * Each sets its part on a new socket. They return 0, or -errno of the first option that
 * was refused: setsockopt(2). sock_tune() is for both sides; `address` is where the socket will be
 * bound or connected to. A refused congestion control costs speed and no connection, so it is no error:
 * `congestion_error` gets 0 or -errno of setting it (-EPERM: it needs CAP_NET_ADMIN, -ENOENT: it is not loaded).
 */
int sock_tune(int fd, const struct addr *address, const struct sock_tuning *tuning,
	      int *congestion_error);
int sock_tune_listener(int fd, const struct addr *address, const struct sock_tuning *tuning);
int sock_tune_backend(int fd, const struct sock_tuning *tuning);

/* Lets a socket be bound to an address that no interface has (yet): 0 or -errno. Needs no privilege. */
int sock_free_bind(int fd, sa_family_t family);

/*
 * Sets what close(2) does: with `reset` it sends a RST and drops what is still queued, without, it
 * sends a FIN after what is queued. SO_LINGER {1, 0} and {0, 0}, socket(7); the death of the process
 * closes in the same way. Accepted sockets inherit it from their listener
 * (tests/kernel/probe_listener_options_inherited). Without effect on local sockets, unix(7), and where a seccomp or
 * eBPF filter forbids it: then close(2) does what it did before.
 */
void sock_reset_on_close(int fd, bool reset);

/*
 * Makes the socket send small messages without waiting for the acknowledgement of earlier ones, and
 * sends what waits for that now: TCP_NODELAY, tcp(7). Accepted sockets have it from their listener;
 * sockets towards backends need it from their second message on.
 */
void sock_send_at_once(int fd);

/*
 * Makes TCP ask whether a silent peer is still there: SO_KEEPALIVE, tcp(7). Listeners have it from
 * the start; backends, for its four calls, once they have lasted. Returns 0 or -errno.
 */
int sock_keep_alive(int fd, const struct sock_tuning *tuning);

/*
 * Whether this host allows IP_LOCAL_PORT_RANGE and SO_MARK: 0, or -errno of setting it.
 * sock_try_ports() needs no privilege. sock_try_mark() needs CAP_NET_ADMIN; its answer holds for
 * listeners, which are made before the privilege drop.
 */
int sock_try_ports(struct sock_ports ports);
int sock_try_mark(uint64_t mark);

/* The largest SO_SNDBUF or SO_RCVBUF (`option`) that this host gives where `bytes` are asked for; 0: unknown. */
uint64_t sock_try_buffer(int option, uint64_t bytes);
