/* SPDX-License-Identifier: MIT */
#include "pool/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "pool/pool_slots.h"

/* Memory --------------------------------------------------------------------------------------- */

/* Room for the longest sequence of either tier, twice. */
static int create_sequences(struct pool *pool)
{
	size_t room = (size_t)pool->settings.slots * POOL_WEIGHT_LIMIT;

	pool->sequence_memory = calloc(2 * POOL_TIERS * room, sizeof(*pool->sequence_memory));
	if (!pool->sequence_memory)
		return -ENOMEM;
	for (unsigned i = 0; i < 2 * POOL_TIERS; i++)
		pool->sequences[i / POOL_TIERS][i % POOL_TIERS].members =
			pool->sequence_memory + i * room;
	return 0;
}

static int create_slots(struct pool *pool)
{
	pool->slots = memory_alloc_lines(pool->settings.slots * sizeof(*pool->slots));
	pool->claims = memory_alloc_lines(pool->settings.slots * sizeof(*pool->claims));
	if (!pool->slots || !pool->claims)
		return -ENOMEM;
	for (unsigned i = 0; i < pool->settings.slots; i++)
		atomic_init(&pool->claims[i], POOL_CLOSED);
	return 0;
}

static void check_settings(const struct pool_settings *settings)
{
	CHECK(settings->slots > 0 && settings->slots <= POOL_MEMBERS_LIMIT);
	CHECK(settings->max_fails <= POOL_FAILS_LIMIT);
	CHECK(!settings->max_fails || settings->fail_timeout_ms > 0);
	CHECK(settings->fail_timeout_ms < POOL_TIME_MASK / 2);
	CHECK(!settings->rise == !settings->fall);
	CHECK(settings->rise <= POOL_CHECKS_LIMIT && settings->fall <= POOL_CHECKS_LIMIT);
	CHECK(settings->slow_start_ms < POOL_TIME_MASK);
}

int pool_create(struct pool **pool, const struct pool_settings *settings)
{
	struct pool *made = memory_alloc_lines(sizeof(*made));

	check_settings(settings);
	if (!made)
		return -ENOMEM;
	made->settings = *settings;
	atomic_init(&made->max_fails, settings->max_fails);
	if (create_slots(made) || create_sequences(made)) {
		free(made->slots);
		free(made->claims);
		free(made);
		return -ENOMEM;
	}
	pool_hash_init(made->log_table);
	*pool = made;
	return 0;
}

void pool_destroy(struct pool *pool)
{
	for (unsigned i = 0; i < pool->settings.slots; i++)
		CHECK(!(atomic_load_explicit(&pool->claims[i], memory_order_acquire) &
			POOL_LIVE_MASK));
	free(pool->sequence_memory);
	free(pool->claims);
	free(pool->slots);
	free(pool);
}

/* Slots ---------------------------------------------------------------------------------------- */

static uint64_t claims_of(const struct pool *pool, unsigned member)
{
	return atomic_load_explicit(&pool->claims[member], memory_order_acquire);
}

static bool is_free(uint64_t claims)
{
	return (claims & POOL_CLOSED) && !(claims & POOL_LIVE_MASK);
}

/* The group's slot with this address, among those that are open or those that drain; or -1. */
static int find_slot(const struct pool *pool, unsigned group, const struct addr *address, bool open)
{
	unsigned count = pool_slot_count(pool);

	for (unsigned i = 0; i < count; i++) {
		uint64_t claims = claims_of(pool, i);

		if (!is_free(claims) && !(claims & POOL_CLOSED) == open &&
		    pool->slots[i].group == group && addr_equal(&pool->slots[i].address, address))
			return (int)i;
	}
	return -1;
}

static int find_free_slot(const struct pool *pool)
{
	for (unsigned i = 0; i < pool->settings.slots; i++)
		if (is_free(claims_of(pool, i)))
			return (int)i;
	return -ENOSPC;
}

/* Members with the same address get different seeds, each the same in every run. */
static uint64_t find_seed(const struct pool *pool, const struct addr *address)
{
	unsigned count = pool_slot_count(pool);
	unsigned twin = 0;
	unsigned i;

	for (;;) {
		uint64_t seed = pool_hash_seed(address, twin++);

		for (i = 0; i < count; i++)
			if (!is_free(claims_of(pool, i)) &&
			    atomic_load_explicit(&pool->slots[i].seed, memory_order_relaxed) ==
				    seed)
				break;
		if (i == count)
			return seed;
	}
}

static void set_terms(struct pool_slot *slot, const struct pool_member *member)
{
	CHECK(member->weight <= POOL_WEIGHT_LIMIT && member->maxconn <= POOL_LIVE_LIMIT);
	atomic_store_explicit(&slot->weight, (uint16_t)member->weight, memory_order_relaxed);
	atomic_store_explicit(&slot->maxconn, member->maxconn ? member->maxconn : POOL_LIVE_LIMIT,
			      memory_order_relaxed);
	atomic_store_explicit(&slot->tier, member->backup ? 1 : 0, memory_order_relaxed);
	atomic_store_explicit(&slot->unchecked, member->unchecked, memory_order_relaxed);
	slot->configured_off = member->off;
}

/* No other thread uses a slot while it is closed and has no sessions. */
static void fill_slot(struct pool *pool, unsigned index, const struct pool_member *member)
{
	struct pool_slot *slot = &pool->slots[index];

	slot->address = member->address;
	slot->group = member->group;
	slot->total_before = claims_of(pool, index) >> POOL_TOTAL_SHIFT;
	atomic_fetch_add_explicit(&slot->generation, 1, memory_order_acq_rel);
	set_terms(slot, member);
	atomic_store_explicit(&slot->seed, find_seed(pool, &member->address), memory_order_relaxed);
	atomic_store_explicit(&slot->ramp_from_ms, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->failed_count, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->down_count, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->failing, false, memory_order_relaxed);
	atomic_store_explicit(&slot->order, member->order, memory_order_relaxed);
	atomic_store_explicit(&slot->health,
			      pool_health_initial(&pool->settings,
						  member->off || member->order != POOL_ORDER_NONE),
			      memory_order_release);
	if (index >= pool_slot_count(pool))
		atomic_store_explicit(&pool->slot_count, index + 1, memory_order_release);
}

int pool_fill_free_slot(struct pool *pool, const struct pool_member *member)
{
	int index = find_free_slot(pool);

	if (index >= 0)
		fill_slot(pool, (unsigned)index, member);
	return index;
}

static void open_slot(struct pool *pool, unsigned index)
{
	atomic_fetch_and_explicit(&pool->claims[index], ~POOL_CLOSED, memory_order_release);
}

static void close_slot(struct pool *pool, unsigned index)
{
	atomic_fetch_or_explicit(&pool->claims[index], POOL_CLOSED, memory_order_acq_rel);
}

/* Returns 0 or -ENOSPC. */
static int add_member(struct pool *pool, const struct pool_member *member)
{
	int index = find_slot(pool, member->group, &member->address, false);

	if (index >= 0) {
		set_terms(&pool->slots[index], member);
		pool_set_order(pool, (unsigned)index, member->order, 0);
	} else {
		index = pool_fill_free_slot(pool, member);
		if (index < 0)
			return index;
	}
	open_slot(pool, (unsigned)index);
	return 0;
}

int pool_add_all(struct pool *pool, const struct pool_member *members, unsigned count)
{
	int error = 0;

	for (unsigned i = 0; i < count && !error; i++)
		error = add_member(pool, &members[i]);
	pool_sequence_make(pool);
	return error;
}

void pool_remove(struct pool *pool, unsigned member)
{
	CHECK(member < pool->settings.slots);
	close_slot(pool, member);
	pool_sequence_make(pool);
}

void pool_set_weight(struct pool *pool, unsigned member, unsigned weight)
{
	CHECK(member < pool->settings.slots && weight <= POOL_WEIGHT_LIMIT);
	atomic_store_explicit(&pool->slots[member].weight, (uint16_t)weight, memory_order_relaxed);
	pool_sequence_make(pool);
}

void pool_set_maxconn(struct pool *pool, unsigned member, unsigned maxconn)
{
	CHECK(member < pool->settings.slots && maxconn <= POOL_LIVE_LIMIT);
	atomic_store_explicit(&pool->slots[member].maxconn, maxconn ? maxconn : POOL_LIVE_LIMIT,
			      memory_order_relaxed);
}

/*
 * Adds the addresses that the group lacks, and counts them in `changes`. Returns 0, or -ENOSPC at
 * the first address for which no slot is free.
 */
static int add_missing(struct pool *pool, const struct pool_group *group, unsigned *changes)
{
	struct pool_member member = group->terms;

	for (unsigned i = 0; i < group->count; i++) {
		if (find_slot(pool, member.group, &group->addresses[i], true) >= 0)
			continue;
		member.address = group->addresses[i];
		if (add_member(pool, &member))
			return -ENOSPC;
		++*changes;
	}
	return 0;
}

static bool has_address(const struct pool_group *group, const struct addr *address)
{
	for (unsigned i = 0; i < group->count; i++)
		if (addr_equal(address, &group->addresses[i]))
			return true;
	return false;
}

static void close_others(struct pool *pool, const struct pool_group *group, unsigned *changes)
{
	unsigned slots = pool_slot_count(pool);

	for (unsigned i = 0; i < slots; i++) {
		if ((claims_of(pool, i) & POOL_CLOSED) ||
		    pool->slots[i].group != group->terms.group ||
		    has_address(group, &pool->slots[i].address))
			continue;
		close_slot(pool, i);
		++*changes;
	}
}

int pool_replace(struct pool *pool, const struct pool_group *group)
{
	unsigned changes = 0;
	int error = add_missing(pool, group, &changes);

	close_others(pool, group, &changes);
	/* closed members without sessions have made room */
	if (error)
		error = add_missing(pool, group, &changes);
	if (changes)
		pool_sequence_make(pool);
	return error;
}

void pool_set_max_fails(struct pool *pool, unsigned max_fails)
{
	CHECK(max_fails <= POOL_FAILS_LIMIT);
	CHECK(!max_fails || pool->settings.fail_timeout_ms);
	atomic_store_explicit(&pool->max_fails, max_fails, memory_order_relaxed);
}

/* Looking at a pool ---------------------------------------------------------------------------- */

unsigned pool_slot_count(const struct pool *pool)
{
	return atomic_load_explicit(&pool->slot_count, memory_order_relaxed);
}

unsigned pool_slot_limit(const struct pool *pool)
{
	return pool->settings.slots;
}

uint32_t pool_generation(const struct pool *pool, unsigned member)
{
	CHECK(member < pool->settings.slots);
	return atomic_load_explicit(&pool->slots[member].generation, memory_order_relaxed);
}

unsigned pool_up_count(const struct pool *pool)
{
	unsigned slots = pool_slot_count(pool);
	unsigned count = 0;

	for (unsigned i = 0; i < slots; i++)
		count += !(claims_of(pool, i) & POOL_CLOSED) &&
			 !(atomic_load_explicit(&pool->slots[i].health, memory_order_relaxed) &
			   POOL_NOT_UP_MASK);
	return count;
}

static enum pool_state state_of(uint64_t claims, const struct pool_health *health, unsigned maxconn,
				uint64_t now_ms)
{
	uint64_t live = claims & POOL_LIVE_MASK;

	if (claims & POOL_CLOSED)
		return live ? POOL_DRAINING : POOL_EMPTY;
	if (health->off)
		return POOL_OFF;
	if (health->phase == POOL_PHASE_UP)
		return live >= maxconn ? POOL_FULL : POOL_UP;
	return health->phase == POOL_PHASE_PROBING || health->streak || health->time_ms <= now_ms
		       ? POOL_CHECKING
		       : POOL_DOWN;
}

void pool_snapshot(const struct pool *pool, unsigned member, uint64_t now_ms,
		   struct pool_snapshot *snapshot)
{
	const struct pool_slot *slot = &pool->slots[member];
	struct pool_health health;
	unsigned maxconn;
	uint64_t claims;

	CHECK(member < pool->settings.slots);
	maxconn = atomic_load_explicit(&slot->maxconn, memory_order_relaxed);
	claims = claims_of(pool, member);
	health = pool_health_unpack(atomic_load_explicit(&slot->health, memory_order_acquire));
	*snapshot = (struct pool_snapshot){
		.address = slot->address,
		.group = slot->group,
		.order = (enum pool_order)atomic_load_explicit(&slot->order, memory_order_relaxed),
		.maxconn = maxconn == POOL_LIVE_LIMIT ? 0 : maxconn,
		.generation = atomic_load_explicit(&slot->generation, memory_order_relaxed),
		.weight = atomic_load_explicit(&slot->weight, memory_order_relaxed),
		.live = (unsigned)(claims & POOL_LIVE_MASK),
		/* modulo 2^39, as the word counts */
		.total = ((claims >> POOL_TOTAL_SHIFT) - slot->total_before) &
			 (UINT64_MAX >> POOL_TOTAL_SHIFT),
		.failed = atomic_load_explicit(&slot->failed_count, memory_order_relaxed),
		.downs = atomic_load_explicit(&slot->down_count, memory_order_relaxed),
	};
	snapshot->state = state_of(claims, &health, maxconn, now_ms);
	snapshot->answers = (snapshot->state == POOL_UP || snapshot->state == POOL_FULL) &&
			    (atomic_load_explicit(&pool->max_fails, memory_order_relaxed) ||
			     !atomic_load_explicit(&slot->failing, memory_order_relaxed));
}
