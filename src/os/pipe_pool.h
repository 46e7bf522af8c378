/*
 * The pipes that one worker splices through. A pipe is borrowed while bytes sit in it and given
 * back empty; one that still holds bytes when its session ends is emptied first, for they belong to
 * that session and must never reach another. All pipes are made before the privilege drop, and none
 * later: pipes count against the user's fs.pipe-user-pages-soft, and a pipe made later may be smaller
 * (F_SETPIPE_SZ, pipe(7), fcntl(2)).
 */
#pragma once

#include <stdint.h>

struct pipe {
	int read_fd;
	int write_fd;
	uint32_t size_bytes; /* F_GETPIPE_SZ */
};

struct pipe_pool;

/*
 * If the kernel allows less than is wanted, pipes are made smaller until each pool has this many; above it, fewer pipes
 * of a larger size are preferred. A worker needs one to splice through, and some for bytes that a slow write side left.
 * Without a free pipe bytes are copied.
 */
#define PIPE_POOL_LEAST 4

/* Pipes are made no smaller than this, which is what a new pipe has, unless the user's budget is used up: pipe(7). */
#define PIPE_POOL_SMALLEST_BYTES 65536

/*
 * Creates the pools of all workers, each of up to `count` pipes of `size_bytes`. The kernel may allow fewer. Then
 * all pipes have the largest size (`size_bytes`, a half, a quarter, ...) of which each pool gets PIPE_POOL_LEAST. The
 * pools' counts differ by one at most. Ask the pools what they got. Returns 0 and the pools, each with
 * a pipe at least, or -errno and NULLs: pipe(2), fcntl(2).
 */
int pipe_pools_create(struct pipe_pool **pools, unsigned pool_count, unsigned count,
		      uint32_t size_bytes);
void pipe_pool_destroy(struct pipe_pool *pool);

/* Pipes in all, those not lent, and the size in bytes of the smallest, 0 for none. */
unsigned pipe_pool_count(const struct pipe_pool *pool);
unsigned pipe_pool_free_count(const struct pipe_pool *pool);
uint32_t pipe_pool_size_bytes(const struct pipe_pool *pool);

/* Lends a pipe, the one used last first, or NULL when all are lent. It stays the pool's. */
struct pipe *pipe_pool_take(struct pipe_pool *pool);

/* Takes back a pipe that its borrower has emptied. */
void pipe_pool_give(struct pipe_pool *pool, struct pipe *pipe);

/*
 * Takes back a pipe that may hold bytes: reads and drops them, read(2). Returns 0; or -errno when it
 * cannot be emptied, and then it is closed and the pool is one smaller.
 */
int pipe_pool_empty(struct pipe_pool *pool, struct pipe *pipe);
