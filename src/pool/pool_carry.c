/* SPDX-License-Identifier: MIT */
#include "pool/pool_carry.h"

#include "base/check.h"
#include "pool/pool_slots.h"

void pool_write(const struct pool *pool, struct carrier *carrier)
{
	for (unsigned tier = 0; tier < POOL_TIERS; tier++)
		carrier_put(carrier,
			    atomic_load_explicit(&pool->next_position[tier], memory_order_relaxed));
	carrier_put(carrier, atomic_load_explicit(&pool->next_by_share, memory_order_relaxed));
}

void pool_read(struct pool *pool, struct carrier *carrier)
{
	for (unsigned tier = 0; tier < POOL_TIERS; tier++)
		atomic_store_explicit(&pool->next_position[tier], carrier_take(carrier),
				      memory_order_relaxed);
	atomic_store_explicit(&pool->next_by_share, carrier_take(carrier), memory_order_relaxed);
}

void pool_write_member(const struct pool *pool, unsigned member, struct carrier *carrier)
{
	const struct pool_slot *slot = &pool->slots[member];
	uint64_t word = atomic_load_explicit(&slot->health, memory_order_acquire);
	struct pool_health health = pool_health_unpack(word);
	struct pool_snapshot now;

	pool_snapshot(pool, member, 0, &now);
	carrier_put(carrier, now.total);
	carrier_put(carrier, now.failed);
	carrier_put(carrier, now.downs);
	carrier_put(carrier, atomic_load_explicit(&slot->failing, memory_order_relaxed));
	carrier_put(carrier, atomic_load_explicit(&slot->ramp_from_ms, memory_order_relaxed));
	carrier_put(carrier, pool_health_is_checked(pool, slot));
	carrier_put(carrier, health.phase != POOL_PHASE_UP);
	carrier_put(carrier, health.time_ms);
	carrier_put(carrier, health.fails);
	carrier_put(carrier, health.streak);
}

void pool_read_member(struct pool *pool, unsigned member, uint64_t now_ms, struct carrier *carrier)
{
	struct pool_slot *slot = &pool->slots[member];
	struct pool_health health = {0};
	bool was_checked;

	CHECK(member < pool->settings.slots);
	slot->total_before -= carrier_take(carrier); /* pool_snapshot() subtracts it */
	atomic_fetch_add_explicit(&slot->failed_count, carrier_take(carrier), memory_order_relaxed);
	atomic_fetch_add_explicit(&slot->down_count, (uint32_t)carrier_take(carrier),
				  memory_order_relaxed);
	atomic_store_explicit(&slot->failing, carrier_take(carrier) != 0, memory_order_relaxed);
	atomic_store_explicit(&slot->ramp_from_ms, carrier_take(carrier), memory_order_relaxed);
	was_checked = carrier_take(carrier) != 0;
	health.phase = carrier_take(carrier) ? POOL_PHASE_DOWN : POOL_PHASE_UP;
	health.time_ms = carrier_take(carrier);
	health.fails = (unsigned)carrier_take(carrier);
	health.streak = (unsigned)carrier_take(carrier);
	pool_health_adopt(pool, member, health, was_checked, now_ms);
}

void pool_hold(struct pool *pool, unsigned member, bool probe, struct pool_claim *claim)
{
	struct pool_slot *slot = &pool->slots[member];
	uint64_t before;

	CHECK(member < pool->settings.slots && !claim->held);
	before = atomic_fetch_add_explicit(&pool->claims[member], 1, memory_order_acq_rel);
	CHECK((before & POOL_LIVE_MASK) < POOL_LIVE_LIMIT);
	/* where checks decide, no session is a probe; the time of a probe is past */
	*claim = (struct pool_claim){
		.member = (uint16_t)member,
		.held = true,
		.probe = probe && pool_health_begin_probe(slot, POOL_TIME_MASK - 1),
	};
}

int pool_hold_former(struct pool *pool, const struct pool_member *member, struct pool_claim *claim)
{
	int index = pool_fill_free_slot(pool, member);

	if (index < 0)
		return index;
	pool_hold(pool, (unsigned)index, false, claim);
	return 0;
}
