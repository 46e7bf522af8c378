/* SPDX-License-Identifier: MIT */
/*
 * The pipes through which one worker splices. A lane borrows a pipe while bytes are in it, and
 * gives the pipe back empty. If the pipe still has bytes when the session ends, it is emptied
 * first, because these bytes must never reach another session. All pipes are made before the
 * privilege drop: later a pipe may be smaller, because pipes count against the user's
 * fs.pipe-user-pages-soft (F_SETPIPE_SZ, pipe(7), fcntl(2)).
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
 * If the kernel allows less than is wanted, pipes are made smaller until each pool has this many.
 * Beyond this number, fewer pipes of a larger size are preferred. A worker needs one pipe to splice
 * through, and some for bytes that a slow write side has not taken. Without a free pipe bytes are
 * copied.
 */
#define PIPE_POOL_LEAST 4

/* The size of a new pipe. Pipes are smaller only if the user's budget is used up: pipe(7). */
#define PIPE_POOL_SMALLEST_BYTES 65536

/*
 * Creates the pools of all workers, each with up to `count` pipes of `size_bytes`. The kernel may
 * allow less. Then all pipes have the largest size (`size_bytes`, a half, a quarter, ...) of which
 * each pool gets PIPE_POOL_LEAST pipes. The numbers of pipes in two pools differ by at most one.
 * Ask each pool for the number and size that it got. Returns 0 and the pools, each with at least
 * one pipe, or -errno (pipe(2), fcntl(2)) and NULLs.
 */
int pipe_pools_create(struct pipe_pool **pools, unsigned pool_count, unsigned count,
		      uint32_t size_bytes);
void pipe_pool_destroy(struct pipe_pool *pool);

/*
 * Pipes of another process. A process that takes over from another one gets its pipes: it has no
 * privileges, so pipes of its own could be smaller. Its pools begin without pipes, adopt some, and
 * are completed.
 */

/* The most pipes of a pool: --maxpipes (options.def). */
#define PIPE_POOL_LIMIT 65536

/* Creates pools without pipes. Returns 0, or -ENOMEM and NULLs. */
int pipe_pools_create_empty(struct pipe_pool **pools, unsigned pool_count);

/*
 * Takes a pipe over, and lends it. The pool owns both descriptors from here on, also after an
 * error. `wanted_bytes`: the size that the pipe should have; 0: it may hold bytes, and keeps its
 * size. Returns NULL if this is no pipe, or if the pool is full.
 */
struct pipe *pipe_pool_adopt(struct pipe_pool *pool, int read_fd, int write_fd,
			     uint32_t wanted_bytes);

/*
 * Makes the pipes that are missing: up to `count` for each pool, as many of `size_bytes` as the
 * kernel allows, and at least one of any size. Returns 0 or -errno: pipe(2).
 */
int pipe_pools_complete(struct pipe_pool **pools, unsigned pool_count, unsigned count,
			uint32_t size_bytes);

/* A pipe that is not lent; `index` is below pipe_pool_free_count(). */
const struct pipe *pipe_pool_free_at(const struct pipe_pool *pool, unsigned index);

/*
 * After another process has taken pipes over: closes all that are not lent, or one that is lent,
 * without a look at its bytes.
 */
void pipe_pool_close_free(struct pipe_pool *pool);
void pipe_pool_discard(struct pipe_pool *pool, struct pipe *pipe);

/*
 * The number of open pipes, the number of pipes that are not lent, and the size in bytes of the
 * smallest pipe (0: no pipe).
 */
unsigned pipe_pool_count(const struct pipe_pool *pool);
unsigned pipe_pool_free_count(const struct pipe_pool *pool);
uint32_t pipe_pool_size_bytes(const struct pipe_pool *pool);

/*
 * Lends the most recently returned pipe, or returns NULL if all are lent. The pool owns the pipe.
 */
struct pipe *pipe_pool_take(struct pipe_pool *pool);

/* Takes back a pipe that its borrower has emptied. */
void pipe_pool_give(struct pipe_pool *pool, struct pipe *pipe);

/*
 * Takes back a pipe that may have bytes: reads them (read(2)) and drops them. Returns 0. If this
 * fails, returns -errno; then the pipe is closed and the pool has one pipe less.
 */
int pipe_pool_empty(struct pipe_pool *pool, struct pipe *pipe);
