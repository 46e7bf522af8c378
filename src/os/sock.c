/* SPDX-License-Identifier: MIT */
#include "os/sock.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "os/interfaces.h"
#include "os/sock_local.h"

/*
 * After a process with io_uring was killed, its addresses stay in use for a while. The kernel frees
 * the ring later, and the ring holds the sockets with a request in flight. Linux 6.18: 2 to 10 ms,
 * 60 ms with 4000 sessions.
 */
#define IN_USE_LIMIT_MS 1000
#define IN_USE_PAUSE_MS 5

enum sock_failure sock_classify(int error)
{
	switch (error < 0 ? -error : error) {
	case ECONNRESET:
	case EPIPE: /* a RST after the peer's FIN: tests/kernel/probe_reset_in_close_wait */
	case ENOTCONN:
		return SOCK_RESET;
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EHOSTDOWN:
	case ENETDOWN:
		return SOCK_LOST;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOSPC: /* fs.epoll.max_user_watches: epoll(7) */
	case ENOMEM:
		return SOCK_DESCRIPTORS;
	default:
		return SOCK_OTHER;
	}
}

/* Returns `fd`; or `error` if there is one, and closes `fd`. */
static int keep_unless(int error, int fd)
{
	if (error)
		close(fd);
	return error ? error : fd;
}

static int open_tcp(const struct addr *address, const struct sock_tuning *tuning,
		    int *congestion_error)
{
	bool local = addr_is_local(address);
	int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			local ? 0 : IPPROTO_TCP);
	int error;

	*congestion_error = 0;
	if (fd < 0)
		return -errno;
	if (local)
		sock_keep_urgent(fd);
	error = local ? 0 : sock_tune(fd, address, tuning, congestion_error);
	return keep_unless(error, fd);
}

/*
 * Binds an address that the kernel refuses because duplicate address detection runs for it, for 1
 * to 2 s after a boot or a change of the network. The socket accepts as soon as the detection has
 * ended (tests/kernel/probe_freebind).
 */
static int bind_early(int fd, const struct addr *address)
{
	int error = 0;

	if (interfaces_ask_v6(address) == INTERFACES_V6_TENTATIVE)
		error = sock_free_bind(fd, address->any.sa_family);
	/* if not tentative any more, the detection has ended since the first bind(2) */
	if (!error && bind(fd, &address->any, address->length_bytes))
		error = -errno;
	return error;
}

static int bind_and_learn_port(int fd, struct addr *address, bool early)
{
	int error = bind(fd, &address->any, address->length_bytes) ? -errno : 0;

	if (error == -EADDRNOTAVAIL && early)
		error = bind_early(fd, address);
	if (error)
		return error;
	if (!addr_port(address))
		sock_get_local(fd, address);
	return 0;
}

static int open_bound(struct addr *address, const struct sock_tuning *tuning, bool first,
		      bool early)
{
	/* not reported here: the start asks sock_read_congestion(), which shows the same refusal */
	int congestion_error;
	int fd = open_tcp(address, tuning, &congestion_error);
	int error;

	if (fd < 0)
		return fd;
	error = sock_tune_listener(fd, address, tuning);
	if (!error)
		error = sock_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!error && !first)
		error = sock_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (!error)
		error = bind_and_learn_port(fd, address, early);
	if (!error && first)
		error = sock_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	return keep_unless(error, fd);
}

int sock_open_listeners(struct addr *address, const struct sock_tuning *tuning, unsigned backlog,
			int *fds, unsigned count)
{
	unsigned opened = 0;
	int error = 0;

	if (addr_is_local(address))
		return sock_listen_local(address, backlog, (mode_t)tuning->local_mode, fds, count);
	for (; opened < count && !error; opened += !error) {
		fds[opened] = open_bound(address, tuning, opened == 0, true);
		error = MIN(fds[opened], 0);
	}
	/* listen when all are bound, so that the group is complete before the first connection */
	for (unsigned i = 0; i < count && !error; i++)
		if (listen(fds[i], (int)backlog))
			error = -errno;
	while (error && opened)
		close(fds[--opened]);
	return error;
}

/* Whether no sixpipe has set the options of a socket; sock_tune() sets this one always. */
static bool lacks_tuning(int fd)
{
	int urgent = 0;
	socklen_t length_bytes = sizeof(urgent);

	return !getsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &urgent, &length_bytes) && !urgent;
}

int sock_adopt_listener(int listener_fd, const struct addr *address,
			const struct sock_tuning *tuning, unsigned backlog, uint32_t *early_count)
{
	struct tcp_info info = {0};
	socklen_t length_bytes = sizeof(info);
	bool local = addr_is_local(address), tuned_before = !local && !lacks_tuning(listener_fd);
	int unused, error = local ? 0 : sock_tune(listener_fd, address, tuning, &unused);

	*early_count = 0;
	if (!error && !local)
		error = sock_tune_bound(listener_fd, tuning);
	if (!error && listen(listener_fd, (int)backlog))
		error = -errno;
	/* tcpi_unacked of a listening socket is the number of connections in its backlog */
	if (!error && !local && !tuned_before &&
	    !getsockopt(listener_fd, IPPROTO_TCP, TCP_INFO, &info, &length_bytes))
		*early_count = info.tcpi_unacked;
	return error;
}

void sock_retune_listener(int listener_fd, const struct addr *address,
			  const struct sock_tuning *tuning, unsigned backlog)
{
	if (sock_listener_error(listener_fd))
		return;
	if (!addr_is_local(address))
		sock_tune_inherited(listener_fd, address, tuning);
	else if (tuning->local_mode && *address->local.name->sun_path)
		(void)chmod(address->local.name->sun_path, (mode_t)tuning->local_mode);
	(void)listen(listener_fd, (int)backlog);
}

bool sock_tune_early(int fd, const struct addr *address, const struct sock_tuning *tuning)
{
	int unused;

	if (!lacks_tuning(fd))
		return false;
	/* fails for a dead socket, and for SO_MARK, which needs the privileges of the start */
	(void)sock_tune(fd, address, tuning, &unused);
	(void)sock_tune_client(fd, tuning);
	return true;
}

int sock_join_listeners(const struct addr *address, const struct sock_tuning *tuning,
			unsigned backlog)
{
	struct addr copy = *address;
	/* not early, because that reads files; the caller tries again after a while anyway */
	int fd = open_bound(&copy, tuning, false, false);

	if (fd < 0)
		return fd;
	return keep_unless(listen(fd, (int)backlog) ? -errno : 0, fd);
}

int sock_listener_error(int listener_fd)
{
	char device[IF_NAMESIZE];
	socklen_t device_bytes = sizeof(device);
	int listens = 0;
	socklen_t listens_bytes = sizeof(listens);

	if (!getsockopt(listener_fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_bytes) &&
	    !listens)
		return -ECONNABORTED;
	if (getsockopt(listener_fd, SOL_SOCKET, SO_BINDTODEVICE, device, &device_bytes) &&
	    errno == ENODEV)
		return -ENODEV;
	return 0;
}

int sock_listen_again(int listener_fd, const struct addr *address, unsigned backlog)
{
	const struct sockaddr nothing = {.sa_family = AF_UNSPEC};
	struct addr bound;

	/* a destroyed socket is shut down; without this its accepted sockets are shut down too */
	if (connect(listener_fd, &nothing, sizeof(nothing)))
		return -errno;
	/* EINVAL: still bound; EACCES: the same, for a port below 1024 */
	if (bind(listener_fd, &address->any, address->length_bytes) && errno != EINVAL &&
	    errno != EACCES)
		return -errno;
	if (listen(listener_fd, (int)backlog))
		return -errno;
	sock_get_local(listener_fd, &bound);
	if (addr_port(&bound) == addr_port(address))
		return 0;
	(void)connect(listener_fd, &nothing, sizeof(nothing));
	return -EACCES;
}

bool sock_may_try_again(int error, unsigned *waited_ms)
{
	if (error != -EADDRINUSE || *waited_ms >= IN_USE_LIMIT_MS)
		return false;
	usleep(IN_USE_PAUSE_MS * 1000);
	*waited_ms += IN_USE_PAUSE_MS;
	return true;
}

int sock_try_bind(const struct addr *address, const struct sock_tuning *tuning)
{
	struct sock_tuning where = {.device = tuning->device,
				    .dual_stack = tuning->dual_stack,
				    .freebind = tuning->freebind};
	struct addr copy = *address;
	int fd;

	if (addr_is_local(address))
		return sock_try_local(address);
	fd = open_bound(&copy, &where, true, true);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int sock_open_backend(const struct addr *backend, const struct sock_tuning *tuning,
		      int *congestion_error)
{
	int fd = open_tcp(backend, tuning, congestion_error);
	int error;

	if (fd < 0)
		return fd;
	error = addr_is_local(backend) ? 0 : sock_tune_backend(fd, tuning);
	return keep_unless(error, fd);
}

int sock_bind_source(int fd, const struct addr *source)
{
	int error = sock_set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);

	if (!error && bind(fd, &source->any, source->length_bytes))
		error = -errno;
	return error;
}

int sock_read_congestion(const struct addr *backend, const struct sock_tuning *tuning,
			 char name[SOCK_CONGESTION_BYTES])
{
	socklen_t length = SOCK_CONGESTION_BYTES - 1;
	int unused, error = 0;
	int fd = sock_open_backend(backend, tuning, &unused);

	memset(name, 0, SOCK_CONGESTION_BYTES);
	if (fd < 0)
		return fd;
	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length))
		error = -errno;
	close(fd);
	return error;
}

bool sock_met_itself(int fd, const struct addr *backend, const struct sock_tuning *tuning)
{
	struct sock_ports range = tuning->system_ports;
	struct addr local;

	if (addr_is_local(backend) || addr_port(backend) < range.first ||
	    (range.last && addr_port(backend) > range.last))
		return false;
	sock_get_local(fd, &local);
	if (!addr_equal(&local, backend))
		return false;
	sock_reset_on_close(fd, true);
	return true;
}

ssize_t sock_connect_with(int fd, const struct sockaddr *address, socklen_t length_bytes,
			  const void *bytes, size_t size)
{
	ssize_t taken = sendto(fd, bytes, size, MSG_FASTOPEN | MSG_DONTWAIT | MSG_NOSIGNAL, address,
			       length_bytes);

	if (taken < 0)
		return errno == EINPROGRESS ? 0 : -errno;
	return taken;
}

int sock_accept(int listener_fd)
{
	int fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

void sock_keep_urgent(int fd)
{
	/* fails for local sockets before Linux 5.15, which have no urgent bytes */
	(void)sock_set(fd, SOL_SOCKET, SO_OOBINLINE, 1);
}

int sock_shut_write(int fd)
{
	return shutdown(fd, SHUT_WR) ? -errno : 0;
}

bool sock_is_ready(int fd, short events)
{
	struct pollfd asked = {.fd = fd, .events = events};

	return poll(&asked, 1, 0) > 0;
}

int sock_take_error(int fd)
{
	int error = 0;
	socklen_t length = sizeof(error);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) ? 0 : error;
}

/* Bytes not yet acknowledged by the peer; for a local socket (`*local`), not yet read by it. */
static uint64_t count_waiting(int fd, bool *local)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);
	int bytes = 0;

	*local = false;
	if (ioctl(fd, SIOCOUTQ, &bytes) || bytes <= 0)
		return 0;
	*local = getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) && errno == EOPNOTSUPP;
	/* a socket that was reset keeps its last number for ever */
	return *local || info.tcpi_state != TCP_CLOSE ? (uint64_t)bytes : 0;
}

uint64_t sock_undelivered_bytes(int fd)
{
	bool local;
	uint64_t bytes = count_waiting(fd, &local);

	/* bytes unread by a local peer are delivered: the peer can read them after a close */
	return local ? 0 : bytes;
}

uint64_t sock_untaken_bytes(int fd)
{
	bool local;

	return count_waiting(fd, &local);
}

uint32_t sock_room_bytes(int fd, bool *writable)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	uint32_t queued, room;
	socklen_t length = sizeof(info);

	*writable = false;
	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &length))
		return 0;
	/* a local socket counts the bytes unread by its peer in WMEM_ALLOC */
	queued = info[SK_MEMINFO_WMEM_QUEUED] ? info[SK_MEMINFO_WMEM_QUEUED]
					      : info[SK_MEMINFO_WMEM_ALLOC];
	room = info[SK_MEMINFO_SNDBUF] - MIN(queued, info[SK_MEMINFO_SNDBUF]);
	/* the kernel's rule: a third of the buffer is free; for local sockets three quarters */
	*writable = info[SK_MEMINFO_WMEM_QUEUED] ? room >= queued / 2 : room / 3 >= queued;
	return room;
}

void sock_limit_unsent(int fd, uint32_t bytes)
{
	/* fails only for a dead socket, which the owner notices at its next call */
	(void)sock_set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)bytes);
}

void sock_set_low_water(int fd, uint32_t bytes)
{
	/* fails only for a dead socket, which is readable anyway */
	(void)sock_set(fd, SOL_SOCKET, SO_RCVLOWAT, (int)bytes);
}

/* The number of bytes that ioctl(2) answers to `request`; 0 if it fails. */
static uint32_t ask_bytes(int fd, unsigned long request)
{
	int bytes = 0;

	return ioctl(fd, request, &bytes) || bytes < 0 ? 0 : (uint32_t)bytes;
}

uint32_t sock_unsent_bytes(int fd)
{
	return ask_bytes(fd, SIOCOUTQNSD);
}

uint32_t sock_unread_bytes(int fd)
{
	return ask_bytes(fd, SIOCINQ);
}

typedef int name_function(int fd, struct sockaddr *address, socklen_t *length_bytes);

static void get_name(name_function *get, int fd, struct addr *address)
{
	struct sockaddr_storage storage = {0};
	socklen_t length = sizeof(storage);

	if (get(fd, (struct sockaddr *)&storage, &length))
		storage.ss_family = AF_UNSPEC;
	addr_from_sockaddr(address, &storage);
}

void sock_get_peer(int fd, struct addr *address)
{
	get_name(getpeername, fd, address);
}

void sock_get_local(int fd, struct addr *address)
{
	get_name(getsockname, fd, address);
}
