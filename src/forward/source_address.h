/* SPDX-License-Identifier: MIT */
/*
 * The source addresses of connections to backends: --source. A client of a forward with a lease
 * pool gets an address of the pool: the same address as long as the pool remembers the client.
 * Forwards with the same block share a pool, and all workers share all pools. There is no lock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "identity/lease_pool.h"
#include "stats/metrics.h"

/* The source addresses of all forwards. */
struct source_addresses;

/* The source addresses of one forward. */
struct source_address;

/*
 * Makes the lease pools of a configuration, reads their keys and state files, and checks the
 * routes: source_address_check(). `config` must outlive the source addresses. Call it before the
 * privilege drop, which may take the right to read key files. Returns 0, or -errno and adds all
 * faults to `errors`.
 */
int source_addresses_create(struct source_addresses **sources, const struct config *config,
			    struct config_errors *errors);

/* NULL is allowed. */
void source_addresses_destroy(struct source_addresses *sources);

/* The source addresses of a forward, by its index; valid as long as `sources`. */
struct source_address *source_addresses_of(struct source_addresses *sources, unsigned forward);

/*
 * Checks that a forward can connect to its backends from the addresses of its --source: an
 * interface has them, or a local route leads to them, and they reach every backend. Returns 0, or
 * -errno and `fault`. Before the workers start.
 */
int source_address_check(const struct config_forward *forward, struct fault *fault);

/* Prints the option: "240.0.0.0/4", "192.0.2.7", "embedded,240.0.0.0/4": returns `text`. */
#define SOURCE_ADDRESS_TEXT_BYTES (ADDR_TEXT_BYTES + 16)
const char *source_address_print(const struct config_source *source,
				 char text[SOURCE_ADDRESS_TEXT_BYTES]);

/* The client that a source address is chosen for. */
struct source_address_ask {
	const struct addr *client;
	bool embedded;	 /* the address inside the client's may be chosen: --source embedded */
	uint64_t now_ms; /* CLOCK_MONOTONIC */
};

struct source_address_choice {
	struct addr address; /* without a port; empty: the kernel chooses */
	bool embedded;	     /* it is the address inside the client's */
	bool leased;	     /* from a pool: give it back with source_address_release() */
};

/* Returns 0, or -EADDRNOTAVAIL: other clients have all addresses for this client. Any thread. */
int source_address_choose(struct source_address *source, const struct source_address_ask *ask,
			  struct source_address_choice *choice);
void source_address_release(struct source_address *source, const struct addr *address,
			    uint64_t now_ms);

/* The client that has this address from a pool; false: no client has it. Any thread. */
bool source_addresses_find(const struct source_addresses *sources, struct in_addr address,
			   struct cidr *client);

/* Whether a pool contains an address of the block: no client comes from there. Any thread. */
bool source_addresses_own(const struct source_addresses *sources, const struct cidr *block);

/* The value of a metric about lease pools, summed; 0 for another metric. Any thread. */
uint64_t source_addresses_metric(const struct source_addresses *sources, enum metric metric);

/* Writes the locks of the state files for the process that takes over: inherited_write(). */
void source_addresses_write_locks(const struct source_addresses *sources, struct carrier *carrier);

/* The path of the first state file; NULL: no pool has a state file. */
const char *source_addresses_first_file(const struct source_addresses *sources);

/* Whether leases began or ended since the last save, or it failed. Not during a save. */
bool source_addresses_are_unsaved(const struct source_addresses *sources);

/*
 * Writes the state files of all pools, each completely or not at all. Blocks; other threads may use
 * the pools. Returns 0, or the first -errno and `fault`; after a failure the other files are
 * written.
 */
int source_addresses_save(struct source_addresses *sources, struct fault *fault);
