/* SPDX-License-Identifier: MIT */
/*
 * The state file (--pseudo-state) and the key file of a lease pool, so that clients keep their
 * addresses over a restart.
 *
 * The state file is text. Each line is a word and its values:
 *
 *	sixpipe-sources 1
 *	block 240.0.0.0/4
 *	client-prefix 64
 *	key 000102030405060708090a0b0c0d0e0f
 *	lease 241.7.11.13 2001:db8:1:2::/64 1767225600
 *	end 1
 *
 * A lease has address, client and time of last use (Unix seconds). The number after `end` is the
 * number of leases, so a file that was cut off is detected. The key is a secret: it tells which
 * clients can get the same address. A file that every user can read is refused.
 *
 * All functions block and allocate, so they are for the start and the saver thread. A `fault` has
 * the option that named the file, and as its object the file, with the number of the line if a line
 * is wrong.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "identity/lease_pool.h"
#include "os/inherited.h"

#define LEASE_STATE_VERSION 1

/* The same moment by the clock of the pool (lease_pool.h), and as the time of day. */
struct lease_clock {
	uint64_t now_ms;
	int64_t unix_s;
};

struct lease_files {
	const char *key_path;	/* NULL: no key file */
	const char *state_path; /* NULL: no state file. The file need not exist */
};

/*
 * Creates a pool (lease_pool_create()) with the leases of the state file, which have no sessions.
 * The key comes from the key file, else from the state file, else from getrandom(2). `*dropped` is
 * the number of leases without room: the pool that wrote the file was larger. Returns 0 or -errno;
 * -EINVAL if a file or the options are wrong.
 */
int lease_pool_open(const struct lease_pool_options *options, const struct lease_files *files,
		    const struct lease_clock *clock, struct lease_pool **pool, uint64_t *dropped,
		    struct fault *fault);

/*
 * Locks a state file for this process until *lock_fd is closed: flock(2) of PATH.lock, an empty
 * file. Unlike the state file, the lock file is never renamed or removed. On a filesystem without
 * locks nothing is locked.
 *
 * Call it first before the state is read, with `make` false: an existing lock file is locked; if
 * there is none, *lock_fd keeps its value of -1, and no process has saved a state yet. In that case
 * call it again after the privilege drop, with `make` true: the lock file is created, and so is
 * owned by --user. A lock file that exists by then is an error, because its maker may have saved a
 * state that this process has not read.
 *
 * Returns 0; -EBUSY if another process has the lock or made the file; or another -errno.
 */
int lease_state_lock(const char *path, bool make, int *lock_fd, struct fault *fault);

/*
 * Takes the lock over that the process before this one has on the state file, if it has it. Returns
 * whether it did; otherwise call lease_state_lock(). `inherited` may be NULL.
 */
bool lease_state_inherit_lock(const char *path, struct inherited *inherited, int *lock_fd);

/*
 * Writes the state file. Other threads may use the pool meanwhile. The new file is written as
 * PATH.new with mode 0600 and then renamed to PATH. When this returns, file and directory are on
 * the disk (fsync(2)). Returns 0 or -errno. On failure PATH is unchanged, unless only the fsync of
 * the directory failed. The caller must hold the lock.
 */
int lease_pool_save(const struct lease_pool *pool, const char *path,
		    const struct lease_clock *clock, struct fault *fault);

/*
 * Reads a key file: 32 hexadecimal digits, with or without a newline. Returns 0; -EINVAL if the
 * file is wrong; or -errno of open(2) or read(2).
 */
int lease_key_read(const char *path, uint8_t key[SIPHASH_KEY_BYTES], struct fault *fault);
