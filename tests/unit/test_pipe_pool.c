/* SPDX-License-Identifier: MIT */
#include "os/pipe_pool.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

TestSuite(pipe_pool, .fini = support_check_leaks);

#define LENT_LIMIT 8

/* Allows no new descriptor from `lowest` on; open descriptors stay. Returns the limit before. */
static rlim_t forbid_descriptors(rlim_t lowest)
{
	struct rlimit limit;
	rlim_t before;

	cr_assert(!getrlimit(RLIMIT_NOFILE, &limit));
	before = limit.rlim_cur;
	limit.rlim_cur = lowest;
	cr_assert(!setrlimit(RLIMIT_NOFILE, &limit));
	return before;
}

/*
 * The limit with room for exactly `count` more descriptors, in the gaps between open descriptors.
 */
static rlim_t limit_for(unsigned count)
{
	int fd = 0;

	while (count || fcntl(fd, F_GETFD) >= 0)
		count -= fcntl(fd++, F_GETFD) < 0;
	return (rlim_t)fd;
}

struct create_row {
	unsigned count;
	uint32_t size_bytes;
	uint32_t least_bytes; /* the size after F_SETPIPE_SZ; 0: unknown */
};

Test(pipe_pool, create)
{
	static const struct create_row rows[] = {
		{1, 4096, 4096}, {1, 65536, 65536}, {4, 131072, 131072},
		{3, 5000, 8192}, {1, 1 << 30, 0}, /* beyond fs.pipe-max-size of most hosts */
	};
	unsigned before = support_count_descriptors();

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct create_row *row = &rows[i];
		struct pipe_pool *pool;

		cr_assert_eq(pipe_pools_create(&pool, 1, row->count, row->size_bytes), 0);
		cr_expect_eq(pipe_pool_count(pool), row->count, "row %zu", i);
		cr_expect_eq(pipe_pool_free_count(pool), row->count, "row %zu", i);
		cr_expect_eq(support_count_descriptors(), before + 2 * row->count, "row %zu", i);
		cr_expect_geq(pipe_pool_size_bytes(pool),
			      row->least_bytes ? row->least_bytes : 4096);
		if (row->least_bytes)
			cr_expect_eq(pipe_pool_size_bytes(pool), row->least_bytes, "row %zu", i);
		pipe_pool_destroy(pool);
		cr_expect_eq(support_count_descriptors(), before, "row %zu", i);
	}
}

Test(pipe_pool, pipes_are_what_their_fields_say)
{
	struct pipe_pool *pool;
	struct pipe *pipe;
	char byte = 'x';

	cr_assert_eq(pipe_pools_create(&pool, 1, 1, 65536), 0);
	pipe = pipe_pool_take(pool);
	cr_assert_not_null(pipe);
	cr_expect_eq(fcntl(pipe->write_fd, F_GETPIPE_SZ), (int)pipe->size_bytes);
	cr_expect(fcntl(pipe->read_fd, F_GETFL) & O_NONBLOCK);
	cr_expect(fcntl(pipe->write_fd, F_GETFL) & O_NONBLOCK);
	cr_expect(fcntl(pipe->read_fd, F_GETFD) & FD_CLOEXEC);
	cr_expect(fcntl(pipe->write_fd, F_GETFD) & FD_CLOEXEC);
	cr_expect_eq(write(pipe->write_fd, &byte, 1), 1);
	cr_expect_eq(read(pipe->read_fd, &byte, 1), 1);
	pipe_pool_give(pool, pipe);
	pipe_pool_destroy(pool);
}

Test(pipe_pool, lends_the_pipe_used_last_first)
{
	struct pipe_pool *pool;
	struct pipe *lent[LENT_LIMIT];

	cr_assert_eq(pipe_pools_create(&pool, 1, LENT_LIMIT, 4096), 0);
	for (unsigned i = 0; i < LENT_LIMIT; i++) {
		lent[i] = pipe_pool_take(pool);
		cr_assert_not_null(lent[i]);
		for (unsigned j = 0; j < i; j++)
			cr_assert_neq(lent[i], lent[j], "one pipe was lent twice");
	}
	cr_expect_null(pipe_pool_take(pool));
	cr_expect_eq(pipe_pool_free_count(pool), 0);
	cr_expect_eq(pipe_pool_count(pool), LENT_LIMIT);

	pipe_pool_give(pool, lent[3]);
	pipe_pool_give(pool, lent[5]);
	cr_expect_eq(pipe_pool_take(pool), lent[5]);
	cr_expect_eq(pipe_pool_take(pool), lent[3]);
	for (unsigned i = 0; i < LENT_LIMIT; i++)
		pipe_pool_give(pool, lent[i]);
	pipe_pool_destroy(pool);
}

/* Any number of bytes and slots: the pipe keeps its size, and no other pipe is made. */
Test(pipe_pool, an_emptied_pipe_comes_back_empty)
{
	static char bytes[65536];
	static const size_t sizes[] = {1, 16, 4096, 65536};
	unsigned before = support_count_descriptors();
	struct pipe_pool *pool;
	struct pipe *pipe, *again;

	cr_assert_eq(pipe_pools_create(&pool, 1, 1, 65536), 0);
	for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
		int left = -1;
		rlim_t limit;

		pipe = pipe_pool_take(pool);
		cr_assert_not_null(pipe);
		while (write(pipe->write_fd, bytes, sizes[i]) > 0)
			;
		limit = forbid_descriptors(3);
		cr_expect_eq(pipe_pool_empty(pool, pipe), 0);
		forbid_descriptors(limit);
		cr_expect_eq(pipe_pool_count(pool), 1);
		cr_expect_eq(pipe_pool_free_count(pool), 1);
		again = pipe_pool_take(pool);
		cr_expect_eq(again, pipe);
		cr_expect(!ioctl(again->read_fd, FIONREAD, &left) && left == 0, "%d bytes are left",
			  left);
		cr_expect_eq(fcntl(again->write_fd, F_GETPIPE_SZ), 65536);
		cr_expect_eq(write(again->write_fd, bytes, sizeof(bytes)), sizeof(bytes));
		cr_expect_eq(pipe_pool_empty(pool, again), 0);
	}
	pipe_pool_destroy(pool);
	cr_expect_eq(support_count_descriptors(), before);
}

/* A pipe that cannot be emptied is never lent again. */
Test(pipe_pool, a_pipe_that_cannot_be_emptied_is_closed)
{
	unsigned before = support_count_descriptors();
	struct pipe_pool *pool;
	struct pipe *pipe;

	cr_assert_eq(pipe_pools_create(&pool, 1, 2, 65536), 0);
	pipe = pipe_pool_take(pool);
	/* Without a writer, read(2) returns 0, which never happens to a pipe of the pool. */
	close(pipe->write_fd);
	pipe->write_fd = -1;
	cr_expect_eq(pipe_pool_empty(pool, pipe), -EIO);
	cr_expect_eq(pipe_pool_count(pool), 1);
	cr_expect_eq(pipe_pool_free_count(pool), 1);
	cr_expect_eq(pipe_pool_size_bytes(pool), 65536);
	pipe = pipe_pool_take(pool);
	cr_expect_null(pipe_pool_take(pool));
	pipe_pool_give(pool, pipe);
	pipe_pool_destroy(pool);
	cr_expect_eq(support_count_descriptors(), before);
}

struct short_row {
	unsigned descriptors; /* that the process may open */
	unsigned pipes;	      /* pipes that the pool gets */
};

Test(pipe_pool, fewer_pipes_than_asked_for)
{
	static const struct short_row rows[] = {{0, 0}, {1, 0}, {2, 1}, {3, 1}, {4, 2}, {100, 4}};
	unsigned before = support_count_descriptors();

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct short_row *row = &rows[i];
		rlim_t limit = forbid_descriptors(limit_for(row->descriptors));
		struct pipe_pool *pool = NULL;
		int result = pipe_pools_create(&pool, 1, 4, 4096);

		forbid_descriptors(limit);
		cr_expect_eq(result, row->pipes ? 0 : -EMFILE, "row %zu: %d", i, result);
		if (!result) {
			cr_expect_eq(pipe_pool_count(pool), row->pipes, "row %zu", i);
			pipe_pool_destroy(pool);
		}
		cr_expect_eq(support_count_descriptors(), before, "row %zu", i);
	}
}

static int held_fds[2 * 80];

/* Makes pipes of `pages` pages in all. Returns the number of pipes. */
static unsigned hold_pages(unsigned pages)
{
	unsigned count = 0;

	while (pages) {
		unsigned size = 256;
		int *fds = held_fds + 2 * count++;

		while (size > pages)
			size /= 2;
		cr_assert_leq(2 * count, ARRAY_COUNT(held_fds));
		cr_assert(!pipe2(fds, O_CLOEXEC));
		cr_assert_eq(fcntl(fds[1], F_SETPIPE_SZ, size * 4096), (int)size * 4096);
		pages -= size;
	}
	return count;
}

static void release_pages(unsigned count)
{
	while (count--) {
		close(held_fds[2 * count]);
		close(held_fds[2 * count + 1]);
	}
}

/* Becomes a user without other processes, with the whole default budget of pages. */
static void become_lonely(void)
{
	static const struct {
		const char *path;
		long value;
	} settings[] = {{"/proc/sys/fs/pipe-max-size", 1 << 20},
			{"/proc/sys/fs/pipe-user-pages-soft", 16384},
			{"/proc/sys/fs/pipe-user-pages-hard", 0}};
	const uid_t user = 64323;

	for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
		FILE *file = fopen(settings[i].path, "re");
		long value = -1;

		cr_assert_not_null(file);
		cr_assert_eq(fscanf(file, "%ld", &value), 1);
		fclose(file);
		if (value != settings[i].value || sysconf(_SC_PAGESIZE) != 4096)
			cr_skip_test("the limits of pipes are not the defaults");
	}
	if (getuid() || setgroups(0, NULL) || setresuid(user, user, user))
		cr_skip_test("only root can become a user that has no pipes");
}

struct budget_row {
	unsigned left_pages;
	unsigned pools, count;
	uint32_t size_bytes;
	unsigned got[4]; /* of each pool */
	uint32_t got_bytes;
};

/* An ordinary user has pipes in use already. */
Test(pipe_pool, few_large_pipes_rather_than_many_small_ones)
{
	static const struct budget_row rows[] = {
		{16384, 2, 32, 1 << 20, {32, 32}, 1 << 20},
		{16384 - 16, 2, 32, 1 << 20, {32, 31}, 1 << 20},
		{2048, 2, 32, 1 << 20, {4, 4}, 1 << 20},
		{1024, 2, 32, 1 << 20, {4, 4}, 1 << 19},
		{1024, 1, 32, 1 << 20, {4}, 1 << 20},
		{2047, 1, 2, 1 << 20, {2}, 1 << 20}, /* fewer were asked for */
		{1000, 4, 16, 1 << 20, {8, 8, 8, 7}, 1 << 17},
		{140, 2, 32, 1 << 20, {4, 4}, 1 << 16},
		{0,
		 2,
		 32,
		 1 << 20,
		 {4, 4},
		 8192}, /* no budget left: small pipes rather than none */
		{16384, 2, 8, 2 << 20, {8, 8}, 1 << 20}, /* more than fs.pipe-max-size */
	};
	unsigned before = support_count_descriptors();

	become_lonely();
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct budget_row *row = &rows[i];
		struct pipe_pool *pools[4];
		unsigned held = hold_pages(16384 - row->left_pages);

		cr_assert_eq(pipe_pools_create(pools, row->pools, row->count, row->size_bytes), 0);
		for (unsigned j = 0; j < row->pools; j++) {
			cr_expect_eq(pipe_pool_count(pools[j]), row->got[j], "row %zu: %u: %u", i,
				     j, pipe_pool_count(pools[j]));
			cr_expect_eq(pipe_pool_size_bytes(pools[j]), row->got_bytes,
				     "row %zu: %u: %u bytes", i, j, pipe_pool_size_bytes(pools[j]));
			pipe_pool_destroy(pools[j]);
		}
		release_pages(held);
		cr_expect_eq(support_count_descriptors(), before, "row %zu", i);
	}
}

static void destroy(void *pool)
{
	pipe_pool_destroy(pool);
}

Test(pipe_pool, destroying_with_a_pipe_lent_is_a_programming_error)
{
	struct pipe_pool *pool;
	struct pipe *pipe;

	cr_assert_eq(pipe_pools_create(&pool, 1, 2, 4096), 0);
	pipe = pipe_pool_take(pool);
	cr_expect(support_aborts(destroy, pool));
	pipe_pool_give(pool, pipe);
	pipe_pool_destroy(pool);
}

struct giving {
	struct pipe_pool *pool;
	struct pipe *pipe;
};

static void give(void *argument)
{
	struct giving *giving = argument;

	pipe_pool_give(giving->pool, giving->pipe);
}

Test(pipe_pool, giving_to_a_full_pool_is_a_programming_error)
{
	struct giving giving;

	cr_assert_eq(pipe_pools_create(&giving.pool, 1, 2, 4096), 0);
	giving.pipe = pipe_pool_take(giving.pool);
	pipe_pool_give(giving.pool, giving.pipe);
	cr_expect(support_aborts(give, &giving));
	pipe_pool_destroy(giving.pool);
}

/* Pipes of another process --------------------------------------------------------------------- */

Test(pipe_pool, pipes_of_another_process_are_adopted_and_completed)
{
	unsigned before = support_count_descriptors();
	struct pipe_pool *pools[2];
	struct pipe *pipe;
	char bytes[3];
	int fds[2];

	cr_assert_eq(pipe_pools_create_empty(pools, ARRAY_COUNT(pools)), 0);
	cr_expect_eq(pipe_pool_count(pools[0]), 0);
	cr_expect_null(pipe_pool_take(pools[0]));
	cr_assert_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	cr_assert_eq(write(fds[1], "abc", 3), 3);
	pipe = pipe_pool_adopt(pools[0], fds[0], fds[1], 0);
	cr_assert_not_null(pipe);
	cr_expect_eq(pipe->size_bytes, 65536);
	cr_expect_eq(pipe_pool_free_count(pools[0]), 0, "it is lent");
	cr_assert_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	pipe_pool_give(pools[1], pipe_pool_adopt(pools[1], fds[0], fds[1], 16384));
	cr_expect_eq(pipe_pool_size_bytes(pools[1]), 16384);
	cr_assert_eq(pipe_pools_complete(pools, ARRAY_COUNT(pools), 3, 16384), 0);
	for (unsigned i = 0; i < ARRAY_COUNT(pools); i++)
		cr_expect_eq(pipe_pool_count(pools[i]), 3);
	cr_expect_eq(read(pipe->read_fd, bytes, sizeof(bytes)), 3, "its bytes are there");
	pipe_pool_give(pools[0], pipe);
	for (unsigned i = 0; i < ARRAY_COUNT(pools); i++)
		pipe_pool_destroy(pools[i]);
	cr_expect_eq(support_count_descriptors(), before);
}

/* What is no pipe is closed, and not adopted. */
Test(pipe_pool, only_pipes_are_adopted)
{
	unsigned before = support_count_descriptors();
	struct pipe_pool *pool;
	int fds[2];

	cr_assert_eq(pipe_pools_create_empty(&pool, 1), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	cr_expect_null(pipe_pool_adopt(pool, fds[0], fds[1], 0));
	cr_expect_null(pipe_pool_adopt(pool, -1, -1, 65536));
	cr_expect_eq(pipe_pool_count(pool), 0);
	pipe_pool_destroy(pool);
	cr_expect_eq(support_count_descriptors(), before);
}

/* After another process has them: the bytes of a pipe are left to that process. */
Test(pipe_pool, pipes_are_left_to_another_process)
{
	struct pipe_pool *pool;
	struct pipe *lent;
	char byte;
	int copy;

	cr_assert_eq(pipe_pools_create(&pool, 1, 3, 65536), 0);
	lent = pipe_pool_take(pool);
	cr_assert_eq(write(lent->write_fd, "a", 1), 1);
	copy = dup(lent->read_fd);
	cr_expect_eq(pipe_pool_free_at(pool, 1)->size_bytes, 65536);
	pipe_pool_discard(pool, lent);
	cr_expect_eq(pipe_pool_count(pool), 2);
	pipe_pool_close_free(pool);
	cr_expect_eq(pipe_pool_count(pool), 0);
	cr_expect_null(pipe_pool_take(pool));
	cr_expect_eq(read(copy, &byte, 1), 1);
	close(copy);
	pipe_pool_destroy(pool);
}
