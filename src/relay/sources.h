/*
 * Where connections to the backends come from: --source. Gives each client of a forward with a pool
 * its address, which is the same as long as the pool remembers the client. Forwards with the same block
 * share a pool, and all workers share all pools; there is no lock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "identity/source_pool.h"
#include "stats/metrics.h"

struct sources;

struct sources_choice {
	struct addr address; /* without a port; none: the kernel chooses */
	bool embedded;	     /* it is the one inside the client's */
	bool leased;	     /* out of a pool: give it back with sources_release() */
};

/*
 * Makes the pools of a configuration, with their keys and what their state files remember, and checks
 * the routes. `config` must outlive it. Belongs before the privilege drop, which may take the right to
 * read key files. Returns 0, or -errno, and config->errors has got all, each naming what cannot be had, why,
 * and what to do.
 */
int sources_create(struct sources **sources, struct config *config);

/* NULL is allowed. */
void sources_destroy(struct sources *sources);

/*
 * Chooses for a client of `forward`; without `embedded`, not the address inside the client's. `now_ms`
 * is CLOCK_MONOTONIC. Any thread. Returns 0 or -EADDRNOTAVAIL: every address that the client may have
 * is another's.
 */
int sources_choose(struct sources *sources, unsigned forward, const struct addr *client,
		   bool embedded, uint64_t now_ms, struct sources_choice *choice);
void sources_release(struct sources *sources, unsigned forward, const struct addr *address,
		     uint64_t now_ms);

/* Whose address it is in any pool: false for nobody's. Any thread. */
bool sources_find(const struct sources *sources, struct in_addr address, struct cidr *client);

/* Whether a pool has any address of the block: no client comes from there. Any thread. */
bool sources_own(const struct sources *sources, const struct cidr *block);

/* The metrics that are about pools, summed over these; 0 for all others. Any thread. */
uint64_t sources_metric(const struct sources *sources, enum metric metric);

/* The path of the first state file, NULL when no pool has one. */
const char *sources_first_file(const struct sources *sources);

/* Whether leases were made or ended since the last save, or that failed. Not during a save. */
bool sources_are_unsaved(const struct sources *sources);

/*
 * Writes the state files of all pools that have one, each whole or not at all. Blocks, while other threads use the pools. Returns 0, or the
 * first -errno with `error`; the others are written nevertheless.
 */
int sources_save(struct sources *sources, char error[CONFIG_ERROR_BYTES]);
