#include "os/pipe_pool.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
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

/* Bytes of any size and number of slots; the pipe keeps its size, and no other is made. */
Test(pipe_pool, an_emptied_pipe_comes_back_empty)
{
	static char bytes[65536];
	static const size_t sizes[] = {1, 16, 4096, 65536};
	unsigned before = support_count_descriptors();
	struct pipe_pool *pool;
	struct pipe *pipe, *again;

	cr_assert_eq(pipe_pool_create(&pool, 1, 65536), 0);
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

/* One that cannot be emptied is lent to nobody again. */
Test(pipe_pool, a_pipe_that_cannot_be_emptied_is_closed)
{
	unsigned before = support_count_descriptors();
	struct pipe_pool *pool;
	struct pipe *pipe;

	cr_assert_eq(pipe_pool_create(&pool, 2, 65536), 0);
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
