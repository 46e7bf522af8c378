/* SPDX-License-Identifier: MIT */
#include "admin/admin_socket.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"
#include "takeover_fixture.h"

TestSuite(admin_socket, .fini = support_check_leaks);

static char directory[64];
static char path[128];
static struct forward_owner owner;

static void begin(void)
{
	strcpy(directory, "/tmp/sixpipe-test-XXXXXX");
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/admin.sock", directory);
	owner = (struct forward_owner){.uid = geteuid(), .gid = getegid()};
}

static void finish(void)
{
	unlink(path);
	rmdir(directory);
	support_check_leaks();
}

TestSuite(admin_socket_path, .init = begin, .fini = finish);

static int connect_to(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	cr_assert_geq(fd, 0);
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	close(fd);
	return -1;
}

static mode_t mode_of_path(void)
{
	struct stat status;

	cr_assert_eq(lstat(path, &status), 0);
	cr_expect(S_ISSOCK(status.st_mode));
	cr_expect_eq(status.st_uid, owner.uid);
	cr_expect_eq(status.st_gid, owner.gid);
	return status.st_mode & 07777;
}

Test(admin_socket_path, modes)
{
	mode_t mask = umask(0);

	for (unsigned for_group = 0; for_group < 2; for_group++) {
		struct fault fault = {0};
		struct admin_socket socket;

		cr_assert_eq(admin_socket_open(&socket, path, for_group, owner, &fault), 0, "%s",
			     support_text(&fault));
		cr_expect_eq(mode_of_path(), for_group ? 0660 : 0600);
		admin_socket_close(&socket);
		cr_expect_neq(access(path, F_OK), 0, "it is removed");
		admin_socket_close(&socket);
	}
	cr_expect_eq(umask(mask), 0, "the umask is as it was");
}

Test(admin_socket_path, directories)
{
	static const struct {
		mode_t mode;
		const char *says; /* NULL: it will do */
	} rows[] = {
		{0700, NULL},
		{0755, NULL},
		{0770, "others can write in its directory"},
		{0757, "others can write in its directory"},
		{01777, "others can write in its directory"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct fault fault = {0};
		struct admin_socket socket;
		int result;

		cr_assert_eq(chmod(directory, rows[i].mode), 0);
		result = admin_socket_open(&socket, path, false, owner, &fault);
		cr_expect_eq(result, rows[i].says ? -EACCES : 0, "%o: %d", rows[i].mode, result);
		if (rows[i].says)
			cr_expect_not_null(strstr(support_text(&fault), rows[i].says), "%s",
					   support_text(&fault));
		admin_socket_close(&socket);
	}
}

/* A directory of neither root nor sixpipe's user. */
Test(admin_socket_path, another_users_directory)
{
	struct fault fault = {0};
	struct admin_socket socket;

	if (chown(directory, 12345, (gid_t)-1))
		cr_skip_test("only root can give a directory away");
	cr_expect_eq(admin_socket_open(&socket, path, false, owner, &fault), -EPERM);
	cr_expect_not_null(strstr(support_text(&fault), "belongs to another user"), "%s",
			   support_text(&fault));
	owner.uid = 12345;
	cr_expect_eq(admin_socket_open(&socket, path, false, owner, &fault), 0, "%s",
		     support_text(&fault));
	mode_of_path();
	admin_socket_close(&socket);
}

Test(admin_socket_path, what_is_there_already)
{
	struct fault fault = {0};
	struct admin_socket first, second;
	int fd;

	cr_assert_eq(admin_socket_open(&first, path, false, owner, &fault), 0, "%s",
		     support_text(&fault));
	cr_expect_eq(admin_socket_open(&second, path, false, owner, &fault), -EADDRINUSE);
	cr_expect_not_null(strstr(support_text(&fault), "another process listens there"), "%s",
			   support_text(&fault));
	fd = connect_to();
	cr_expect_geq(fd, 0, "the first is none the worse for it");
	close(fd);

	/* as after a crash: the file stays, nobody listens */
	close(first.fd);
	cr_expect_eq(connect_to(), -1);
	cr_assert_eq(admin_socket_open(&second, path, false, owner, &fault), 0, "%s",
		     support_text(&fault));
	fd = connect_to();
	cr_expect_geq(fd, 0);
	close(fd);

	/* what is not ours any more is not removed */
	first.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	admin_socket_close(&first);
	cr_expect_eq(access(path, F_OK), 0);
	admin_socket_close(&second);
	cr_expect_neq(access(path, F_OK), 0);

	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_expect_eq(admin_socket_open(&first, path, false, owner, &fault), -EEXIST);
	cr_expect_eq(access(path, F_OK), 0, "a file is never removed");
}

Test(admin_socket, paths_that_will_not_do)
{
	char overlong[200];
	const struct {
		const char *path;
		int error;
	} rows[] = {
		{"", -EINVAL},
		{overlong, -EINVAL},
		{"/nonexistent/admin.sock", -ENOENT},
		{"/dev/null/admin.sock", -ENOTDIR},
	};
	struct forward_owner self = {.uid = geteuid(), .gid = getegid()};

	memset(overlong, 'x', sizeof(overlong));
	overlong[sizeof(overlong) - 1] = '\0';
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct fault fault = {0};
		struct admin_socket socket;

		cr_expect_eq(admin_socket_open(&socket, rows[i].path, false, self, &fault),
			     rows[i].error, "%s: %s", rows[i].path, support_text(&fault));
		cr_expect_not_null(strstr(support_text(&fault), "; "), "there is a remedy: %s",
				   support_text(&fault));
		admin_socket_close(&socket);
	}
}

Test(admin_socket, who_may_ask)
{
	struct admin_socket socket = {.fd = -1};
	struct ucred peer;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	cr_expect(admin_socket_admits(&socket, fds[0], &peer), "it is us");
	cr_expect_eq(peer.uid, geteuid());
	cr_expect_eq(peer.pid, getpid());
	close(fds[0]);
	close(fds[1]);
	cr_expect(!admin_socket_admits(&socket, fds[0], &peer), "nobody is there");
}

static void write_socket(const void *socket, struct carrier *carrier)
{
	admin_socket_write(socket, carrier);
}

/* In a takeover the file stays, and gets the new mode when the old process has given up. */
Test(admin_socket_path, the_next_process_takes_the_socket)
{
	struct admin_socket old, new;
	struct inherited inherited;
	struct fault fault = {0};
	int fd;

	cr_assert_eq(admin_socket_open(&old, path, false, owner, &fault), 0, "%s",
		     support_text(&fault));
	takeover_carry(write_socket, &old, &inherited);
	cr_expect(!admin_socket_inherit(&new, "/run/another", true, &inherited));
	cr_expect(!admin_socket_inherit(&new, path, true, NULL), "an ordinary start");
	cr_assert(admin_socket_inherit(&new, path, true, &inherited));
	cr_expect_eq(mode_of_path(), 0600);
	admin_socket_close(&old);
	admin_socket_settle(&new);
	cr_expect_eq(mode_of_path(), 0660);
	fd = connect_to();
	cr_expect_geq(fd, 0);
	close(fd);
	admin_socket_close(&new);
	cr_expect_neq(access(path, F_OK), 0, "the last process removes it");
	takeover_forget(&inherited);
}
