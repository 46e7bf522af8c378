/* SPDX-License-Identifier: MIT */
/*
 * Claim: a datagram socket that connects to the file of a stream socket gets EPROTOTYPE as long as
 * a process has the stream socket open, whether that listens or not and however full its backlog
 * is. After that it gets ECONNREFUSED. A listening process gets no connection. In the abstract
 * namespace each type of socket has names of its own, so the stream socket is not found.
 * Since: always; unix(7) has the errors.
 * Why: the start checks the file of a listener in this way before it replaces the file, and the end
 * before it removes the file. A stream socket would connect to the listening process, and would not
 * find a socket that is bound and does not listen yet.
 */
#include "probe.h"

#include <sys/un.h>

static int try_connect(int type, const struct sockaddr_un *name, socklen_t length)
{
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error;

	PROBE_NEED(fd >= 0);
	error = connect(fd, (const struct sockaddr *)name, length) ? errno : 0;
	close(fd);
	return error;
}

static void check(int wanted, const struct sockaddr_un *name, const char *what)
{
	int error = try_connect(SOCK_DGRAM, name, sizeof(*name));

	PROBE_CHECK(error == wanted, "%s: %s", what, error ? strerror(error) : "connected");
}

static int bind_stream(const struct sockaddr_un *name, socklen_t length)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	PROBE_NEED(fd >= 0 && bind(fd, (const struct sockaddr *)name, length) == 0);
	return fd;
}

static void check_file(const char *directory)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int listener;

	snprintf(name.sun_path, sizeof(name.sun_path), "%s/socket", directory);
	listener = bind_stream(&name, sizeof(name));
	check(EPROTOTYPE, &name, "bound");
	PROBE_NEED(listen(listener, 0) == 0);
	check(EPROTOTYPE, &name, "listening");
	PROBE_CHECK(accept(listener, NULL, NULL) < 0 && errno == EAGAIN,
		    "the listener got a connection");
	while (!try_connect(SOCK_STREAM, &name, sizeof(name)))
		continue;
	check(EPROTOTYPE, &name, "its backlog full");
	close(listener);
	check(ECONNREFUSED, &name, "closed");
	PROBE_NEED(unlink(name.sun_path) == 0 && rmdir(directory) == 0);
}

static void check_name(void)
{
	/* two bytes: the kernel chooses a name */
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	socklen_t length = sizeof(name);
	int listener = bind_stream(&name, sizeof(name.sun_family)), error;

	PROBE_NEED(listen(listener, 1) == 0);
	PROBE_NEED(getsockname(listener, (struct sockaddr *)&name, &length) == 0);
	error = try_connect(SOCK_DGRAM, &name, length);
	PROBE_CHECK(error == ECONNREFUSED, "a name: %s", error ? strerror(error) : "connected");
	close(listener);
}

int main(void)
{
	char directory[] = "/tmp/sixpipe-probe-XXXXXX";

	PROBE_NEED(mkdtemp(directory));
	check_file(directory);
	check_name();
	probe_hold(
		"EPROTOTYPE while somebody has the file's socket, then ECONNREFUSED; no session");
}
