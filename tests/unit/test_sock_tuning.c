/* SPDX-License-Identifier: MIT */
#include "os/sock_tuning.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "os/sock.h"
#include "support.h"

TestSuite(sock_tuning, .fini = support_check_leaks);

struct tuning_row {
	uint64_t keepalive_ms, user_timeout_ms;
	int keepalive, idle_s, user_timeout;
};

static void check_tuning(const struct tuning_row *row, int fd, bool at_once)
{
	cr_assert_geq(fd, 0);
	cr_expect(fcntl(fd, F_GETFL) & O_NONBLOCK);
	cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	cr_expect_eq(support_option(fd, IPPROTO_TCP, TCP_NODELAY), at_once);
	cr_expect_eq(support_option(fd, SOL_SOCKET, SO_OOBINLINE), 1);
	cr_expect_eq(support_option(fd, SOL_SOCKET, SO_KEEPALIVE), row->keepalive);
	if (row->keepalive)
		cr_expect_eq(support_option(fd, IPPROTO_TCP, TCP_KEEPIDLE), row->idle_s, "%d",
			     row->idle_s);
	cr_expect_eq(support_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), row->user_timeout, "%d",
		     row->user_timeout);
}

/* Accepted sockets have the options of the listener; backend sockets get keepalive when asked. */
Test(sock_tuning, of_both_sides)
{
	static const struct tuning_row rows[] = {
		{0, 0, 0, -1, 0},
		{120000, 120000, 1, 120, 120000},
		{1, 1, 1, 1, 1},
		{1999, 0, 1, 1, 0},
		{86400000, 864000000, 1, 32767, 864000000},
		{UINT64_MAX, 1ULL << 40, 1, 32767, INT32_MAX},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct sock_tuning tuning = {.keepalive_ms = rows[i].keepalive_ms,
						   .user_timeout_ms = rows[i].user_timeout_ms};
		int listener, client, accepted, backend, congestion_error;
		struct addr address;

		cr_assert_null(addr_parse("127.0.0.1:0", &address));
		cr_assert_eq(sock_open_listeners(&address, &tuning, 8, &listener, 1), 0);
		client = support_connect(&address);
		support_poll(listener, POLLIN);
		accepted = sock_accept(listener);
		backend = sock_open_backend(&address, &tuning, &congestion_error);
		check_tuning(&rows[i], accepted, true);
		cr_expect_eq(support_option(backend, SOL_SOCKET, SO_KEEPALIVE), 0);
		cr_expect_eq(sock_keep_alive(backend, &tuning), 0);
		check_tuning(&rows[i], backend, false);
		sock_send_at_once(backend);
		check_tuning(&rows[i], backend, true);
		close(accepted);
		close(backend);
		close(client);
		close(listener);
	}
}

static void get_congestion(int fd, char name[17])
{
	socklen_t length = 16;

	memset(name, 0, 17);
	cr_assert(!getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length));
}

struct congestion_row {
	const char *address, *asked;
	bool taken;
	int error;
};

/* Only connections on this host get another congestion control, and a refusal does no harm. */
Test(sock_tuning, loopback_congestion)
{
	static const struct congestion_row rows[] = {
		{"127.0.0.1:80", "reno", true, 0},	  {"127.1.2.3:80", "reno", true, 0},
		{"192.0.2.1:80", "reno", false, 0},	  {"127.0.0.1:80", NULL, false, 0},
		{"127.0.0.1:80", "none", false, -ENOENT},
	};
	char usual[17], name[17], read[SOCK_CONGESTION_BYTES];
	int error, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	get_congestion(fd, usual);
	close(fd);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct sock_tuning tuning = {.loopback_congestion = rows[i].asked};
		struct addr address;

		cr_assert_null(addr_parse(rows[i].address, &address));
		fd = sock_open_backend(&address, &tuning, &error);
		cr_assert_geq(fd, 0, "row %zu", i);
		get_congestion(fd, name);
		close(fd);
		cr_expect_str_eq(name, rows[i].taken ? rows[i].asked : usual, "row %zu: %s", i,
				 name);
		cr_expect_eq(error, rows[i].error, "row %zu: %d", i, error);
		cr_expect_eq(sock_read_congestion(&address, &tuning, read), 0);
		cr_expect_str_eq(read, name, "row %zu: %s", i, read);
	}
}

struct choice_row {
	const char *usual, *allowed; /* NULL: no such file */
	const char *chosen;
};

/* A name that only root may set is never chosen: backend sockets are made without privileges. */
Test(sock_tuning, a_congestion_control_that_paces_is_replaced)
{
	static const struct choice_row rows[] = {
		{"bbr\n", "reno bbr cubic\n", "cubic"},
		{"bbr\n", "cubic\n", "cubic"},
		{"bbr\n", "reno bbr\n", "reno"},
		{"bbr2\n", "bbr2 reno\n", "reno"},
		{"bbr\n", "bbr\n", NULL},
		{"bbr\n", "bbr cubic2 renown\n", NULL},
		{"bbr\n", NULL, "reno"},
		{"cubic\n", "reno cubic\n", NULL},
		{"reno\n", "reno cubic\n", NULL},
		{NULL, "reno cubic\n", NULL},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char root[] = "/tmp/test_sock_tuning.XXXXXX";
		const char *chosen;

		cr_assert_not_null(mkdtemp(root));
		if (rows[i].usual)
			support_put_file(root, "/proc/sys/net/ipv4/tcp_congestion_control",
					 rows[i].usual);
		if (rows[i].allowed)
			support_put_file(root, "/proc/sys/net/ipv4/tcp_allowed_congestion_control",
					 rows[i].allowed);
		chosen = sock_choose_loopback_congestion(root);
		support_remove_tree(root);
		cr_expect_eq(!chosen, !rows[i].chosen, "row %zu", i);
		if (chosen && rows[i].chosen)
			cr_expect_str_eq(chosen, rows[i].chosen, "row %zu: %s", i, chosen);
	}
}
