/* SPDX-License-Identifier: MIT */
/* forwards_open() in a takeover: which sockets of the old process the new one listens on. */
#include "forward/listener_bind.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "os/sock.h"
#include "relay/listener.h"
#include "support.h"
#include "takeover_fixture.h"

static unsigned descriptors;

static void set_up(void)
{
	descriptors = support_count_descriptors();
}

static void tear_down(void)
{
	cr_expect_eq(support_count_descriptors(), descriptors);
	support_check_leaks();
}

TestSuite(listener_bind, .init = set_up, .fini = tear_down);

/* Words of a command line, of printf(3). */
PRINTF_LIKE(1, 2) static const char *words(const char *format, ...)
{
	static char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	return text;
}

static unsigned port_of(const struct takeover_process *process, unsigned forward)
{
	return addr_port(&process->forwards->list[forward].listen);
}

static ino_t inode_of(int fd)
{
	struct stat status;

	cr_assert_eq(fstat(fd, &status), 0);
	return status.st_ino;
}

/* The number of different sockets of `process`, of any forward, that `old` has too. */
static unsigned count_common(const struct takeover_process *process,
			     const struct takeover_process *old)
{
	ino_t met[64];
	unsigned count = 0;

	for (unsigned i = 0; i < process->sockets.count; i++) {
		ino_t inode = inode_of(process->sockets.list[i].fd);
		bool known = true;

		for (unsigned j = 0; j < old->sockets.count; j++)
			known &= inode_of(old->sockets.list[j].fd) != inode;
		for (unsigned j = 0; j < count; j++)
			known |= met[j] == inode;
		if (!known)
			met[count++] = inode;
	}
	return count;
}

/* Workers of the old and of the new process; the sockets of the new one and of each of its workers. */
Test(listener_bind, workers_share_what_there_is)
{
	static const struct {
		unsigned old_workers, new_workers, expected;
		bool shared;
	} rows[] = {
		{1, 1, 1, false}, {2, 2, 2, false}, {4, 1, 4, false},
		{5, 2, 5, false}, {1, 3, 3, true},  {2, 3, 3, true},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct takeover_process *old =
			takeover_start(NULL, rows[i].old_workers, "[::1]:0 192.0.2.1:80");
		struct takeover_process *new =
			takeover_start(old, rows[i].new_workers, "[::1]:0 192.0.2.1:80");
		unsigned of_worker[8] = {0};

		cr_assert_eq(new->result, 0, "%s", takeover_error(new));
		cr_expect_eq(port_of(new, 0), port_of(old, 0));
		cr_expect_eq(new->sockets.count, rows[i].expected, "row %zu", i);
		cr_expect_eq(count_common(new, old), rows[i].old_workers, "row %zu", i);
		cr_expect_eq(new->forwards->list[0].shared, rows[i].shared, "row %zu", i);
		cr_expect_eq(new->forwards->list[0].socket_count, rows[i].expected);
		for (unsigned j = 0; j < new->sockets.count; j++)
			of_worker[new->sockets.list[j].worker]++;
		for (unsigned j = 0; j < rows[i].new_workers; j++)
			cr_expect_geq(of_worker[j], 1, "row %zu, worker %u", i, j);
		takeover_end(old);
		takeover_end(new);
	}
}

/* Each duplicate of a shared socket travels once only, so their number does not grow. */
Test(listener_bind, takeovers_in_a_row_keep_the_sockets)
{
	static const unsigned workers[] = {1, 4, 4, 2, 3, 1};
	struct takeover_process *process = takeover_start(NULL, 1, "[::1]:0 192.0.2.1:80");
	unsigned port = port_of(process, 0);

	for (size_t i = 0; i < ARRAY_COUNT(workers); i++) {
		struct takeover_process *next =
			takeover_start(process, workers[i], "[::1]:0 192.0.2.1:80");

		cr_assert_eq(next->result, 0, "%s", takeover_error(next));
		cr_expect_eq(next->sockets.count, workers[i], "takeover %zu", i);
		cr_expect_eq(count_common(next, process), 1, "takeover %zu", i);
		cr_expect_eq(port_of(next, 0), port);
		takeover_end(process);
		process = next;
	}
	takeover_end(process);
}

/* A client in the backlog is accepted by the new process, after the end of the old one. */
Test(listener_bind, backlog_goes_on)
{
	struct takeover_process *old = takeover_start(NULL, 1, "127.0.0.1:0 192.0.2.1:80");
	int client = support_connect(&old->forwards->list[0].listen);
	struct takeover_process *new = takeover_start(old, 1, "127.0.0.1:0 192.0.2.1:80");
	int fd;

	takeover_end(old);
	fd = sock_accept(new->sockets.list[0].fd);
	cr_expect_geq(fd, 0);
	close(fd);
	close(client);
	takeover_end(new);
}

enum listen { NONE, PORT_0, PORT_A, PORT_B, V4_PORT_A };

/* " --listen ADDRESS --backend ADDRESS", for the ports A and B; until the next call but one. */
static const char *listen_words(enum listen listen, const unsigned ports[2])
{
	static char texts[2][64];
	static unsigned next;
	char *text = texts[next++ % 2];

	snprintf(text, sizeof(texts[0]), "--listen %s:%u --backend 192.0.2.1:80",
		 listen == V4_PORT_A ? "127.0.0.1" : "[::1]",
		 listen == PORT_0 ? 0 : ports[listen == PORT_B]);
	return listen == NONE ? "" : text;
}

/* The old process has the forwards "1" on port A and "2" on port B; both were given port 0. */
Test(listener_bind, which_sockets_are_taken)
{
	static const struct {
		enum listen first, second; /* of the new process */
		bool adopted[2];	   /* the old listeners */
	} rows[] = {
		{PORT_0, PORT_0, {true, true}},	   {PORT_0, NONE, {true, false}},
		{PORT_A, PORT_B, {true, true}},	   {PORT_B, PORT_A, {true, true}},
		{PORT_B, NONE, {false, true}},	   {PORT_B, V4_PORT_A, {false, true}},
		{V4_PORT_A, NONE, {false, false}},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		static const unsigned none[2] = {0};
		const char *first = listen_words(PORT_0, none);
		struct takeover_process *old =
			takeover_start(NULL, 1, words("%s %s", first, listen_words(PORT_0, none)));
		unsigned ports[] = {port_of(old, 0), port_of(old, 1)};
		struct takeover_process *new;

		first = listen_words(rows[i].first, ports);
		new = takeover_start(old, 1,
				     words(rows[i].second ? "%s %s" : "%s%s", first,
					   listen_words(rows[i].second, ports)));
		cr_expect_eq(new->result, 0, "row %zu: %s", i, takeover_error(new));
		for (unsigned j = 0; j < 2; j++)
			cr_expect_eq(new->inherited.sockets[j].used, rows[i].adopted[j],
				     "row %zu, socket %u", i, j);
		takeover_end(new);
		takeover_end(old);
	}
}

/* What bind(2) has fixed differs, and the old process has the port. */
Test(listener_bind, what_needs_a_restart)
{
	static const struct {
		const char *address, *options;
		const char *told[2];
	} rows[] = {
		{"[::]", "--dual-stack", {"sixpipe listens on [::]:", "restart sixpipe"}},
		{"[::]", "--bind-device lo", {"sixpipe listens on [::]:", "restart sixpipe"}},
		{"[::1]", "--backlog 7", {"sixpipe listens on [::]:", "restart sixpipe"}},
		{"[::]", "--mark 7", {"--mark", "restart sixpipe"}},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct takeover_process *old = takeover_start(NULL, 1, "[::]:0 192.0.2.1:80");
		struct takeover_process *new =
			takeover_start(old, 2,
				       words("%s %s:%u 192.0.2.1:80", rows[i].options,
					     rows[i].address, port_of(old, 0)));

		cr_expect_neq(new->result, 0, "row %zu", i);
		for (unsigned j = 0; j < 2; j++)
			cr_expect_not_null(strstr(takeover_error(new), rows[i].told[j]),
					   "row %zu: %s", i, takeover_error(new));
		takeover_end(new);
		/* the old process still listens */
		close(support_connect(&old->forwards->list[0].listen));
		takeover_end(old);
	}
}

/* The file of a local socket stays the same, whichever process ends first. */
Test(listener_bind, file_of_a_local_socket_stays)
{
	char directory[] = "/tmp/sixpipe-test-XXXXXX", path[64];
	struct stat before, after;

	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/s", directory);
	for (unsigned old_ends_first = 0; old_ends_first < 2; old_ends_first++) {
		struct takeover_process *old =
			takeover_start(NULL, 2, words("unix:%s 192.0.2.1:80", path));
		struct takeover_process *new;

		cr_assert_eq(stat(path, &before), 0);
		new = takeover_start(old, 1, words("unix:%s 192.0.2.2:80", path));
		cr_expect_eq(new->result, 0, "%s", takeover_error(new));
		cr_expect_eq(new->sockets.count, 1, "the workers share one socket");
		takeover_end(old_ends_first ? old : new);
		cr_assert_eq(stat(path, &after), 0, "it is still there");
		cr_expect_eq(before.st_ino, after.st_ino);
		takeover_end(old_ends_first ? new : old);
		cr_expect_neq(access(path, F_OK), 0, "the last process removes it");
	}
	rmdir(directory);
}

/* Options change when the workers start, not before. */
Test(listener_bind, options_change_late)
{
	static const char options[] = "--keepalive 60s --user-timeout 9s --defer-accept 5s "
				      "--congestion reno --tos 32 --rcvbuf 65536 ";
	struct takeover_process *old =
		takeover_start(NULL, 1, words("%s[::1]:0 192.0.2.1:80", options));
	struct takeover_process *new = takeover_start(old, 1, "--keepalive 0 [::1]:0 192.0.2.1:80");
	struct sessions sessions = {.forwards = new->forwards};
	struct listeners listeners;
	int fd;

	cr_assert_eq(new->result, 0, "%s", takeover_error(new));
	fd = new->sockets.list[0].fd;
	cr_assert_eq(listeners_init(&listeners, &new->sockets, &sessions, NULL), 0);
	cr_expect_eq(support_option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	cr_expect_eq(support_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 9000);
	cr_expect_gt(support_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
	listeners_tune(&listeners);
	cr_expect_eq(support_option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
	cr_expect_eq(support_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
	cr_expect_eq(support_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
	cr_expect_eq(support_option(fd, IPPROTO_IPV6, IPV6_TCLASS), 0);
	free(listeners.listeners);
	takeover_end(old);
	takeover_end(new);
}
