#include "os/pipe_pool.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

TestSuite(pipe_pool, .fini = support_check_leaks);

#define LENT_LIMIT 8

/* No descriptor from `lowest` on can be had; what is open stays so. Returns the limit before. */
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

/* The limit that leaves room for `count` descriptors; those that are open leave gaps. */
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
	uint32_t least_bytes; /* what F_SETPIPE_SZ makes of it, or 0: no saying */
};

Test(pipe_pool, create)
{
	static const struct create_row rows[] = {
		{1, 4096, 4096}, {1, 65536, 65536}, {4, 131072, 131072},
		{3, 5000, 8192}, {1, 1 << 30, 0}, /* beyond fs.pipe-max-size for most: the pipe
						     keeps some size */
	};
	unsigned before = support_count_descriptors();

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct create_row *row = &rows[i];
		struct pipe_pool *pool;

		cr_assert_eq(pipe_pool_create(&pool, row->count, row->size_bytes), 0);
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

	cr_assert_eq(pipe_pool_create(&pool, 1, 65536), 0);
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

	cr_assert_eq(pipe_pool_create(&pool, LENT_LIMIT, 4096), 0);
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

Test(pipe_pool, a_discarded_pipe_comes_back_empty)
{
	unsigned before = support_count_descriptors();
	struct pipe_pool *pool;
	struct pipe *pipe;
	int left = -1;

	cr_assert_eq(pipe_pool_create(&pool, 1, 65536), 0);
	pipe = pipe_pool_take(pool);
	cr_assert_eq(write(pipe->write_fd, "someone's secret", 16), 16);
	cr_expect_eq(pipe_pool_discard(pool, pipe), 0);
	cr_expect_eq(pipe_pool_count(pool), 1);
	cr_expect_eq(pipe_pool_free_count(pool), 1);
	pipe = pipe_pool_take(pool);
	cr_assert_not_null(pipe);
	cr_expect(!ioctl(pipe->read_fd, FIONREAD, &left) && left == 0, "%d bytes are left", left);
	cr_expect_eq(pipe->size_bytes, 65536);
	pipe_pool_give(pool, pipe);
	pipe_pool_destroy(pool);
	cr_expect_eq(support_count_descriptors(), before);
}

Test(pipe_pool, a_later_discard_makes_up_for_one_that_failed)
{
	unsigned before = support_count_descriptors();
	struct pipe_pool *pool;
	struct pipe *first, *second;
	rlim_t limit;

	cr_assert_eq(pipe_pool_create(&pool, 3, 65536), 0);
	first = pipe_pool_take(pool);
	second = pipe_pool_take(pool);

	limit = forbid_descriptors(3);
	cr_expect_eq(pipe_pool_discard(pool, first), -EMFILE);
	cr_expect_eq(pipe_pool_count(pool), 2);
	cr_expect_eq(pipe_pool_free_count(pool), 1);
	cr_expect_eq(pipe_pool_size_bytes(pool), 65536);
	forbid_descriptors(limit);

	cr_expect_eq(pipe_pool_discard(pool, second), 0);
	cr_expect_eq(pipe_pool_count(pool), 3);
	cr_expect_eq(pipe_pool_free_count(pool), 3);
	cr_expect_eq(support_count_descriptors(), before + 6);
	pipe_pool_destroy(pool);
	cr_expect_eq(support_count_descriptors(), before);
}

Test(pipe_pool, every_pipe_can_go_missing)
{
	unsigned before = support_count_descriptors();
	struct pipe_pool *pool;
	struct pipe *pipe;
	rlim_t limit;

	cr_assert_eq(pipe_pool_create(&pool, 2, 4096), 0);
	limit = forbid_descriptors(3);
	for (unsigned i = 0; i < 2; i++)
		cr_expect_eq(pipe_pool_discard(pool, pipe_pool_take(pool)), -EMFILE);
	cr_expect_null(pipe_pool_take(pool));
	cr_expect_eq(pipe_pool_count(pool), 0);
	forbid_descriptors(limit);
	pipe = pipe_pool_take(pool);
	cr_assert_not_null(pipe, "no discard comes any more that would make them anew");
	cr_expect_eq(pipe_pool_count(pool), 2);
	pipe_pool_give(pool, pipe);
	pipe_pool_destroy(pool);
	cr_expect_eq(support_count_descriptors(), before);
}

/* Opens large pipes as long as this user gets them; their number, and the descriptors in `fds`. */
static unsigned use_up_pages(int (*fds)[2], unsigned most)
{
	unsigned count = 0;

	while (count < most && !pipe2(fds[count], O_CLOEXEC)) {
		int got = fcntl(fds[count][1], F_SETPIPE_SZ, 1 << 20);

		count++;
		if (got < 0)
			break;
	}
	return count;
}

/* The user's pages are used up by others when a pipe is replaced: the small one is lent last, and told of. */
Test(pipe_pool, a_smaller_pipe_in_place_of_a_large_one)
{
	int fds[200][2];
	struct pipe_pool *pool;
	struct pipe *first, *second;
	unsigned count;

	if (!geteuid()) /* whoever may exceed the limits does not meet them; one whom nobody else uses */
		cr_assert(!setresgid(64321, 64321, 64321) && !setresuid(64321, 64321, 64321));
	cr_assert_eq(pipe_pool_create(&pool, 3, 1 << 20), 0);
	if (pipe_pool_size_bytes(pool) < 1 << 20) {
		pipe_pool_destroy(pool);
		cr_skip_test("this user has no room for large pipes");
	}
	first = pipe_pool_take(pool);
	count = use_up_pages(fds, ARRAY_COUNT(fds));
	cr_expect_eq(pipe_pool_discard(pool, first), -EPERM);
	cr_expect_eq(pipe_pool_count(pool), 3);
	cr_expect_lt(pipe_pool_size_bytes(pool), 1 << 20);
	for (unsigned i = 0; i < 2; i++) {
		second = pipe_pool_take(pool);
		cr_expect_eq(second->size_bytes, 1 << 20);
		pipe_pool_give(pool, second);
	}
	for (unsigned i = 0; i < count; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
	pipe_pool_destroy(pool);
}

struct short_row {
	unsigned descriptors; /* what there is */
	unsigned pipes;	      /* what the pool gets */
};

Test(pipe_pool, fewer_pipes_than_asked_for)
{
	static const struct short_row rows[] = {{0, 0}, {1, 0}, {2, 1}, {3, 1}, {4, 2}, {100, 4}};
	unsigned before = support_count_descriptors();

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct short_row *row = &rows[i];
		rlim_t limit = forbid_descriptors(limit_for(row->descriptors));
		struct pipe_pool *pool = NULL;
		int result = pipe_pool_create(&pool, 4, 4096);

		forbid_descriptors(limit);
		cr_expect_eq(result, row->pipes ? 0 : -EMFILE, "row %zu: %d", i, result);
		if (!result) {
			cr_expect_eq(pipe_pool_count(pool), row->pipes, "row %zu", i);
			pipe_pool_destroy(pool);
		}
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

	cr_assert_eq(pipe_pool_create(&pool, 2, 4096), 0);
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

	cr_assert_eq(pipe_pool_create(&giving.pool, 2, 4096), 0);
	giving.pipe = pipe_pool_take(giving.pool);
	pipe_pool_give(giving.pool, giving.pipe);
	cr_expect(support_aborts(give, &giving));
	pipe_pool_destroy(giving.pool);
}
