/* SPDX-License-Identifier: MIT */
#include "os/pipe_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"

/* Bytes per read when a pipe is emptied. */
#define DROP_BYTES 16384

/* A pipe is in `free`, or lent, or closed. */
struct pipe_pool {
	struct pipe *pipes;
	struct pipe **free;
	unsigned free_count;
	unsigned count;	     /* open pipes */
	unsigned slot_count; /* used entries of `pipes` */
	unsigned slot_limit; /* entries of `pipes` and `free` */
};

/* Returns 0 or -errno; the pipe may be smaller than wanted. */
static int open_pipe(struct pipe *pipe, uint32_t wanted_bytes)
{
	int fds[2];
	int size;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	/* may fail if the user's budget is used up: then the pipe keeps its first size */
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

/* Creates a pool without pipes, with room for `count`. Returns NULL if there is no memory. */
static struct pipe_pool *create_empty(unsigned count)
{
	struct pipe_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->slot_limit = count;
	pool->pipes = calloc(count, sizeof(*pool->pipes));
	pool->free = calloc(count, sizeof(struct pipe *));
	if (pool->pipes && pool->free)
		return pool;
	pipe_pool_destroy(pool);
	return NULL;
}

static void close_all(struct pipe_pool *pool)
{
	for (unsigned i = 0; i < pool->slot_count; i++)
		close_pipe(&pool->pipes[i]);
	pool->slot_count = pool->count = pool->free_count = 0;
}

/* Adds a pipe. Returns 0, -EPERM if the kernel gives less than `least_bytes`, or another -errno. */
static int add_pipe(struct pipe_pool *pool, uint32_t wanted_bytes, uint32_t least_bytes)
{
	struct pipe *pipe = &pool->pipes[pool->slot_count];
	int error;

	if (pool->slot_count == pool->slot_limit)
		return -ENOSPC;
	error = open_pipe(pipe, wanted_bytes);
	if (error)
		return error;
	if (pipe->size_bytes < least_bytes) {
		close_pipe(pipe);
		return -EPERM;
	}
	pool->free[pool->free_count++] = pipe;
	pool->slot_count++;
	pool->count++;
	return 0;
}

/*
 * Adds pipes to the pools, one to each pool per round, so that their numbers differ by at most one.
 * Returns 0, or the -errno of the first pipe that could not be made. If `size_bytes` is
 * PIPE_POOL_SMALLEST_BYTES or less, the first PIPE_POOL_LEAST pipes of each pool may be smaller.
 */
static int fill(struct pipe_pool **pools, unsigned pool_count, unsigned count, uint32_t size_bytes)
{
	int error = 0;

	for (unsigned round = 0; round < count && !error; round++) {
		bool any = size_bytes <= PIPE_POOL_SMALLEST_BYTES && round < PIPE_POOL_LEAST;

		for (unsigned i = 0; i < pool_count && !error; i++)
			error = add_pipe(pools[i], size_bytes, any ? 0 : size_bytes);
	}
	return error;
}

int pipe_pools_create(struct pipe_pool **pools, unsigned pool_count, unsigned count,
		      uint32_t size_bytes)
{
	unsigned least = MIN(count, PIPE_POOL_LEAST);
	struct pipe_pool *last = NULL;
	int error = 0;

	CHECK(pool_count > 0 && count > 0);
	for (unsigned i = 0; i < pool_count; i++) {
		pools[i] = last = create_empty(count);
		error = last ? error : -ENOMEM;
	}
	while (!error) {
		error = fill(pools, pool_count, count, size_bytes);
		if (last->count >= least || size_bytes <= PIPE_POOL_SMALLEST_BYTES ||
		    (error != -EPERM && error != -ENFILE))
			break;
		for (unsigned i = 0; i < pool_count; i++)
			close_all(pools[i]);
		size_bytes /= 2;
		error = 0;
	}
	if (last && last->count)
		return 0;
	for (unsigned i = 0; i < pool_count; i++) {
		if (pools[i])
			pipe_pool_destroy(pools[i]);
		pools[i] = NULL;
	}
	return error;
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

/* Reads until the pipe is empty. Returns 0 or -errno. */
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

/* Pipes of another process --------------------------------------------------------------------- */

int pipe_pools_create_empty(struct pipe_pool **pools, unsigned pool_count)
{
	int error = 0;

	for (unsigned i = 0; i < pool_count; i++) {
		/* calloc(3): entries that are not used cost no memory */
		pools[i] = create_empty(PIPE_POOL_LIMIT);
		error = pools[i] ? error : -ENOMEM;
	}
	for (unsigned i = 0; i < pool_count && error; i++) {
		if (pools[i])
			pipe_pool_destroy(pools[i]);
		pools[i] = NULL;
	}
	return error;
}

struct pipe *pipe_pool_adopt(struct pipe_pool *pool, int read_fd, int write_fd,
			     uint32_t wanted_bytes)
{
	struct pipe adopted = {.read_fd = read_fd, .write_fd = write_fd};
	int size = fcntl(write_fd, F_GETPIPE_SZ);

	if (size > 0 && wanted_bytes && (uint32_t)size != wanted_bytes) {
		/* if this is refused, the pipe keeps its size */
		(void)fcntl(write_fd, F_SETPIPE_SZ, (int)wanted_bytes);
		size = fcntl(write_fd, F_GETPIPE_SZ);
	}
	if (size <= 0 || read_fd < 0 || pool->slot_count == pool->slot_limit) {
		close_pipe(&adopted);
		return NULL;
	}
	adopted.size_bytes = (uint32_t)size;
	pool->pipes[pool->slot_count] = adopted;
	pool->count++;
	return &pool->pipes[pool->slot_count++];
}

int pipe_pools_complete(struct pipe_pool **pools, unsigned pool_count, unsigned count,
			uint32_t size_bytes)
{
	int error = 0;

	for (unsigned round = 0; round < count && !error; round++)
		for (unsigned i = 0; i < pool_count && !error; i++)
			if (pools[i]->count <= round)
				error = add_pipe(pools[i], size_bytes, size_bytes);
	error = 0;
	for (unsigned i = 0; i < pool_count && !error; i++)
		if (!pools[i]->count)
			error = add_pipe(pools[i], size_bytes, 0);
	return error;
}

const struct pipe *pipe_pool_free_at(const struct pipe_pool *pool, unsigned index)
{
	CHECK(index < pool->free_count);
	return pool->free[index];
}

void pipe_pool_discard(struct pipe_pool *pool, struct pipe *pipe)
{
	CHECK(pool->free_count < pool->count && pipe->read_fd >= 0);
	close_pipe(pipe);
	pool->count--;
}

void pipe_pool_close_free(struct pipe_pool *pool)
{
	while (pool->free_count) {
		close_pipe(pool->free[--pool->free_count]);
		pool->count--;
	}
}
