/* SPDX-License-Identifier: MIT */
/*
 * What the tests of pools share: pools written as text, and choices as text. Members are
 * called a, b, c ... by their index and have the addresses 192.0.2.1:80, 192.0.2.2:80 ...
 */
#pragma once

#include "pool/pool.h"

/* When the pools here begin. */
#define POOL_FIXTURE_MS 1000

/*
 * A pool of one member per word, each its weight, then "/" and its maxconn, then "b" for a backup,
 * then "x" for a member that is off: "5 1/10 1b 1x". With 0 slots in the settings the pool gets a
 * slot per word.
 */
struct pool *pool_fixture_make(struct pool_settings settings, const char *text);

/* The member of that index, with weight 1. */
struct pool_member pool_fixture_member(unsigned index);

/* Removes a member of group 0, in which no two have the same address. */
void pool_fixture_remove(struct pool *pool, unsigned member);

/* pool_choose() for any client, nothing tried. */
int pool_fixture_choose(struct pool *pool, uint64_t now_ms, struct pool_claim *claim);

/*
 * `count` sessions one after the other, each over before the next: their members' letters, or "-"
 * where there was none, go into `text`, which is returned.
 */
const char *pool_fixture_choices(struct pool *pool, unsigned count, uint64_t now_ms, char *text);

/* `count` such sessions; how many each member had is added to `counts`, refusals left out. */
void pool_fixture_count(struct pool *pool, unsigned count, uint64_t now_ms,
			unsigned counts[POOL_MEMBERS_LIMIT]);

/*
 * Fails `times` sessions of a member, or until it is down: all others are marked as tried.
 * Returns the last change.
 */
enum pool_change pool_fixture_fail(struct pool *pool, unsigned member, unsigned times,
				   uint64_t now_ms);

/* All members but this one. */
struct pool_tried pool_fixture_all_but(unsigned member);

enum pool_state pool_fixture_state(const struct pool *pool, unsigned member, uint64_t now_ms);
