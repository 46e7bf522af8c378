/* SPDX-License-Identifier: MIT */
/*
 * The options of TCP sockets, and functions that set them. The tuning of a forward is for its
 * listeners, from which accepted sockets inherit, and for its sockets towards backends. Some
 * options are for one of the two only. 0 and NULL mean the kernel's default.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/addr.h"

/* A range of local ports, both ends included. {0, 0}: not set. */
struct sock_ports {
	uint16_t first, last;
};

/* A congestion control's name with its NUL: TCP_CA_NAME_MAX, include/net/tcp.h of Linux. */
#define SOCK_CONGESTION_BYTES 16

/* The remedy for a congestion control that is refused without privileges. */
#define SOCK_CONGESTION_REMEDY                                                                     \
	"add the wanted name to net.ipv4.tcp_allowed_congestion_control, then restart sixpipe"

struct sock_tuning {
	/* idle time before the first probe, 0: no keepalive. SO_KEEPALIVE, tcp(7) */
	uint64_t keepalive_ms;
	uint64_t keepalive_interval_ms; /* between probes: TCP_KEEPINTVL */
	uint64_t keepalive_count;	/* unanswered probes until the peer is lost: TCP_KEEPCNT */
	/* a peer that acknowledges nothing for this time is lost: TCP_USER_TIMEOUT, tcp(7) */
	uint64_t user_timeout_ms;
	uint64_t send_bytes;	/* SO_SNDBUF, socket(7); turns the kernel's automatic size off */
	uint64_t receive_bytes; /* SO_RCVBUF */
	uint64_t tos;		/* IP_TOS, ip(7), and IPV6_TCLASS, RFC 3542 */
	const char *congestion; /* TCP_CONGESTION, tcp(7) */
	/* sock_choose_loopback_congestion(), used if `congestion` is NULL */
	const char *loopback_congestion;
	/*
	 * sock_reset_on_close() from the start: however the process ends, the peer gets a RST and
	 * not a FIN
	 */
	bool reset_on_close;

	/* for listeners only */
	/* the most half-open connections with early data: TCP_FASTOPEN, tcp(7) */
	uint64_t fastopen_queue;
	uint64_t defer_accept_ms; /* TCP_DEFER_ACCEPT, tcp(7) */
	uint64_t mark;		  /* SO_MARK, socket(7); needs CAP_NET_ADMIN */
	const char *device;	  /* SO_BINDTODEVICE, socket(7) */
	uint64_t local_mode;	  /* mode of the file of a local socket: chmod(2) */
	bool dual_stack;	  /* [::] accepts IPv4 clients too: IPV6_V6ONLY, ipv6(7) */
	/*
	 * bind an address that no interface has yet: IP_FREEBIND, ip(7); IPV6_FREEBIND, Linux 4.15
	 */
	bool freebind;

	/* for sockets towards backends only */
	struct sock_ports ports;	/* IP_LOCAL_PORT_RANGE, ip(7), Linux 6.3 */
	struct sock_ports system_ports; /* sock_read_port_range() */
};

/* Sets an option whose value is an int: setsockopt(2). Returns 0 or -errno. */
int sock_set(int fd, int level, int option, int value);

/*
 * The congestion control for connections that stay on this host (TCP_CONGESTION, tcp(7)). If the
 * system's default is bbr, which paces, its timers cost more CPU than the rest of a forwarder, and
 * pacing is of no use on loopback. Without CAP_NET_ADMIN only the names in
 * net.ipv4.tcp_allowed_congestion_control can be set (tests/kernel/probe_congestion_allowed), so
 * the choice reads this list and sets nothing. `root` is put before /proc/sys; "" is this host.
 * Returns a static string, or NULL for the system's default: if that is not bbr, if the list has
 * neither cubic nor reno, or if there is no /proc/sys.
 */
const char *sock_choose_loopback_congestion(const char *root);

/*
 * The range from which the kernel chooses the local port of a connect:
 * net.ipv4.ip_local_port_range below `root`, ip(7). All ports if it cannot be read.
 */
struct sock_ports sock_read_port_range(const char *root);

/* The congestion control for sockets bound or connected to `address`; NULL: the system's. */
const char *sock_wanted_congestion(const struct addr *address, const struct sock_tuning *tuning);

/*
 * Set the options of a new socket: sock_tune() those for both kinds of sockets, then one of the
 * others. sock_tune_listener() is for before bind(2). sock_tune_bound() sets the part of it that a
 * bound listener takes, and sock_tune_client() the part that an accepted socket inherits.
 * `address` is the address that the socket will be bound or connected to. They return 0, or
 * -errno of the first option that was refused: setsockopt(2). A refused congestion control is no
 * error, because the connection still works: `congestion_error` gets 0 or the -errno (-EPERM: needs
 * CAP_NET_ADMIN; -ENOENT: not loaded).
 */
int sock_tune(int fd, const struct addr *address, const struct sock_tuning *tuning,
	      int *congestion_error);
int sock_tune_listener(int fd, const struct addr *address, const struct sock_tuning *tuning);
int sock_tune_bound(int fd, const struct sock_tuning *tuning);
int sock_tune_client(int fd, const struct sock_tuning *tuning);
int sock_tune_backend(int fd, const struct sock_tuning *tuning);

/*
 * Sets the options of a listener that listened with another tuning before, as far as a bound socket
 * takes them without privileges: all but `mark`, `device`, `dual_stack` and `freebind`. A buffer
 * size that is 0 now is the kernel's choice again (SO_BUF_LOCK, Linux 5.14). An option that fails
 * keeps its former value: tuning_check() has tried the values.
 */
void sock_tune_inherited(int fd, const struct addr *address, const struct sock_tuning *tuning);

/*
 * Allows bind(2) to an address that no interface has yet. Returns 0 or -errno. Needs no privilege.
 */
int sock_free_bind(int fd, sa_family_t family);

/*
 * Chooses the effect of close(2), also at the death of the process. With `reset`: a RST is sent and
 * the queued bytes are dropped. Without: a FIN is sent after the queued bytes. SO_LINGER {1, 0} and
 * {0, 0}, socket(7). Accepted sockets inherit it from their listener
 * (tests/kernel/probe_listener_options_inherited). No effect on local sockets, unix(7), or if a
 * seccomp or eBPF filter forbids it.
 */
void sock_reset_on_close(int fd, bool reset);

/*
 * Makes the socket send small messages without waiting for the acknowledgement of earlier messages,
 * and sends those that wait now: TCP_NODELAY, tcp(7). Accepted sockets inherit it from their
 * listener; sockets towards backends need it from their second message on.
 */
void sock_send_at_once(int fd);

/*
 * Makes TCP send probes to a silent peer: SO_KEEPALIVE, tcp(7). Listeners have it from the start.
 * Backends get it only when the session has lasted for a while, because it costs four system calls.
 * Returns 0 or -errno.
 */
int sock_keep_alive(int fd, const struct sock_tuning *tuning);

/*
 * Check whether this host allows IP_LOCAL_PORT_RANGE or SO_MARK: 0 or -errno of setting it on a
 * test socket. sock_try_ports() needs no privilege. sock_try_mark() needs CAP_NET_ADMIN; its answer
 * is for listeners, which are made before the privilege drop.
 */
int sock_try_ports(struct sock_ports ports);
int sock_try_mark(uint64_t mark);

/*
 * The size that this host grants for SO_SNDBUF or SO_RCVBUF (`option`) if `bytes` are asked for; 0:
 * unknown.
 */
uint64_t sock_try_buffer(int option, uint64_t bytes);
