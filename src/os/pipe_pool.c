#include "os/pipe_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"

/* Bytes per read when a pipe is emptied. */
#define DROP_BYTES 16384

/* A pipe is in `free`, lent or closed. Lent pipes are in no list. */
struct pipe_pool {
	struct pipe *pipes;
	struct pipe **free;
	unsigned free_count;
	unsigned count;	     /* of open pipes */
	unsigned slot_count; /* of `pipes` */
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
	if (made->pipes && made->free) {
		error = 0;
		for (unsigned i = 0; i < count && !error; i++) {
			error = open_pipe(&made->pipes[i], size_bytes);
			if (!error)
				made->free[made->free_count++] = &made->pipes[i];
		}
		made->slot_count = made->count = made->free_count;
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
	CHECK(pool->free_count == pool->count);
	for (unsigned i = 0; i < pool->free_count; i++)
		close_pipe(pool->free[i]);
	free(pool->pipes);
	free(pool->free);
	free(pool);
}

unsigned pipe_pool_count(const struct pipe_pool *pool)
{
	return pool->count;
}

unsigned pipe_pool_free_count(const struct pipe_pool *pool)
{
	return pool->free_count;
}

uint32_t pipe_pool_size_bytes(const struct pipe_pool *pool)
{
	uint32_t smallest = UINT32_MAX;

	for (unsigned i = 0; i < pool->slot_count; i++)
		if (pool->pipes[i].read_fd >= 0)
			smallest = MIN(smallest, pool->pipes[i].size_bytes);
	return pool->count ? smallest : 0;
}

struct pipe *pipe_pool_take(struct pipe_pool *pool)
{
	return pool->free_count ? pool->free[--pool->free_count] : NULL;
}

void pipe_pool_give(struct pipe_pool *pool, struct pipe *pipe)
{
	CHECK(pool->free_count < pool->count && pipe->read_fd >= 0);
	pool->free[pool->free_count++] = pipe;
}

/* Reads until the kernel says that nothing is left. Returns 0 or -errno. */
static int drop_content(const struct pipe *pipe)
{
	char bytes[DROP_BYTES];
	ssize_t got;

	do
		got = read(pipe->read_fd, bytes, sizeof(bytes));
	while (got > 0 || (got < 0 && errno == EINTR));
	if (got < 0 && errno == EAGAIN)
		return 0;
	return got < 0 ? -errno : -EIO;
}

int pipe_pool_empty(struct pipe_pool *pool, struct pipe *pipe)
{
	int error = drop_content(pipe);

	if (error) {
		close_pipe(pipe);
		pool->count--;
		return error;
	}
	pipe_pool_give(pool, pipe);
	return 0;
}
