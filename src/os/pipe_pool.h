/*
 * The pipes that one worker splices through. A pipe is borrowed while bytes sit in it and given
 * back empty; one that held bytes and met an error is discarded and replaced, for what is left in
 * it belongs to one session and must never reach another. Made before the privilege drop: pipes
 * count against the user's fs.pipe-user-pages-soft, and sizes are set with F_SETPIPE_SZ (pipe(7),
 * fcntl(2)).
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
 * Creates a pool that tries for `count` pipes of `size_bytes`. Fewer or smaller ones are no
 * failure: ask the pool what it got. Returns 0 and the pool, or -errno when there is no pipe at
 * all.
 */
int pipe_pool_create(struct pipe_pool **pool, unsigned count, uint32_t size_bytes);
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
 * Takes back a pipe whose content is not to be known again: closes it and makes another.
 * Returns 0; -EPERM when the other is smaller, for the user has used up its pages (pipe(7)); or another -errno when
 * none could be had, and then the pool is one smaller until a later discard succeeds in making up for it.
 */
int pipe_pool_discard(struct pipe_pool *pool, struct pipe *pipe);
