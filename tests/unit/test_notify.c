/* SPDX-License-Identifier: MIT */
#include "control/notify.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

TestSuite(notify, .fini = support_check_leaks);

/* A service manager's socket, and the value of $NOTIFY_SOCKET for it. */
struct manager_socket {
	int fd;
	char name[sizeof(struct sockaddr_un)];
};

static void open_manager(struct manager_socket *manager, bool abstract)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t length = sizeof(address.sun_family);

	manager->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	cr_assert_geq(manager->fd, 0);
	if (abstract) {
		/* the kernel chooses a name */
		cr_assert(!bind(manager->fd, (struct sockaddr *)&address, length));
		length = sizeof(address);
		cr_assert(!getsockname(manager->fd, (struct sockaddr *)&address, &length));
		snprintf(manager->name, sizeof(manager->name), "@%.*s",
			 (int)(length - sizeof(address.sun_family) - 1), address.sun_path + 1);
	} else {
		snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/sixpipe-notify-%d",
			 getpid());
		snprintf(manager->name, sizeof(manager->name), "%.107s", address.sun_path);
		unlink(manager->name);
		cr_assert(!bind(manager->fd, (struct sockaddr *)&address, sizeof(address)));
	}
	cr_assert(!setenv("NOTIFY_SOCKET", manager->name, 1));
}

static void close_manager(struct manager_socket *manager)
{
	close(manager->fd);
	if (*manager->name == '/')
		unlink(manager->name);
}

static void expect_message(const struct manager_socket *manager, const char *text)
{
	char got[NOTIFY_TEXT_BYTES];
	ssize_t count = recv(manager->fd, got, sizeof(got) - 1, 0);

	cr_assert_geq(count, 0);
	got[count] = '\0';
	cr_expect_str_eq(got, text);
}

Test(notify, a_message_arrives)
{
	for (int abstract = 0; abstract < 2; abstract++) {
		struct manager_socket manager;
		struct notify notify;

		open_manager(&manager, abstract);
		cr_assert_eq(notify_open(&notify), 0);
		cr_expect_eq(notify_send(&notify, "READY=1\nSTATUS=x"), 0);
		expect_message(&manager, "READY=1\nSTATUS=x");
		notify_close(&notify);
		cr_expect_eq(notify.fd, -1);
		close_manager(&manager);
	}
}

Test(notify, no_manager_or_a_wrong_address)
{
	static const struct {
		const char *name; /* NULL: not set */
		int result;
	} rows[] = {
		{NULL, 0},
		{"", 0},
		{"vsock:2:1234", 0},
		{"vsock-stream:2:1234", 0},
		{"relative/path", -EINVAL},
		{"/", -EINVAL},
		{"@", -EINVAL},
		{"/nowhere/sixpipe-notify", -ENOENT},
		{"@sixpipe-nobody-listens-here", -ECONNREFUSED},
		{"/tmp", -ECONNREFUSED},
		{"/0123456789012345678901234567890123456789012345678901234567890123456789"
		 "01234567890123456789012345678901234567",
		 -ENAMETOOLONG},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		unsigned before = support_count_descriptors();
		struct notify notify;

		if (rows[i].name)
			cr_assert(!setenv("NOTIFY_SOCKET", rows[i].name, 1));
		else
			cr_assert(!unsetenv("NOTIFY_SOCKET"));
		cr_expect_eq(notify_open(&notify), rows[i].result, "%s: %s", rows[i].name,
			     strerror(-notify_open(&notify)));
		cr_expect_eq(notify.fd, -1);
		cr_expect_eq(notify_send(&notify, "READY=1"), 0);
		cr_expect_eq(support_count_descriptors(), before);
	}
}

/* A manager that does not read: the message is refused, and the socket says when there is room. */
Test(notify, a_full_socket_does_not_block)
{
	struct manager_socket manager;
	struct notify notify;
	int sent = 0, result;

	open_manager(&manager, true);
	cr_assert_eq(notify_open(&notify), 0);
	while (!(result = notify_send(&notify, "STATUS=x")))
		cr_assert_lt(++sent, 100000);
	cr_expect_eq(result, -EAGAIN);
	cr_expect(!poll(&(struct pollfd){.fd = notify.fd, .events = POLLOUT}, 1, 0));
	while (recv(manager.fd, (char[16]){0}, 16, 0) > 0)
		;
	support_poll(notify.fd, POLLOUT);
	cr_expect_eq(notify_send(&notify, "READY=1"), 0);
	expect_message(&manager, "READY=1");
	close(manager.fd);
	cr_expect_eq(notify_send(&notify, "READY=1"), -ECONNREFUSED);
	notify_close(&notify);
}

Test(notify, watchdog_of_this_process)
{
	char self[16], parent[16];
	const struct {
		const char *usec, *pid;
		uint64_t ms;
	} rows[] = {
		{NULL, NULL, 0},
		{"30000000", NULL, 30000},
		{"30000000", self, 30000},
		{"30000000", "", 30000},
		{"30000000", parent, 30000},
		{"30000000", "1000000000", 0},
		{"30000000", "x", 0},
		{"soon", self, 0},
		{"", self, 0},
		{NULL, self, 0},
		{"-1", NULL, 0},
	};

	snprintf(self, sizeof(self), "%d", getpid());
	snprintf(parent, sizeof(parent), "%d", getppid());
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		unsetenv("WATCHDOG_USEC");
		unsetenv("WATCHDOG_PID");
		if (rows[i].usec)
			cr_assert(!setenv("WATCHDOG_USEC", rows[i].usec, 1));
		if (rows[i].pid)
			cr_assert(!setenv("WATCHDOG_PID", rows[i].pid, 1));
		cr_expect_eq(notify_watchdog_ms(), rows[i].ms, "row %zu", i);
	}
}
