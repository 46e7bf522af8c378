/*
 * Where connections to the backends come from: --source. Gives each client of a forward with a lease pool
 * its address, which is the same as long as the pool remembers the client. Forwards with the same block
 * share a pool, and all workers share all pools; there is no lock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "identity/lease_pool.h"
#include "stats/metrics.h"

/* The source addresses of all forwards. */
struct source_addresses;

/* Those of one forward. */
struct source_address;

/*
 * Makes the pools of a configuration, with their keys and what their state files remember, and checks
 * the routes. `config` must outlive it. Belongs before the privilege drop, which may take the right to
 * read key files. Returns 0, or -errno, and `errors` has got all, each naming what cannot be had, why,
 * and what to do.
 */
int source_addresses_create(struct source_addresses **sources, const struct config *config,
			    struct config_errors *errors);

/* NULL is allowed. */
void source_addresses_destroy(struct source_addresses *sources);

/* Those of a forward, by its index; valid as long as all. */
struct source_address *source_addresses_of(struct source_addresses *sources, unsigned forward);

/* Who a source address is chosen for. */
struct source_address_ask {
	const struct addr *client;
	bool embedded;	 /* the address inside the client's will do, where --source wants that */
	uint64_t now_ms; /* CLOCK_MONOTONIC */
};

struct source_address_choice {
	struct addr address; /* without a port; none: the kernel chooses */
	bool embedded;	     /* it is the one inside the client's */
	bool leased;	     /* out of a pool: give it back with source_address_release() */
};

/* Any thread. Returns 0 or -EADDRNOTAVAIL: every address that the client may have is another's. */
int source_address_choose(struct source_address *source, const struct source_address_ask *ask,
			  struct source_address_choice *choice);
void source_address_release(struct source_address *source, const struct addr *address,
			    uint64_t now_ms);

/* Whose address it is in any pool: false for nobody's. Any thread. */
bool source_addresses_find(const struct source_addresses *sources, struct in_addr address,
			   struct cidr *client);

/* Whether a pool has any address of the block: no client comes from there. Any thread. */
bool source_addresses_own(const struct source_addresses *sources, const struct cidr *block);

/* The metrics that are about pools, summed over these; 0 for all others. Any thread. */
uint64_t source_addresses_metric(const struct source_addresses *sources, enum metric metric);

/* The path of the first state file, NULL when no pool has one. */
const char *source_addresses_first_file(const struct source_addresses *sources);

/* Whether leases were made or ended since the last save, or that failed. Not during a save. */
bool source_addresses_are_unsaved(const struct source_addresses *sources);

/*
 * Writes the state files of all pools that have one, each whole or not at all. Blocks, while other threads use the pools. Returns 0, or the
 * first -errno with `fault`; the others are written nevertheless.
 */
int source_addresses_save(struct source_addresses *sources, struct fault *fault);
