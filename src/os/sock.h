/* SPDX-License-Identifier: MIT */
/*
 * TCP sockets and local sockets: opening listeners and backend sockets, reading a socket's state,
 * and the meaning of an errno for a session. Every returned descriptor is non-blocking and
 * close-on-exec, and the caller owns it.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"
#include "os/sock_tuning.h"

/* The meaning of an error on one side of a session. */
enum sock_failure {
	SOCK_RESET,	  /* the peer, or its host, sent a RST */
	SOCK_LOST,	  /* the peer is out of reach: keepalive, user timeout, no route */
	SOCK_DESCRIPTORS, /* no descriptor or no memory here, for now */
	SOCK_OTHER,
};

/* `error` is an errno of either sign. */
enum sock_failure sock_classify(int error);

/*
 * Opens `count` listening sockets on the same address, each with its own queue (SO_REUSEPORT,
 * socket(7)), and stores them in `fds`. The first is bound without SO_REUSEPORT, so that an address
 * in use by another process fails with EADDRINUSE (tests/kernel/probe_reuseport_bind_probe). A port
 * of 0 in `address` is replaced by the port that the kernel chose. Accepted sockets inherit the
 * options of their listener. An IPv6 listener is v6-only, except [::] with dual_stack. An IPv6
 * address in duplicate address detection is bound at once, and accepts connections when the
 * detection has ended. Returns 0, or -errno with no socket left open.
 */
int sock_open_listeners(struct addr *address, const struct sock_tuning *tuning, unsigned backlog,
			int *fds, unsigned count);

/*
 * Makes a passed listening socket (os/activation.h) one of ours: sets those options that a bound
 * socket takes, and `backlog`, by another listen(2). Returns 0 and sets *early_count to the number
 * of connections that were in the backlog before and may lack the options
 * (tests/kernel/probe_listener_adopted); or returns -errno. If an earlier sixpipe has had the
 * socket, the count is 0: these connections have the earlier options, and cannot be told from later
 * connections.
 */
int sock_adopt_listener(int listener_fd, const struct addr *address,
			const struct sock_tuning *tuning, unsigned backlog, uint32_t *early_count);

/*
 * Gives a listening socket that another process has opened its options here: sock_tune_inherited(),
 * `backlog`, and the mode of a local socket's file, unless `local_mode` is 0. A socket that has
 * failed for good stays as it is: sock_listener_error().
 */
void sock_retune_listener(int listener_fd, const struct addr *address,
			  const struct sock_tuning *tuning, unsigned backlog);

/*
 * Sets the options that a socket accepted from a passed listener lacks, because it was in the
 * backlog before sock_adopt_listener(). Returns whether it lacked them.
 */
bool sock_tune_early(int fd, const struct addr *address, const struct sock_tuning *tuning);

/*
 * Opens one more listening socket on an address that sock_open_listeners() has opened. Returns the
 * socket or -errno: bind(2), socket(7).
 */
int sock_join_listeners(const struct addr *address, const struct sock_tuning *tuning,
			unsigned backlog);

/*
 * Finds out whether a listening socket has failed for good. Returns 0 if not; -ECONNABORTED if it
 * does not listen any more (ss -K destroys sockets: SO_ACCEPTCONN, socket(7)); -ENODEV if its
 * interface (SO_BINDTODEVICE) was removed, even if there is a new interface of the same name. The
 * kernel sends no event for -ENODEV.
 */
int sock_listener_error(int listener_fd);

/*
 * Makes a destroyed listening socket listen again on `address`, with its old options. Needs no
 * privilege, because the socket still has its port, unless the kernel chose the port
 * (tests/kernel/probe_listener_revived). Returns 0 or -errno.
 */
int sock_listen_again(int listener_fd, const struct addr *address, unsigned backlog);

/*
 * For the start, after sock_open_listeners() returned `error`: whether to call it again. If the
 * address is in use, this function waits for a moment first, because the sockets of a killed
 * process can exist a little longer. `waited_ms` must be 0 at first; it adds up the waits, at most
 * one second. SOCK_WAITED_LONG: do not wait, as in a takeover, where the old process keeps its
 * ports.
 */
#define SOCK_WAITED_LONG UINT_MAX
bool sock_may_try_again(int error, unsigned *waited_ms);

/*
 * Checks whether sock_open_listeners() could bind to `address`; does not listen. Uses only those
 * options of the tuning that matter for bind(2). Returns 0 or -errno: bind(2).
 */
int sock_try_bind(const struct addr *address, const struct sock_tuning *tuning);

/*
 * Opens a socket for connecting to `backend`, without keepalive. Returns the socket or -errno:
 * socket(2), setsockopt(2). `congestion_error`: see sock_tune(). If it is not 0, the socket keeps
 * the system's congestion control and still works.
 */
int sock_open_backend(const struct addr *backend, const struct sock_tuning *tuning,
		      int *congestion_error);

/*
 * Binds a socket of sock_open_backend() to the source address `source`. The kernel chooses the port
 * at the connect, so that each source address has all ports towards each backend
 * (IP_BIND_ADDRESS_NO_PORT, ip(7)). Returns 0 or -errno: bind(2).
 */
int sock_bind_source(int fd, const struct addr *source);

/*
 * Opens a socket with sock_open_backend(), reads its congestion control (TCP_CONGESTION, tcp(7)),
 * and closes it. `backend` is a TCP address. The answer holds for sockets made with the same
 * privileges: ask after the privilege drop. Returns 0 and the name, or -errno of
 * sock_open_backend() or getsockopt(2) and "".
 */
int sock_read_congestion(const struct addr *backend, const struct sock_tuning *tuning,
			 char name[SOCK_CONGESTION_BYTES]);

/*
 * Whether a socket that was just connected to `backend` is connected to itself. This happens on the
 * own host, if no process listens on the backend's port and the kernel chose the same port as the
 * local port. If so, sets the socket to send a RST at close, so that the port is free at once. Asks
 * the socket only if the kernel could choose the backend's port (tuning->system_ports; {0, 0}: any
 * port).
 */
bool sock_met_itself(int fd, const struct addr *backend, const struct sock_tuning *tuning);

/*
 * Begins to connect `fd`, with early data of up to `size` > 0 bytes: sendto(2), MSG_FASTOPEN,
 * tcp(7). Returns the number of bytes that the kernel took and will deliver; 0 if it has no cookie
 * of the peer yet. Or returns -errno, and no connect was begun: -EOPNOTSUPP if
 * net.ipv4.tcp_fastopen forbids it. The socket is writable once it is connected or has failed
 * (tests/kernel/probe_fastopen_connect).
 */
ssize_t sock_connect_with(int fd, const struct sockaddr *address, socklen_t length_bytes,
			  const void *bytes, size_t size);

/* Accepts one connection without blocking: accept4(2). Returns the socket or -errno. */
int sock_accept(int listener_fd);

/*
 * Keeps urgent bytes in the stream: SO_OOBINLINE, socket(7). Accepted local sockets do not inherit
 * it.
 */
void sock_keep_urgent(int fd);

/*
 * Sends a FIN after the queued bytes: shutdown(2). Returns 0 or -errno (-ENOTCONN: already reset).
 */
int sock_shut_write(int fd);

/* Returns the pending error of the socket, 0 for none, and clears it: SO_ERROR, socket(7). */
int sock_take_error(int fd);

/*
 * Whether poll(2) reports one of `events` (POLLIN, POLLOUT, POLLRDHUP), POLLERR or POLLHUP now.
 * Does not wait. False if poll(2) fails.
 */
bool sock_is_ready(int fd, short events);

/*
 * Bytes that were sent and that the peer has not acknowledged: SIOCOUTQ, tcp(7). 0 if the socket
 * was reset, and for local sockets.
 */
uint64_t sock_undelivered_bytes(int fd);

/*
 * As sock_undelivered_bytes(), but for a local socket the bytes unread by the peer, with overhead.
 */
uint64_t sock_untaken_bytes(int fd);

/* Bytes that have arrived and were not read: SIOCINQ, tcp(7). */
uint32_t sock_unread_bytes(int fd);

/*
 * Room: the bytes that the send buffer takes before it is full: SO_MEMINFO, Linux 4.12. This is an
 * estimate from the kernel's own accounting (tests/kernel/probe_sock_meminfo_room). *writable is
 * whether poll(2) would report the socket writable because of its buffer.
 */
uint32_t sock_room_bytes(int fd, bool *writable);

/*
 * sock_limit_unsent() makes the socket writable only while it has less than `bytes` unsent bytes:
 * TCP_NOTSENT_LOWAT, tcp(7). Bytes that were sent and not acknowledged do not count.
 * sock_unsent_bytes() returns the number of unsent bytes: SIOCOUTQNSD, Linux 2.6.39.
 */
void sock_limit_unsent(int fd, uint32_t bytes);
uint32_t sock_unsent_bytes(int fd);

/*
 * Makes the socket readable only when `bytes` > 0 bytes have arrived, or when the peer has ended
 * its stream: SO_RCVLOWAT, socket(7).
 */
void sock_set_low_water(int fd, uint32_t bytes);

/*
 * The addresses of the other end and of this end: getpeername(2), getsockname(2). "No address" if
 * the kernel does not know them any more.
 */
void sock_get_peer(int fd, struct addr *address);
void sock_get_local(int fd, struct addr *address);
