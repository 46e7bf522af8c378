/* SPDX-License-Identifier: MIT */
#include "control/manager.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

TestSuite(manager, .fini = support_check_leaks);

/* A manager whose other end the test reads. */
static int open_pair(struct manager *manager)
{
	int fds[2];

	cr_assert(!socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds));
	unsetenv("NOTIFY_SOCKET");
	manager_open(manager, false);
	cr_expect(!manager_listens(manager));
	manager->notify.fd = fds[0];
	return fds[1];
}

static void expect_message(int fd, const char *text)
{
	char got[NOTIFY_TEXT_BYTES];
	ssize_t count = recv(fd, got, sizeof(got) - 1, 0);

	cr_assert_geq(count, 0, "no message; wanted %s", text);
	got[count] = '\0';
	cr_expect_str_eq(got, text);
}

Test(manager, counts_in_words)
{
	char text[MANAGER_COUNT_BYTES];

	cr_expect_str_eq(manager_print_count(0, "session", text), "no sessions");
	cr_expect_str_eq(manager_print_count(1, "session", text), "1 session");
	cr_expect_str_eq(manager_print_count(12, "session", text), "12 sessions");
}

Test(manager, words_are_one_line_of_text)
{
	static const struct {
		const char *words, *status;
	} rows[] = {
		{"", ""},
		{"plain", "plain"},
		{"a\nREADY=1", "a?READY=1"},
		{"\x1b[31m", "?[31m"},
		{"gr\xc3\xbcn", "gr\xc3\xbcn"},
		{"\xff\xfe", "??"},
	};
	char status[MANAGER_STATUS_BYTES], lengthy[2 * MANAGER_STATUS_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		manager_copy_words(status, rows[i].words);
		cr_expect_str_eq(status, rows[i].status);
	}
	/* cut between two characters */
	for (size_t i = 0; i + 2 < sizeof(lengthy); i += 2)
		memcpy(lengthy + i, "\xc3\xbc", 3);
	manager_copy_words(status, lengthy);
	cr_expect_eq(strlen(status), MANAGER_STATUS_BYTES - 2);
}

Test(manager, a_failed_start_tells_the_first_error)
{
	struct config_errors errors = {0};
	struct manager manager;
	int fd = open_pair(&manager);

	manager_fail(&manager, &errors);
	config_errors_add_words(&errors, "cannot do this; do that");
	manager_fail(&manager, &errors);
	expect_message(fd, "STATUS=failed: cannot do this");
	config_errors_add_words(&errors, "nor that; stop");
	manager_fail(&manager, &errors);
	expect_message(fd, "STATUS=failed: cannot do this (and 1 more)");
	config_errors_finish(&errors);
	manager_close(&manager);
	close(fd);
}

Test(manager, a_message_that_found_no_room_waits)
{
	struct manager manager;
	struct poll_set set;
	int fd = open_pair(&manager);

	while (!notify_send(&manager.notify, "x"))
		;
	manager_wait(&manager, "rain", 1500);
	poll_set_begin(&set);
	manager_prepare_poll(&manager, &set);
	cr_expect_eq(set.count, 1);
	while (recv(fd, (char[16]){0}, 16, 0) > 0)
		;
	/* the next message has the parts that were not sent */
	manager_fail_words(&manager, "failed: no rain");
	expect_message(fd, "EXTEND_TIMEOUT_USEC=31500000\nSTATUS=failed: no rain");
	poll_set_begin(&set);
	manager_prepare_poll(&manager, &set);
	cr_expect_eq(set.count, 0);
	manager_close(&manager);
	close(fd);
}

Test(manager, a_process_that_takes_over_is_quiet_at_first)
{
	struct manager manager;
	int fd = open_pair(&manager);

	manager.quiet = true;
	manager_wait(&manager, "names", 1500);
	manager_fail_words(&manager, "failed: the old process goes on");
	cr_expect_lt(recv(fd, (char[16]){0}, 16, 0), 0);
	manager_close(&manager);
	close(fd);
}
