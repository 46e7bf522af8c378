#include "os/pipe_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"

/* Every pipe is in `free`, missing (closed, to be replaced) or lent, which no list says. */
struct pipe_pool {
	struct pipe *pipes;
	struct pipe **free;
	unsigned free_count;
	unsigned missing_count;
	unsigned total_count; /* with the missing ones */
	uint32_t wanted_bytes;
};

static int open_pipe(struct pipe *pipe, uint32_t wanted_bytes)
{
	int fds[2];
	int size;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	/* refused beyond the user's budget: then the pipe keeps the size it was born with */
	(void)fcntl(fds[1], F_SETPIPE_SZ, (int)wanted_bytes);
	size = fcntl(fds[1], F_GETPIPE_SZ);
	CHECK(size > 0);
	pipe->read_fd = fds[0];
	pipe->write_fd = fds[1];
	pipe->size_bytes = (uint32_t)size;
	return 0;
}

static void close_pipe(struct pipe *pipe)
{
	close(pipe->read_fd);
	close(pipe->write_fd);
	pipe->read_fd = -1;
	pipe->write_fd = -1;
}

int pipe_pool_create(struct pipe_pool **pool, unsigned count, uint32_t size_bytes)
{
	struct pipe_pool *made = calloc(1, sizeof(*made));
	int error = -ENOMEM;

	CHECK(count > 0);
	if (!made)
		return -ENOMEM;
	made->pipes = calloc(count, sizeof(*made->pipes));
	made->free = calloc(count, sizeof(struct pipe *));
	made->wanted_bytes = size_bytes;
	if (made->pipes && made->free) {
		error = 0;
		for (unsigned i = 0; i < count && !error; i++) {
			error = open_pipe(&made->pipes[i], size_bytes);
			if (!error)
				made->free[made->free_count++] = &made->pipes[i];
		}
		made->total_count = made->free_count;
	}
	if (!made->free_count) {
		pipe_pool_destroy(made);
		return error;
	}
	*pool = made;
	return 0;
}

void pipe_pool_destroy(struct pipe_pool *pool)
{
	CHECK(pool->free_count + pool->missing_count == pool->total_count);
	for (unsigned i = 0; i < pool->free_count; i++)
		close_pipe(pool->free[i]);
	free(pool->pipes);
	free(pool->free);
	free(pool);
}

unsigned pipe_pool_count(const struct pipe_pool *pool)
{
	return pool->total_count - pool->missing_count;
}

unsigned pipe_pool_free_count(const struct pipe_pool *pool)
{
	return pool->free_count;
}

uint32_t pipe_pool_size_bytes(const struct pipe_pool *pool)
{
	uint32_t smallest = UINT32_MAX;

	for (unsigned i = 0; i < pool->total_count; i++)
		if (pool->pipes[i].read_fd >= 0)
			smallest = MIN(smallest, pool->pipes[i].size_bytes);
	return pipe_pool_count(pool) ? smallest : 0;
}

/* Makes the pipes that are missing, until one can't be. Returns 0 or -errno. */
static int make_missing(struct pipe_pool *pool)
{
	for (unsigned i = 0; pool->missing_count; i++) {
		struct pipe *missing = &pool->pipes[i];
		int error;

		CHECK(i < pool->total_count);
		if (missing->read_fd >= 0)
			continue;
		error = open_pipe(missing, pool->wanted_bytes);
		if (error)
			return error;
		pool->missing_count--;
		/* at the bottom: it may be smaller than the others, where the user has used up its pages */
		memmove(&pool->free[1], &pool->free[0], pool->free_count * sizeof(pool->free[0]));
		pool->free[0] = missing;
		pool->free_count++;
	}
	return 0;
}

struct pipe *pipe_pool_take(struct pipe_pool *pool)
{
	/* where all are missing, no discard comes that would make them anew */
	if (!pool->free_count && pool->missing_count == pool->total_count)
		(void)make_missing(pool);
	if (!pool->free_count)
		return NULL;
	return pool->free[--pool->free_count];
}

void pipe_pool_give(struct pipe_pool *pool, struct pipe *pipe)
{
	CHECK(pool->free_count < pool->total_count && pipe->read_fd >= 0);
	pool->free[pool->free_count++] = pipe;
}

int pipe_pool_discard(struct pipe_pool *pool, struct pipe *pipe)
{
	uint32_t size_bytes = pipe->size_bytes;
	int error;

	CHECK(pool->missing_count < pool->total_count);
	close_pipe(pipe);
	pool->missing_count++;
	error = make_missing(pool);
	return !error && pipe->size_bytes < size_bytes ? -EPERM : error;
}
