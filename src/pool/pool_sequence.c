/* SPDX-License-Identifier: MIT */
#include "base/check.h"
#include "pool/pool_slots.h"

/* The members of a tier that a sequence names. */
struct entrants {
	unsigned count;
	unsigned members[POOL_MEMBERS_LIMIT];
	int weights[POOL_MEMBERS_LIMIT]; /* divided by their greatest common divisor */
	int sum;
};

static unsigned greatest_common_divisor(unsigned a, unsigned b)
{
	while (b) {
		unsigned rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static void find_entrants(const struct pool *pool, unsigned tier, struct entrants *entrants)
{
	unsigned slots = atomic_load_explicit(&pool->slot_count, memory_order_relaxed);
	unsigned divisor = 0;

	entrants->count = 0;
	entrants->sum = 0;
	for (unsigned i = 0; i < slots; i++) {
		struct pool_slot *slot = &pool->slots[i];
		unsigned weight = atomic_load_explicit(&slot->weight, memory_order_relaxed);

		if (!weight || atomic_load_explicit(&slot->tier, memory_order_relaxed) != tier ||
		    atomic_load_explicit(&pool->claims[i], memory_order_relaxed) & POOL_CLOSED)
			continue;
		entrants->members[entrants->count] = i;
		entrants->weights[entrants->count++] = (int)weight;
		divisor = greatest_common_divisor(weight, divisor);
	}
	for (unsigned i = 0; i < entrants->count; i++) {
		entrants->weights[i] /= (int)divisor;
		entrants->sum += entrants->weights[i];
	}
}

/*
 * Mixes the members as nginx does: at each position the score of every member grows by its weight;
 * the member with the highest score gets the position, and its score drops by the sum of the
 * weights.
 */
static void mix_round(const struct entrants *entrants, _Atomic uint8_t *sequence)
{
	int scores[POOL_MEMBERS_LIMIT] = {0};

	for (int position = 0; position < entrants->sum; position++) {
		unsigned highest = 0;

		for (unsigned i = 0; i < entrants->count; i++) {
			scores[i] += entrants->weights[i];
			if (scores[i] > scores[highest])
				highest = i;
		}
		scores[highest] -= entrants->sum;
		atomic_store_explicit(&sequence[position], (uint8_t)entrants->members[highest],
				      memory_order_relaxed);
	}
}

void pool_sequence_make(struct pool *pool)
{
	unsigned spare = !atomic_load_explicit(&pool->current, memory_order_relaxed);
	struct entrants entrants;

	for (unsigned tier = 0; tier < POOL_TIERS; tier++) {
		struct pool_sequence *sequence = &pool->sequences[spare][tier];

		find_entrants(pool, tier, &entrants);
		CHECK((unsigned)entrants.sum <= pool->settings.slots * POOL_WEIGHT_LIMIT);
		mix_round(&entrants, sequence->members);
		atomic_store_explicit(&sequence->length, (uint32_t)entrants.sum,
				      memory_order_relaxed);
	}
	atomic_store_explicit(&pool->current, spare, memory_order_release);
}
