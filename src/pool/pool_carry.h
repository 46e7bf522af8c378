/* SPDX-License-Identifier: MIT */
/*
 * The state of a pool on its way to the pool of a process that takes over: values inside a record
 * that the caller begins and ends. The other pool may have other settings, and other members or the
 * same members in other slots; the caller finds the slot that belongs to a member.
 *
 * Writing: no thread may change the pool. Reading: no other thread may use the pool yet.
 */
#pragma once

#include "os/carrier.h"
#include "pool/pool.h"

/* Where the sequences go on. */
void pool_write(const struct pool *pool, struct carrier *carrier);
void pool_read(struct pool *pool, struct carrier *carrier);

/*
 * The health of a member, and what was counted so far. Reading adds the counts to those of the
 * member. Its weight, maxconn and whether it is off are settings, and stay.
 */
void pool_write_member(const struct pool *pool, unsigned member, struct carrier *carrier);
void pool_read_member(struct pool *pool, unsigned member, uint64_t now_ms, struct carrier *carrier);

/*
 * Takes a claim on a member for a session that has one in the other pool, even if the member is
 * down or has its maxconn sessions. `probe`: the session is the member's probe. After
 * pool_read_member().
 */
void pool_hold(struct pool *pool, unsigned member, bool probe, struct pool_claim *claim);

/*
 * Takes a claim for such a session on a member that this pool does not have: adds the member, which
 * drains (POOL_DRAINING). Returns 0, or -ENOSPC without a free slot.
 */
int pool_hold_former(struct pool *pool, const struct pool_member *member, struct pool_claim *claim);
