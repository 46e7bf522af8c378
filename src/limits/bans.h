/* SPDX-License-Identifier: MIT */
/*
 * Clients that are refused: blocks of addresses, each until a time or for ever. One thread (the
 * control thread) adds and removes bans; any number of threads ask whether a client is banned,
 * without a lock and without waiting.
 *
 * IPv4 addresses are kept in their IPv4-mapped form (cidr.h). Times are milliseconds of
 * CLOCK_MONOTONIC. All memory is allocated at creation.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cidr.h"
#include "os/carrier.h"

/* Bans at a time; more are refused. */
#define BANS_LIMIT 4096

#define BANS_NEVER UINT64_MAX /* when a ban for ever expires */

/* Room for `given`. */
#define BANS_GIVEN_BYTES 64

struct ban {
	struct cidr client;
	uint64_t since_ms;
	uint64_t expires_ms;
	char given[BANS_GIVEN_BYTES]; /* as the user gave it: maybe a source address */
	uint32_t slot;		      /* for bans.c alone */
};

struct bans;

/* Creates an empty table. Returns 0 or -errno: calloc(3), getrandom(2). */
int bans_create(struct bans **bans);

/* NULL is allowed. */
void bans_destroy(struct bans *bans);

/* Whether `client` is banned at `now_ms`. Any thread. One load while there are no bans. */
bool bans_contains(const struct bans *bans, const struct in6_addr *client, uint64_t now_ms);

/* How many bans there are. Any thread. */
uint32_t bans_count(const struct bans *bans);

/*
 * The writer's functions: one thread at a time.
 *
 * bans_add() bans `client` from `now_ms` until `expires_ms`. If the same block is banned already,
 * its ban lasts until the later of the two times and gets the new `given`, cut off where it is too
 * long. Returns the ban, valid until the next change, or NULL when there are BANS_LIMIT.
 */
const struct ban *bans_add(struct bans *bans, const struct cidr *client, const char *given,
			   uint64_t now_ms, uint64_t expires_ms);

/*
 * Writes a CARRIER_BAN for each ban, for a process that takes over; and takes the ban of one such
 * record into a table without it. Returns 0, -EBADMSG if values are missing, or -ENOSPC when there
 * are BANS_LIMIT.
 */
void bans_write(const struct bans *bans, struct carrier *carrier);
int bans_read(struct bans *bans, struct carrier *carrier);

/* Removes the ban of exactly this block. False: there is none. */
bool bans_remove(struct bans *bans, const struct cidr *client);

/*
 * Removes one ban that has expired at `now_ms`, and stores it in `expired`; false when there is
 * none. An expired ban that was not removed yet refuses no client, but counts in bans_count().
 */
bool bans_take_expired(struct bans *bans, uint64_t now_ms, struct ban *expired);

/* When the next ban expires; BANS_NEVER where none does. */
uint64_t bans_next_expiry_ms(const struct bans *bans);

/* All bans, in no order; valid until the next change. */
const struct ban *bans_list(const struct bans *bans, unsigned *count);

/* The ban of exactly this block, one with this `given`, or one that contains `client`; or NULL. */
const struct ban *bans_find(const struct bans *bans, const struct cidr *client);
const struct ban *bans_find_given(const struct bans *bans, const char *given);
const struct ban *bans_find_covering(const struct bans *bans, const struct cidr *client);
