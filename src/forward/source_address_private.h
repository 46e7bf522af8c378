/* SPDX-License-Identifier: MIT */
/* The parts of the source addresses, for source_address*.c alone. */
#pragma once

#include <stdatomic.h>

#include "forward/source_address.h"

/* Of a forward. If forwards share a pool, only the first of them has the file and its lock. */
struct source_address {
	const struct source_addresses *all;
	const struct config_forward *forward;
	struct lease_pool *pool; /* NULL: --source names no pool */
	bool owns_pool;		 /* false: an earlier forward with the same block owns the pool */
	char *state_path;	 /* NULL: the leases are not saved */
	/* of the state file; -1: the first save makes the file. The saver thread may set it */
	atomic_int lock_fd;
};

struct source_addresses {
	const struct config *config;
	struct lease_pool_stats saved; /* at the last save */
	bool failed;		       /* the last save failed */
	unsigned count;
	struct source_address list[]; /* by index of the forward */
};
