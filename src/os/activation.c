/* SPDX-License-Identifier: MIT */
#include "os/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"

/* The first passed descriptor: SD_LISTEN_FDS_START of sd_listen_fds(3). */
#define FIRST_FD 3

/* More cannot be meant: the limit on descriptors is seldom larger. */
#define COUNT_LIMIT (1 << 20)

/* The variables ------------------------------------------------------------------------------- */

/* Reads the whole of `text` as a number from 0 to `most`. -1: it is none. */
static long read_number(const char *text, long most)
{
	char *end;
	long number = strtol(text, &end, 10);

	return end == text || *end || number < 0 || number > most ? -1 : number;
}

/* Names the sockets by LISTEN_FDNAMES: one name for each, with colons between. */
static int set_names(struct activation *self, const char *names, struct fault *fault)
{
	unsigned count = 1;
	char *rest;

	for (unsigned i = 0; i < self->count; i++)
		self->sockets[i].name = "unknown";
	if (!names)
		return 0;
	for (const char *at = names; *at; at++)
		count += *at == ':';
	if (count != self->count)
		return fault_set_object(fault, NULL, "LISTEN_FDNAMES",
					"has %u names for the %u sockets of LISTEN_FDS; start "
					"sixpipe by a service manager that sets both",
					count, self->count);
	self->names = rest = strdup(names);
	if (!rest) {
		fault_set(fault, NULL, NULL, "out of memory; pass fewer sockets (LISTEN_FDS)");
		return -ENOMEM;
	}
	for (unsigned i = 0; i < count; i++)
		self->sockets[i].name = strsep(&rest, ":");
	return 0;
}

static int prepare(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) || fcntl(fd, F_SETFL, flags | O_NONBLOCK))
		return -errno;
	return 0;
}

static int take(struct activation *self, const char *names, struct fault *fault)
{
	self->sockets = calloc(self->count, sizeof(*self->sockets));
	if (!self->sockets) {
		fault_set(fault, NULL, NULL, "out of memory; pass fewer sockets (LISTEN_FDS)");
		return -ENOMEM;
	}
	for (unsigned i = 0; i < self->count; i++) {
		int fd = FIRST_FD + (int)i, result = prepare(fd);

		if (result) {
			fault_set_object(fault, NULL, "LISTEN_FDS",
					 "promises %u sockets, and descriptor %d cannot be used: "
					 "%s; start sixpipe by a service manager that passes them",
					 self->count, fd, strerror(-result));
			return result;
		}
		self->sockets[i].fd = fd;
	}
	return set_names(self, names, fault);
}

int activation_take(struct activation *activation, struct fault *fault)
{
	static const char *const variables[] = {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"};
	const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
	long count = fds ? read_number(fds, COUNT_LIMIT) : 0, process = 0;
	int result = 0;

	*activation = (struct activation){0};
	if (fds && pid)
		process = read_number(pid, INT_MAX);
	if (process < 0 || count < 0) {
		result = fault_set_object(fault, NULL, process < 0 ? "LISTEN_PID" : "LISTEN_FDS",
					  "'%.40s' is no number from 0 to %d; unset it, or start "
					  "sixpipe by a service manager that sets it",
					  process < 0 ? pid : fds,
					  process < 0 ? INT_MAX : COUNT_LIMIT);
	} else if (process == getpid() && count) {
		activation->count = (unsigned)count;
		result = take(activation, getenv("LISTEN_FDNAMES"), fault);
	} else if (process != getpid()) {
		activation->other_process = process;
	}
	for (size_t i = 0; i < ARRAY_COUNT(variables); i++)
		unsetenv(variables[i]);
	if (result)
		activation_finish(activation);
	return result;
}

void activation_finish(struct activation *activation)
{
	free(activation->sockets);
	free(activation->names);
	*activation = (struct activation){0};
}

/* The sockets --------------------------------------------------------------------------------- */

/* The value of an option of a socket; -1: there is none. */
static int ask(int fd, int level, int option)
{
	int value = -1;
	socklen_t length_bytes = sizeof(value);

	return getsockopt(fd, level, option, &value, &length_bytes) ? -1 : value;
}

static void get_local_name(struct activation_facts *facts, socklen_t length_bytes)
{
	const size_t before = offsetof(struct sockaddr_un, sun_path);
	const char *path = facts->local_name.sun_path;
	size_t path_bytes = length_bytes - MIN(length_bytes, before);

	path_bytes = MIN(path_bytes, sizeof(facts->local_name.sun_path));
	facts->address.local = (struct addr_local){
		.family = AF_UNIX,
		/* a path may end with a NUL; an abstract name begins with one */
		.path_bytes = (uint16_t)(*path ? strnlen(path, path_bytes) : path_bytes),
		.name = &facts->local_name,
	};
	facts->address.length_bytes = sizeof(facts->address.local);
}

/* Returns false if `fd` is no socket. */
static bool get_address(int fd, struct activation_facts *facts)
{
	union {
		struct sockaddr any;
		struct sockaddr_storage storage;
	} name = {0};
	socklen_t length_bytes = sizeof(name);

	if (getsockname(fd, &name.any, &length_bytes))
		return false;
	if (name.any.sa_family == AF_UNIX) {
		memcpy(&facts->local_name, &name, sizeof(facts->local_name));
		get_local_name(facts, length_bytes);
	} else {
		addr_from_sockaddr(&facts->address, &name.storage);
	}
	return true;
}

const char *activation_inspect(int fd, struct activation_facts *facts)
{
	socklen_t device_bytes = sizeof(facts->device);
	int family = ask(fd, SOL_SOCKET, SO_DOMAIN), protocol = ask(fd, SOL_SOCKET, SO_PROTOCOL);

	memset(facts, 0, sizeof(*facts));
	if (!get_address(fd, facts))
		return "is no socket; use ListenStream= in the .socket unit";
	if (family != AF_INET6 && family != AF_INET && family != AF_UNIX)
		return "is not an IPv6, IPv4 or local socket; write an address or a path after "
		       "ListenStream= in the .socket unit";
	if (ask(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM)
		return "is no stream socket; use ListenStream= in the .socket unit";
	if (family != AF_UNIX && protocol != IPPROTO_TCP)
		return "is no TCP socket; remove SocketProtocol= from the .socket unit";
	if (ask(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1)
		return "is a connection and does not listen; write Accept=no in the .socket unit";
	facts->dual_stack =
		addr_is_v6_wildcard(&facts->address) && ask(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
	/* fails for an interface that was deleted */
	if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, facts->device, &device_bytes))
		*facts->device = '\0';
	return NULL;
}
