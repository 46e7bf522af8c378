/*
 * The source pool's key and leases in files, so that clients keep their addresses over a restart.
 *
 * The state file is text, a word and its values to a line:
 *
 *	sixpipe-sources 1
 *	block 240.0.0.0/4
 *	client-prefix 64
 *	key 000102030405060708090a0b0c0d0e0f
 *	lease 241.7.11.13 2001:db8:1:2::/64 1767225600
 *	end 1
 *
 * A lease has address, client and time of last use (Unix seconds); `end` counts them, so that a file
 * cut off is known as such. The key is a secret: whoever has it can tell which clients share an
 * address. Both files are refused when everybody can read them.
 *
 * All of this blocks and takes memory: it is for the start and for the control thread. `error`
 * names file, line where there is one, reason and remedy.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "identity/lease_pool.h"

#define LEASE_STATE_VERSION 1

/* One moment by two clocks: that of the pool (lease_pool.h), and the time of day. */
struct lease_clock {
	uint64_t now_ms;
	int64_t unix_s;
};

struct lease_files {
	const char *key_path;	/* NULL: none */
	const char *state_path; /* NULL: none; need not exist */
};

/*
 * Makes a pool (lease_pool_create()) with the key of the key file, else that of the state file,
 * else one of getrandom(2), and the leases of the state file, which become those without sessions.
 * `*dropped` is how many found no room, which is so only where there were more leases before.
 * Returns 0 or -errno; -EINVAL for what is wrong with a file or the options.
 */
int lease_pool_open(const struct lease_pool_options *options, const struct lease_files *files,
		    const struct lease_clock *clock, struct lease_pool **pool, uint64_t *dropped,
		    char error[LEASE_ERROR_BYTES]);

/*
 * Has a state file for this process alone for as long as *lock_fd is open: by flock(2) of PATH.lock, an empty file that is never
 * renamed or removed, so that it does not matter whether there is a state file, or what becomes of it. Where filesystems have no
 * locks there is none.
 *
 * Without `make` only a lock file that is there is taken, before the state is read; where there is none, -1 is left in *lock_fd. Then
 * nobody has saved yet, and `make`, after the privilege drop, makes the file, which so is of --user. It must be the first to: whoever
 * was before may have saved what this process has not read. Returns 0; -EBUSY when another has it; -errno. `error` as ever.
 */
int lease_state_lock(const char *path, bool make, int *lock_fd, char error[LEASE_ERROR_BYTES]);

/*
 * Writes the state file while other threads use the pool: first as PATH.new, of mode 0600, that
 * then takes the place of PATH and is on the disk when this returns (fsync(2) of file and
 * directory). Returns 0 or -errno, and then PATH is what it was; but it may be the new one when
 * only the directory's fsync failed. The caller has the lock.
 */
int lease_pool_save(const struct lease_pool *pool, const char *path,
		    const struct lease_clock *clock, char error[LEASE_ERROR_BYTES]);

/*
 * Reads leases into a pool that no other thread uses yet. Returns 0; -ENOENT, without `error`, when
 * there is no file; -EINVAL for a file of another block, prefix length or key, or one that is not
 * as above; other errnos of open(2) and read(2). On failure the pool holds some of the leases.
 */
int lease_pool_load(struct lease_pool *pool, const char *path, const struct lease_clock *clock,
		    uint64_t *dropped, char error[LEASE_ERROR_BYTES]);

/* Reads the key alone of a state file; returns as lease_pool_load() does. */
int lease_state_read_key(const char *path, uint8_t key[SIPHASH_KEY_BYTES],
			 char error[LEASE_ERROR_BYTES]);

/*
 * Reads a key file: 32 hexadecimal digits, and a newline or none. Returns 0, -EINVAL, or what
 * open(2) and read(2) say.
 */
int lease_key_read(const char *path, uint8_t key[SIPHASH_KEY_BYTES], char error[LEASE_ERROR_BYTES]);
