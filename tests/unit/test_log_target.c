/* SPDX-License-Identifier: MIT */
#include "base/log_target.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

static char directory[] = "/tmp/sixpipe-log-XXXXXX";
static char path[64]; /* of the file or socket */

static void begin(void)
{
	unsetenv("JOURNAL_STREAM");
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/log", directory);
}

static void end(void)
{
	char old[80];

	snprintf(old, sizeof(old), "%s.1", path);
	remove(path);
	remove(old);
	cr_expect(!rmdir(directory), "files are left in %s", directory);
}

TestSuite(log_target, .init = begin, .fini = end);

static struct log_loss put(enum log_level level, const char *line)
{
	struct log_loss loss = {0};

	log_target_put(level, line, strlen(line), &loss);
	log_target_flush(&loss);
	return loss;
}

static void put_each_level(void)
{
	cr_expect_eq(put(LOG_ERROR, "one\n").lines, 0);
	cr_expect_eq(put(LOG_WARN, "two\n").lines, 0);
	cr_expect_eq(put(LOG_INFO, "three\n").lines, 0);
	cr_expect_eq(put(LOG_DEBUG, "four\n").lines, 0);
}

static char *read_log(void)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = calloc(1, 1 << 16);

	cr_assert(fd >= 0 && text);
	cr_assert_geq(read(fd, text, (1 << 16) - 1), 0);
	close(fd);
	return text;
}

static void expect(char *text, const char *expected)
{
	cr_expect_str_eq(text, expected, "%s", text);
	free(text);
}

/* The journal ---------------------------------------------------------------------------------- */

/* JOURNAL_STREAM names stderr, with `more` added to the inode, and `end` behind. */
static void pretend_journal(unsigned more, const char *end)
{
	struct stat status;
	char text[64];

	cr_assert(!fstat(STDERR_FILENO, &status));
	snprintf(text, sizeof(text), "%llu:%llu%s", (unsigned long long)status.st_dev,
		 (unsigned long long)status.st_ino + more, end);
	setenv("JOURNAL_STREAM", text, 1);
}

/* What is found out about the journal stays, so each row is a test of its own. */
static void check_journal(unsigned more, const char *end, const char *expected)
{
	support_capture_begin();
	pretend_journal(more, end);
	put_each_level();
	expect(support_capture_end(), expected);
}

Test(log_target, the_journal_gets_priorities)
{
	check_journal(0, "", "<3>one\n<4>two\n<6>three\n<7>four\n");
}

Test(log_target, another_stream_of_the_journal)
{
	check_journal(1, "", "one\ntwo\nthree\nfour\n");
}

Test(log_target, a_variable_that_is_no_stream)
{
	check_journal(0, " ", "one\ntwo\nthree\nfour\n");
}

Test(log_target, no_journal)
{
	support_capture_begin();
	put_each_level();
	expect(support_capture_end(), "one\ntwo\nthree\nfour\n");
}

/* A file --------------------------------------------------------------------------------------- */

static void set_file(void)
{
	struct fault fault;

	cr_assert_eq(log_target_set_file(path, geteuid(), getegid(), &fault), 0, "%s",
		     fault.reason);
}

Test(log_target, a_file_gets_no_priorities_and_stderr_gets_errors)
{
	support_capture_begin();
	pretend_journal(0, "");
	set_file();
	put_each_level();
	expect(support_capture_end(), "<3>one\n");
	expect(read_log(), "one\ntwo\nthree\nfour\n");
}

Test(log_target, a_file_is_opened_anew)
{
	struct fault fault;
	char old[80];

	set_file();
	put(LOG_INFO, "one\n");
	snprintf(old, sizeof(old), "%s.1", path);
	cr_assert(!rename(path, old));
	put(LOG_INFO, "two\n");
	cr_assert_eq(log_target_reopen(&fault), 0);
	put(LOG_INFO, "three\n");
	expect(read_log(), "three\n");
	cr_assert(!rename(old, path));
	expect(read_log(), "one\ntwo\n");
}

Test(log_target, a_file_that_cannot_be_opened_anew_is_kept)
{
	struct fault fault;
	char old[80];

	set_file();
	put(LOG_INFO, "one\n");
	snprintf(old, sizeof(old), "%s.1", path);
	cr_assert(!rename(path, old));
	cr_assert(!symlink(old, path));
	cr_assert_eq(log_target_reopen(&fault), -ELOOP);
	put(LOG_INFO, "two\n");
	cr_assert(!rename(old, path));
	expect(read_log(), "one\ntwo\n");
}

/* syslog --------------------------------------------------------------------------------------- */

static int open_daemon(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	cr_assert(fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof(address)));
	return fd;
}

/* Receives a line, and checks what goes before the text. */
static void expect_line(int daemon_fd, unsigned priority, const char *text)
{
	char line[LOG_LINE_BYTES + 128], month[4], expected[64];
	unsigned found, day, hour, minute, second, pid;
	int head_bytes = 0;
	ssize_t got = recv(daemon_fd, line, sizeof(line) - 1, MSG_DONTWAIT);

	cr_assert_gt(got, 0, "no line came");
	line[got] = '\0';
	sscanf(line, "<%u>%3s %u %u:%u:%u sixpipe[%u]: %n", &found, month, &day, &hour, &minute,
	       &second, &pid, &head_bytes);
	cr_assert_gt(head_bytes, 0, "%s", line);
	cr_expect_eq(found, priority, "%s", line);
	cr_expect_eq(pid, (unsigned)getpid());
	cr_expect_str_eq(line + head_bytes, text);
	/* a day below 10 has a blank in front, so that the date always has 15 bytes */
	snprintf(expected, sizeof(expected), "<%u>%s %2u %02u:%02u:%02u ", found, month, day, hour,
		 minute, second);
	cr_expect_eq(strncmp(line, expected, strlen(expected)), 0, "%s", line);
}

Test(log_target, syslog_gets_a_datagram_per_line)
{
	int daemon_fd = open_daemon();

	log_target_set_syslog(path);
	support_capture_begin();
	put_each_level();
	expect(support_capture_end(), "one\n");
	expect_line(daemon_fd, 27, "one");
	expect_line(daemon_fd, 28, "two");
	expect_line(daemon_fd, 30, "three");
	expect_line(daemon_fd, 31, "four");
	close(daemon_fd);
}

Test(log_target, syslog_gets_the_longest_line_whole)
{
	static char line[LOG_LINE_BYTES + 1];
	int daemon_fd = open_daemon();

	memset(line, 'x', LOG_LINE_BYTES - 1);
	line[LOG_LINE_BYTES - 1] = '\n';
	log_target_set_syslog(path);
	cr_expect_eq(put(LOG_INFO, line).lines, 0);
	line[LOG_LINE_BYTES - 1] = '\0';
	expect_line(daemon_fd, 30, line);
	close(daemon_fd);
}

Test(log_target, syslog_that_is_absent_or_starts_again)
{
	struct log_loss loss;
	int daemon_fd;

	log_target_set_syslog(path);
	loss = put(LOG_INFO, "lost\n");
	cr_expect_eq(loss.lines, 1);
	cr_expect_eq(loss.error, ENOENT);
	for (unsigned start = 0; start < 2; start++) {
		daemon_fd = open_daemon();
		cr_expect_eq(put(LOG_INFO, "there\n").lines, 0);
		expect_line(daemon_fd, 30, "there");
		close(daemon_fd);
		loss = put(LOG_INFO, "lost\n");
		cr_expect_eq(loss.lines, 1);
		cr_expect_eq(loss.error, ECONNREFUSED);
		cr_assert(!unlink(path));
	}
	daemon_fd = open_daemon();
	cr_expect_eq(put(LOG_INFO, "back\n").lines, 0);
	expect_line(daemon_fd, 30, "back");
	close(daemon_fd);
}
