/*
 * TCP sockets, and local ones: how listeners and backend sockets are set up, what a socket can tell, and what an
 * errno means for a session. Every descriptor returned is non-blocking, close-on-exec and the
 * caller's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"
#include "os/sock_tuning.h"

/* What an error on one side of a session means. */
enum sock_failure {
	SOCK_RESET,	  /* the peer, or its host, sent a RST */
	SOCK_LOST,	  /* keepalive, user timeout or the route gave the peer up */
	SOCK_DESCRIPTORS, /* no descriptor or no memory here, for now */
	SOCK_OTHER,
};

/* `error` is an errno, of either sign. */
enum sock_failure sock_classify(int error);

/*
 * Opens `count` listening sockets on one address, each with its own queue, into `fds`
 * (SO_REUSEPORT, socket(7)). The first is bound without SO_REUSEPORT, so that an address which
 * anybody else holds fails with EADDRINUSE (tests/kernel/probe_reuseport_bind_probe). Port 0 is
 * replaced in `address` by the one that the kernel chose. What is set here is inherited by the
 * accepted sockets. An IPv6 listener is v6-only, but for
 * [::] with dual_stack. An IPv6 address in duplicate address detection is bound at once, and takes
 * connections when that has ended. Returns 0 or -errno, with nothing left open.
 */
int sock_open_listeners(struct addr *address, const struct sock_tuning *tuning, unsigned backlog,
			int *fds, unsigned count);

/*
 * Opens one more listening socket on an address that sock_open_listeners() has been given, beside those that are
 * there. Returns it or -errno: bind(2), socket(7).
 */
int sock_join_listeners(const struct addr *address, const struct sock_tuning *tuning,
			unsigned backlog);

/*
 * What has ended a listening socket of ours for good: 0 for nothing, -ECONNABORTED where it does not listen any more
 * (ss -K destroys sockets: SO_ACCEPTCONN, socket(7)), -ENODEV where the interface that it is bound to is gone
 * (SO_BINDTODEVICE; one of the same name is another). There is no event for the latter.
 */
int sock_listener_error(int listener_fd);

/*
 * Makes a listening socket that was destroyed listen again on `address`, with what was set on it. Needs no privilege,
 * for its port is still its own, unless the kernel chose that (tests/kernel/probe_listener_revived). Returns 0 or -errno.
 */
int sock_listen_again(int listener_fd, const struct addr *address, unsigned backlog);

/*
 * For the start, after sock_open_listeners() has given `error`: whether to try that again. Blocks for a
 * moment where the address is in use, for a holder that was killed may be not quite gone, up to a second
 * in all; `waited_ms` counts, from 0.
 */
bool sock_may_try_again(int error, unsigned *waited_ms);

/*
 * Whether sock_open_listeners() could bind there, without listening. Of the tuning only what is about the
 * address counts. Returns 0 or -errno: bind(2).
 */
int sock_try_bind(const struct addr *address, const struct sock_tuning *tuning);

/*
 * Opens a socket for connecting to `backend`, without keepalive. Returns it or -errno: socket(2),
 * setsockopt(2). `congestion_error`: see sock_tune(). If it is not 0, the socket keeps the system's
 * congestion control and still works.
 */
int sock_open_backend(const struct addr *backend, const struct sock_tuning *tuning,
		      int *congestion_error);

/*
 * Binds a socket of sock_open_backend() to the address `source`. The port is chosen with the connect, so
 * that each source has all ports towards each backend (IP_BIND_ADDRESS_NO_PORT, ip(7)). Returns 0 or
 * -errno: bind(2).
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
 * Whether a socket that was just connected to `backend`, on this host, met nobody but itself: the kernel had chosen the
 * port on which nobody listens for its own end. Closing it then sends a RST, so that the port is free at once. Asks the
 * socket only if the backend's port is one that the kernel may choose (tuning->system_ports; {0, 0}: any port).
 */
bool sock_met_itself(int fd, const struct addr *backend, const struct sock_tuning *tuning);

/*
 * Begins to connect `fd` with up to `size` > 0 bytes in the SYN: sendto(2), MSG_FASTOPEN, tcp(7). Returns how many travel with it,
 * 0 where no cookie of the peer's is there yet; all are the kernel's to deliver. Or -errno, and nothing was begun: -EOPNOTSUPP where
 * net.ipv4.tcp_fastopen does not allow it. The socket is writable once it is connected or has failed
 * (tests/kernel/probe_fastopen_connect).
 */
ssize_t sock_connect_with(int fd, const struct sockaddr *address, socklen_t length_bytes,
			  const void *bytes, size_t size);

/* Accepts one connection without blocking: accept4(2). Returns the socket or -errno. */
int sock_accept(int listener_fd);

/* Keeps urgent bytes in the stream: SO_OOBINLINE, socket(7), which an accepted local socket does not inherit. */
void sock_keep_urgent(int fd);

/* Sends FIN after what is queued: shutdown(2). Returns 0 or -errno (ENOTCONN: already reset). */
int sock_shut_write(int fd);

/*
 * The error that waits on the socket, which is then forgotten: SO_ERROR, socket(7). 0 when there
 * is none.
 */
int sock_take_error(int fd);

/*
 * Whether one of `events` (POLLIN, POLLOUT, POLLRDHUP), a failure or a hang-up is there now: poll(2) without
 * waiting. False where poll(2) fails.
 */
bool sock_is_ready(int fd, short events);

/* Bytes sent to the peer that it has not acknowledged: SIOCOUTQ, tcp(7). 0 when the socket is dead. */
uint64_t sock_undelivered_bytes(int fd);

/* Bytes that have come and were not read: SIOCINQ, tcp(7). */
uint32_t sock_unread_bytes(int fd);
/* The same, but for local sockets: what the peer has not read, with the kernel's overhead. */
uint64_t sock_untaken_bytes(int fd);

/*
 * Bytes the send buffer takes before it is full: SO_MEMINFO, Linux 4.12. An estimate from the
 * kernel's own accounting (tests/kernel/probe_sock_meminfo_room). *writable: poll(2) would call the
 * socket writable, as far as its buffer is concerned.
 */
uint32_t sock_room_bytes(int fd, bool *writable);

/*
 * Makes the socket writable only while less than `bytes` wait in it to be sent; what is sent and not
 * acknowledged does not count. TCP_NOTSENT_LOWAT, tcp(7). sock_unsent_bytes() tells how many wait:
 * SIOCOUTQNSD, Linux 2.6.39.
 */
void sock_limit_unsent(int fd, uint32_t bytes);
uint32_t sock_unsent_bytes(int fd);

/*
 * Makes the socket readable only once `bytes` > 0 wait in it, or the peer has ended its stream:
 * SO_RCVLOWAT, socket(7).
 */
void sock_set_low_water(int fd, uint32_t bytes);

/*
 * The other end and this end: getpeername(2), getsockname(2); "none" where the kernel no longer
 * knows.
 */
void sock_get_peer(int fd, struct addr *address);
void sock_get_local(int fd, struct addr *address);
