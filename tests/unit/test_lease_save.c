/* SPDX-License-Identifier: MIT */
/* A failed save names the option, its value, the reason and the remedy. */
#include "identity/lease_state.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"
#include "takeover_fixture.h"

static const struct lease_clock at = {1000, 1000};
static char directory[] = "/tmp/test_lease_save.XXXXXX";
static struct lease_pool *pool;
static struct fault fault;

static void enter(void)
{
	struct lease_pool_options options = {.client_bits = 64, .lease_count = 64};
	const uint8_t key[SIPHASH_KEY_BYTES] = {0};

	cr_assert(mkdtemp(directory) && !chdir(directory));
	cr_assert_null(cidr_parse("192.0.2.16/28", &options.block));
	cr_assert_eq(lease_pool_create(&options, key, &pool, &fault), 0, "%s",
		     support_text(&fault));
}

static void leave(void)
{
	lease_pool_destroy(pool);
	cr_expect_eq(rmdir(directory), 0, "something was left in %s", directory);
	support_check_leaks();
}

TestSuite(lease_pool_save, .init = enter, .fini = leave);

static void make_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "wxe");

	cr_assert(file && fputs(text, file) >= 0);
	fclose(file);
}

static void expect_told(int result, int number, const char *says)
{
	cr_expect_eq(result, -number, "%d: %s", result, support_text(&fault));
	cr_expect_str_eq(support_text(&fault), says);
}

static int save(const char *path)
{
	return lease_pool_save(pool, path, &at, &fault);
}

Test(lease_pool_save, a_directory_that_is_none)
{
	int lock_fd = -1;

	expect_told(save("none/f"), ENOENT,
		    "--pseudo-state 'none/f': cannot make 'none/f.new': No such file or directory; "
		    "make its directory, writable by --user");
	expect_told(
		lease_state_lock("none/f", true, &lock_fd, &fault), ENOENT,
		"--pseudo-state 'none/f': cannot make 'none/f.lock': No such file or directory; "
		"make its directory, writable by --user");
	cr_expect_eq(lease_state_lock("none/f", false, &lock_fd, &fault), 0, "nothing is made yet");
	cr_expect_eq(lock_fd, -1);
}

Test(lease_pool_save, something_else_in_the_way)
{
	int lock_fd = -1;

	cr_assert(!mkdir("f.new", 0700) && !symlink("elsewhere", "f.lock"));
	expect_told(save("f"), EISDIR,
		    "--pseudo-state 'f': cannot remove 'f.new': Is a directory; remove that");
	expect_told(lease_state_lock("f", false, &lock_fd, &fault), ELOOP,
		    "--pseudo-state 'f': cannot open 'f.lock': Too many levels of symbolic links; "
		    "remove that");
	cr_expect_eq(lock_fd, -1);
	cr_assert(!rmdir("f.new") && !unlink("f.lock"));
}

Test(lease_pool_save, what_may_not_be_written)
{
	int lock_fd = -1;

	cr_assert(!mkdir("shut", 0));
	if (geteuid() == 0 && seteuid(65534))
		cr_skip_test("root writes everywhere, and cannot become another here");
	expect_told(lease_state_lock("shut/f", true, &lock_fd, &fault), EACCES,
		    "--pseudo-state 'shut/f': cannot make 'shut/f.lock': Permission denied; it and "
		    "its directory must be writable by --user");
	expect_told(
		save("shut/f"), EACCES,
		"--pseudo-state 'shut/f': cannot remove 'shut/f.new': Permission denied; it and "
		"its directory must be writable by --user");
	cr_assert(getuid() != 0 || !seteuid(0));
	rmdir("shut");
}

/* The old file is unchanged, and there is no other file beside it. */
Test(lease_pool_save, no_room)
{
	const struct rlimit tiny = {16, RLIM_INFINITY};
	struct rlimit usual;
	char text[8] = "";
	FILE *file;

	make_file("f", "old");
	getrlimit(RLIMIT_FSIZE, &usual);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &tiny);
	expect_told(
		save("f"), EFBIG,
		"--pseudo-state 'f': cannot write 'f.new': File too large; raise the limit on file "
		"sizes (ulimit -f, LimitFSIZE=)");
	setrlimit(RLIMIT_FSIZE, &usual);
	file = fopen("f", "re");
	cr_assert(file && fgets(text, sizeof(text), file));
	fclose(file);
	cr_expect_str_eq(text, "old");
	cr_expect(access("f.new", F_OK), "left");
	unlink("f");
}

/* The remedy is printed however long the names are. */
Test(lease_pool_save, long_names)
{
	const char remedy[] = "File name too long; give a shorter name", *text;
	char path[4200];

	memset(path, 'x', sizeof(path) - 1);
	for (size_t length = sizeof(path) - 1; length > 255; length /= 2) {
		path[length] = '\0';
		cr_expect_eq(save(path), -ENAMETOOLONG);
		text = support_text(&fault);
		cr_expect_str_eq(text + strlen(text) - strlen(remedy), remedy);
	}
}

static void write_lock(const void *fd, struct carrier *carrier)
{
	inherited_write(&(struct inherited_socket){.role = INHERITED_LOCK, .fd = *(const int *)fd},
			carrier);
}

/* In a takeover both processes have the lock, which ends with the last of them. */
Test(lease_pool_save, the_next_process_has_the_lock)
{
	struct inherited inherited;
	int old_fd = -1, new_fd = -1;

	cr_assert_eq(lease_state_lock("f", true, &old_fd, &fault), 0);
	cr_expect_eq(lease_state_lock("f", false, &new_fd, &fault), -EBUSY);
	takeover_carry(write_lock, &old_fd, &inherited);
	cr_expect(!lease_state_inherit_lock("f", NULL, &new_fd));
	cr_expect(!lease_state_inherit_lock("g", &inherited, &new_fd));
	cr_assert(lease_state_inherit_lock("f", &inherited, &new_fd));
	close(old_fd);
	cr_expect_eq(lease_state_lock("f", false, &old_fd, &fault), -EBUSY);
	close(new_fd);
	cr_expect_eq(lease_state_lock("f", false, &old_fd, &fault), 0);
	close(old_fd);
	takeover_forget(&inherited);
	cr_assert(!unlink("f.lock"));
}
