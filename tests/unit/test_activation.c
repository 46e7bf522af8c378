/* SPDX-License-Identifier: MIT */
#include "os/activation.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

TestSuite(activation, .fini = support_check_leaks);

#define TEXT_BYTES 512

/* Variables ----------------------------------------------------------------------------------- */

/* Variables of a start with a descriptor 3 and no descriptor 4. */
struct variables {
	const char *fds, *pid, *names; /* NULL: not set; a pid of "own" stands for the own number */
	const char *outcome;	       /* the names that were passed, or the fault */
};

static void put(const char *name, const char *value)
{
	if (value)
		setenv(name, value, 1);
	else
		unsetenv(name);
}

static void print_outcome(const struct variables *row, char text[TEXT_BYTES])
{
	struct activation activation;
	struct fault fault = {0};
	size_t length = 0;
	char own[16];

	snprintf(own, sizeof(own), "%d", (int)getpid());
	put("LISTEN_FDS", row->fds);
	put("LISTEN_PID", row->pid && !strcmp(row->pid, "own") ? own : row->pid);
	put("LISTEN_FDNAMES", row->names);
	*text = '\0';
	if (activation_take(&activation, &fault))
		snprintf(text, TEXT_BYTES, "%s", support_text(&fault));
	for (unsigned i = 0; i < activation.count; i++) {
		int fd = activation.sockets[i].fd;

		length += (size_t)snprintf(text + length, TEXT_BYTES - length, "%d=%s ", fd,
					   activation.sockets[i].name);
		if (!(fcntl(fd, F_GETFD) & FD_CLOEXEC) || !(fcntl(fd, F_GETFL) & O_NONBLOCK))
			snprintf(text, TEXT_BYTES, "the flags of %d are not set", fd);
	}
	if (activation.other_process)
		snprintf(text, TEXT_BYTES, "other %ld", activation.other_process);
	if (getenv("LISTEN_FDS") || getenv("LISTEN_PID") || getenv("LISTEN_FDNAMES"))
		snprintf(text, TEXT_BYTES, "the variables are still set");
	activation_finish(&activation);
}

/* In a child process, because the descriptors have fixed numbers. */
static void take(const struct variables *row, char text[TEXT_BYTES])
{
	int ends[2], status;
	ssize_t count;
	pid_t child;

	cr_assert_eq(pipe(ends), 0);
	child = fork();
	if (!child) {
		int answer = fcntl(ends[1], F_DUPFD, 10);

		dup2(ends[0], 3);
		close(4);
		print_outcome(row, text);
		_exit(write(answer, text, TEXT_BYTES) != TEXT_BYTES);
	}
	close(ends[1]);
	/* first: the child takes a duplicate of ends[0], which makes both non-blocking */
	cr_assert_eq(waitpid(child, &status, 0), child);
	count = read(ends[0], text, TEXT_BYTES);
	close(ends[0]);
	cr_assert_eq(count, TEXT_BYTES, "%zd bytes, status %d", count, status);
}

Test(activation, variables)
{
	static const struct variables rows[] = {
		{NULL, NULL, NULL, ""},
		{"1", NULL, "web", ""},
		{NULL, "own", "web", ""},
		{"0", "own", NULL, ""},
		{"1", "own", "web", "3=web "},
		{"1", "own", NULL, "3=unknown "},
		{"1", "own", "", "3= "},
		{"1", "1", "web", "other 1"},
		{"x", "own", "web",
		 "LISTEN_FDS: 'x' is no number from 0 to 1048576; unset it, or start sixpipe by a "
		 "service manager that sets it"},
		{"1 ", "own", NULL,
		 "LISTEN_FDS: '1 ' is no number from 0 to 1048576; unset it, or start sixpipe by a "
		 "service manager that sets it"},
		{"-1", "own", NULL,
		 "LISTEN_FDS: '-1' is no number from 0 to 1048576; unset it, or start sixpipe by a "
		 "service manager that sets it"},
		{"1048577", "own", NULL,
		 "LISTEN_FDS: '1048577' is no number from 0 to 1048576; unset it, or start sixpipe "
		 "by a service manager that sets it"},
		{"1", "", NULL,
		 "LISTEN_PID: '' is no number from 0 to 2147483647; unset it, or start sixpipe by a "
		 "service manager that sets it"},
		{"1", "own", "a:b",
		 "LISTEN_FDNAMES: has 2 names for the 1 sockets of LISTEN_FDS; start sixpipe by a "
		 "service manager that sets both"},
		{"2", "own", "a:b",
		 "LISTEN_FDS: promises 2 sockets, and descriptor 4 cannot be used: Bad file "
		 "descriptor; start sixpipe by a service manager that passes them"},
	};
	char text[TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		take(&rows[i], text);
		cr_expect_str_eq(text, rows[i].outcome, "row %zu: %s", i, text);
	}
}

/* Sockets -------------------------------------------------------------------------------------- */

static int open_socket(int family, int type, const char *name)
{
	int fd = socket(family, type, 0);
	struct sockaddr_storage none = {.ss_family = (sa_family_t)family};
	struct addr address;
	struct sockaddr_un local;
	socklen_t length_bytes = family == AF_INET6 ? sizeof(address.v6) : sizeof(address.v4);
	const struct sockaddr *to = (struct sockaddr *)&none;

	cr_assert_geq(fd, 0);
	if (name) {
		cr_assert_null(addr_parse_local(name, strlen(name), &local, &address));
		to = addr_sockaddr(&address, &length_bytes);
	}
	cr_assert_eq(bind(fd, to, length_bytes), 0, "%s", strerror(errno));
	return fd;
}

Test(activation, sockets)
{
	static const struct {
		int family, type;
		bool listens;
		const char *name;    /* of a local socket */
		const char *problem; /* its beginning; NULL: none */
	} rows[] = {
		{AF_INET6, SOCK_STREAM, true, NULL, NULL},
		{AF_INET, SOCK_STREAM, true, NULL, NULL},
		{AF_UNIX, SOCK_STREAM, true, "unix:@sixpipe-test-activation", NULL},
		{AF_INET6, SOCK_STREAM, false, NULL, "is a connection"},
		{AF_INET6, SOCK_DGRAM, false, NULL, "is no stream socket"},
		{AF_UNIX, SOCK_SEQPACKET, true, "unix:@sixpipe-test-packets",
		 "is no stream socket"},
	};
	struct activation_facts facts;
	char text[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		int fd = open_socket(rows[i].family, rows[i].type, rows[i].name);
		const char *problem;

		if (rows[i].listens)
			cr_assert_eq(listen(fd, 1), 0);
		problem = activation_inspect(fd, &facts);
		cr_expect_eq(!problem, !rows[i].problem, "row %zu: %s", i, problem ? problem : "");
		if (problem && rows[i].problem)
			cr_expect_eq(strncmp(problem, rows[i].problem, strlen(rows[i].problem)), 0,
				     "row %zu: %s", i, problem);
		if (rows[i].name)
			cr_expect_str_eq(addr_print(&facts.address, text), rows[i].name);
		cr_expect(facts.address.length_bytes > 0);
		cr_expect_eq(addr_is_local(&facts.address), rows[i].family == AF_UNIX);
		close(fd);
	}
}

Test(activation, families_of_a_wildcard)
{
	for (int only = 0; only < 2; only++) {
		struct activation_facts facts;
		int fd = socket(AF_INET6, SOCK_STREAM, 0);

		cr_assert_eq(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)), 0);
		cr_assert_eq(listen(fd, 1), 0); /* on a port that the kernel chooses */
		cr_expect_null(activation_inspect(fd, &facts));
		cr_expect_eq(facts.dual_stack, !only);
		close(fd);
	}
}

Test(activation, a_pipe_is_no_socket)
{
	struct activation_facts facts;
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	cr_expect_not_null(activation_inspect(ends[0], &facts));
	cr_expect_eq(facts.address.length_bytes, 0);
	close(ends[0]);
	close(ends[1]);
}
