/* SPDX-License-Identifier: MIT */
#include "base/log_file.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

static char directory[] = "/tmp/sixpipe-log-XXXXXX";

static const char *in_directory(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void make_file(const char *name)
{
	int fd = open(in_directory(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, "old\n", 4), 4);
	close(fd);
}

static void begin(void)
{
	cr_assert_not_null(mkdtemp(directory));
}

static void end(void)
{
	static const char *const names[] = {"log", "link", "fifo", "hard", "folder"};

	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		remove(in_directory(names[i]));
	cr_expect(!rmdir(directory), "files are left in %s", directory);
	support_check_leaks();
}

TestSuite(log_file, .init = begin, .fini = end);

static int open_log(const char *name, uid_t uid, struct fault *fault)
{
	return log_file_open(in_directory(name), uid, getegid(), fault);
}

Test(log_file, a_new_file_is_made)
{
	struct fault fault;
	struct stat status;
	int fd;

	umask(022);
	fd = open_log("log", geteuid(), &fault);
	cr_assert_geq(fd, 0);
	cr_assert(!fstat(fd, &status));
	cr_expect_eq(status.st_mode & 07777, 0640);
	cr_expect_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
}

Test(log_file, lines_are_appended)
{
	struct fault fault;
	struct stat status;
	int fd;

	make_file("log");
	fd = open_log("log", geteuid(), &fault);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, "new\n", 4), 4);
	cr_assert(!fstat(fd, &status));
	cr_expect_eq(status.st_size, 8);
	close(fd);
}

/* Only a new file is given to the user. */
Test(log_file, a_new_file_is_given_to_the_user)
{
	const uid_t other = 65534;
	struct fault fault;
	struct stat status;
	int fd;

	if (geteuid() != 0)
		cr_skip_test("only root gives files away");
	fd = open_log("log", other, &fault);
	cr_assert_geq(fd, 0, "%s", fault.reason);
	cr_assert(!fstat(fd, &status));
	cr_expect_eq(status.st_uid, other);
	close(fd);
	cr_expect_eq(open_log("log", 0, &fault), -EPERM);
	cr_expect_eq(log_file_check(in_directory("log"), 0, &fault), -EPERM);
	cr_expect_not_null(strstr(fault.reason, "belongs to uid 65534"), "%s", fault.reason);
}

/* The links of the other user could lead root into any directory. */
Test(log_file, no_new_file_is_given_away_behind_a_linked_directory)
{
	const uid_t other = 65534;
	char folder[256];
	struct fault fault;
	int fd;

	if (geteuid() != 0)
		cr_skip_test("only root gives files away");
	snprintf(folder, sizeof(folder), "%s", in_directory("folder"));
	cr_assert(!mkdir(folder, 0755));
	cr_assert(!symlink(folder, in_directory("link")));
	cr_expect_eq(open_log("link/log", other, &fault), -ELOOP);
	cr_expect_not_null(strstr(fault.reason, "is a symbolic link"), "%s", fault.reason);
	cr_expect_eq(access(in_directory("folder/log"), F_OK), -1);
	fd = open_log("folder//./log", other, &fault);
	cr_assert_geq(fd, 0, "%s", fault.reason);
	close(fd);
	fd = open_log("link/log", other, &fault);
	cr_expect_geq(fd, 0, "a file that is there already: %s", fault.reason);
	close(fd);
	cr_assert(!unlink(in_directory("folder/log")));
	fd = open_log("link/log", geteuid(), &fault);
	cr_expect_geq(fd, 0, "the user's own file: %s", fault.reason);
	close(fd);
	cr_assert(!unlink(in_directory("folder/log")));
}

struct refused_row {
	const char *name;
	int error;
	const char *reason;
	bool by_check; /* log_file_check() finds it too */
};

/* What another user could have put there, to lead the log into a file of root. */
Test(log_file, other_things_than_files_are_refused)
{
	static const struct refused_row rows[] = {
		{"link", -ELOOP, "is a symbolic link", true},
		{"hard", -EMLINK, "has another name too", true},
		{"fifo", -EINVAL, "is not a regular file", true},
		{"folder", -EINVAL, "is not a regular file", true},
		{"missing/log", -ENOENT, "cannot be opened: No such file or directory", false},
		{"log/log", -ENOTDIR, "cannot be opened: Not a directory", false},
	};
	struct fault fault;
	char log[256];

	make_file("log");
	snprintf(log, sizeof(log), "%s", in_directory("log"));
	cr_assert(!symlink(log, in_directory("link")));
	cr_assert(!mkfifo(in_directory("fifo"), 0600));
	cr_assert(!mkdir(in_directory("folder"), 0700));
	cr_assert(!link(log, in_directory("hard")));
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct refused_row *row = &rows[i];
		int result = open_log(row->name, geteuid(), &fault);

		cr_expect_eq(result, row->error, "%s: %d", row->name, result);
		cr_expect_not_null(strstr(fault.reason, row->reason), "%s: %s", row->name,
				   fault.reason);
		cr_expect_neq(*fault.remedy, '\0', "%s", row->name);
		cr_expect_eq(log_file_check(in_directory(row->name), geteuid(), &fault),
			     row->by_check ? row->error : 0, "%s", row->name);
	}
}
