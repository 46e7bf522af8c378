/* SPDX-License-Identifier: MIT */
#include "base/check.h"
#include "pool/pool_slots.h"

/* Positions that roundrobin draws in vain before it looks at all members. */
#define POOL_DRAWS 16

/* One call of pool_choose(). */
struct search {
	struct pool *pool;
	const struct pool_ask *ask;
	struct pool_tried out; /* tried, or just taken by another thread */
	unsigned slots;
	unsigned tier;
	bool full; /* a member of this tier is up, untried and full */
};

void pool_mark_tried(struct pool_tried *tried, unsigned member)
{
	CHECK(member < POOL_MEMBERS_LIMIT);
	tried->bits[member / 64] |= 1ULL << member % 64;
}

static bool is_marked(const struct pool_tried *tried, unsigned member)
{
	return tried->bits[member / 64] >> member % 64 & 1;
}

/* Up, or due for a probe. */
static bool is_served(uint64_t health, uint64_t now_ms)
{
	return !(health & POOL_NOT_UP_MASK) ||
	       ((health & POOL_NOT_UP_MASK) == (uint64_t)POOL_PHASE_DOWN << 58 &&
		(health & POOL_TIME_MASK) <= now_ms);
}

/* False for a member that is due for a probe, too: only the probe is let in. */
static bool is_up(const struct pool_slot *slot)
{
	return !(atomic_load_explicit(&slot->health, memory_order_relaxed) & POOL_NOT_UP_MASK);
}

/* Whether the member has its maxconn sessions; also notes a full member that is up. */
static bool is_full(struct search *search, const struct pool_slot *slot, uint64_t claims)
{
	if ((claims & POOL_LIVE_MASK) < atomic_load_explicit(&slot->maxconn, memory_order_relaxed))
		return false;
	search->full |= is_up(slot);
	return true;
}

/* The member's weight now, in parts of POOL_WHOLE; 0 when the member cannot be chosen. */
static uint32_t weigh(struct search *search, unsigned member)
{
	const struct pool *pool = search->pool;
	struct pool_slot *slot = &pool->slots[member];
	uint32_t weight = atomic_load_explicit(&slot->weight, memory_order_relaxed);
	uint64_t claims;

	if (!weight || atomic_load_explicit(&slot->tier, memory_order_relaxed) != search->tier ||
	    is_marked(&search->out, member) ||
	    !is_served(atomic_load_explicit(&slot->health, memory_order_relaxed),
		       search->ask->now_ms))
		return 0;
	claims = atomic_load_explicit(&pool->claims[member], memory_order_relaxed);
	if ((claims & POOL_CLOSED) || is_full(search, slot, claims))
		return 0;
	return weight * pool_ramp(pool, slot, search->ask->now_ms);
}

/* The member at the next position of the sequence, or -1. */
static int draw(struct search *search)
{
	struct pool *pool = search->pool;
	unsigned current = atomic_load_explicit(&pool->current, memory_order_acquire);
	struct pool_sequence *sequence = &pool->sequences[current][search->tier];
	uint32_t length = atomic_load_explicit(&sequence->length, memory_order_relaxed);
	unsigned member;
	uint64_t position;

	if (!length)
		return -1;
	position = atomic_fetch_add_explicit(&pool->next_position[search->tier], 1,
					     memory_order_relaxed);
	member = atomic_load_explicit(&sequence->members[position % length], memory_order_relaxed);
	return member < search->slots ? (int)member : -1;
}

/* In slow start a member is passed over until it has saved up POOL_WHOLE parts. */
static bool accepts_draw(struct search *search, unsigned member)
{
	struct pool_slot *slot = &search->pool->slots[member];
	uint32_t ramp = pool_ramp(search->pool, slot, search->ask->now_ms);

	if (ramp == POOL_WHOLE)
		return true;
	return atomic_fetch_add_explicit(&slot->saved_parts, ramp, memory_order_relaxed) %
			       POOL_WHOLE +
		       ramp >=
	       POOL_WHOLE;
}

/*
 * Draws by weight alone, where few members of the sequence can be chosen. The multiples of the
 * golden ratio fall evenly on the unit interval, however the weights divide it.
 */
static int pick_by_share(struct search *search)
{
	uint32_t weights[POOL_MEMBERS_LIMIT];
	uint64_t sum = 0;
	uint64_t point;

	for (unsigned i = 0; i < search->slots; i++)
		sum += weights[i] = weigh(search, i);
	if (!sum)
		return -1;
	point = atomic_fetch_add_explicit(&search->pool->next_by_share, 1, memory_order_relaxed) *
		0x9e3779b97f4a7c15ULL;
	point = (point >> 32) * sum >> 32;
	for (unsigned i = 0;; i++) {
		if (point < weights[i])
			return (int)i;
		point -= weights[i];
	}
}

static int pick_roundrobin(struct search *search)
{
	for (unsigned i = 0; i < POOL_DRAWS; i++) {
		int member = draw(search);

		if (member < 0)
			break;
		if (weigh(search, (unsigned)member) && accepts_draw(search, (unsigned)member))
			return member;
	}
	return pick_by_share(search);
}

static int pick_leastconn(struct search *search)
{
	int drawn = draw(search);
	unsigned at = drawn < 0 ? 0 : (unsigned)drawn;
	uint64_t least_live = 0;
	uint64_t least_weight = 0;
	int least = -1;

	for (unsigned i = 0; i < search->slots; i++, at = at + 1 < search->slots ? at + 1 : 0) {
		uint64_t weight = weigh(search, at);
		uint64_t live;

		if (!weight)
			continue;
		live = atomic_load_explicit(&search->pool->claims[at], memory_order_relaxed) &
		       POOL_LIVE_MASK;
		/* live / weight < least_live / least_weight */
		if (least < 0 || live * least_weight < least_live * weight) {
			least = (int)at;
			least_live = live;
			least_weight = weight;
		}
	}
	return least;
}

static int pick_source(struct search *search)
{
	const struct pool *pool = search->pool;
	uint64_t best_distance = 0;
	uint64_t best_weight = 0;
	uint64_t best_lot = 0;
	int best = -1;

	for (unsigned i = 0; i < search->slots; i++) {
		uint64_t weight = weigh(search, i);
		uint64_t seed;
		uint64_t lot;
		uint64_t distance;

		if (!weight)
			continue;
		seed = atomic_load_explicit(&pool->slots[i].seed, memory_order_relaxed);
		lot = pool_hash_lot(seed, search->ask->client_key);
		distance = pool_hash_distance(pool->log_table, lot);
		/* distance / weight < best_distance / best_weight; on a tie, the greater lot */
		if (best < 0 || distance * best_weight < best_distance * weight ||
		    (distance * best_weight == best_distance * weight && lot > best_lot)) {
			best = (int)i;
			best_distance = distance;
			best_weight = weight;
			best_lot = lot;
		}
	}
	return best;
}

static int pick(struct search *search)
{
	switch (search->pool->settings.balance) {
	case POOL_ROUNDROBIN:
		return pick_roundrobin(search);
	case POOL_LEASTCONN:
		return pick_leastconn(search);
	default:
		return pick_source(search);
	}
}

static void count_out(struct pool *pool, unsigned member)
{
	uint64_t before = atomic_fetch_sub_explicit(&pool->claims[member], 1, memory_order_release);

	CHECK(before & POOL_LIVE_MASK);
}

/* Counts a session in, unless the slot is closed or full. */
static bool count_in(struct search *search, unsigned member)
{
	_Atomic uint64_t *claims = &search->pool->claims[member];
	const struct pool_slot *slot = &search->pool->slots[member];
	uint64_t word = atomic_load_explicit(claims, memory_order_acquire);

	do {
		if ((word & POOL_CLOSED) || is_full(search, slot, word))
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		claims, &word, word + 1 + (1ULL << POOL_TOTAL_SHIFT), memory_order_acq_rel,
		memory_order_acquire));
	return true;
}

/* Takes a claim on the member that was picked, if the member can still be chosen. */
static bool take(struct search *search, unsigned member, struct pool_claim *claim)
{
	struct pool_slot *slot = &search->pool->slots[member];
	bool probe = false;
	uint64_t health;

	if (!count_in(search, member))
		return false;
	health = atomic_load_explicit(&slot->health, memory_order_acquire);
	if (health & POOL_NOT_UP_MASK) {
		probe = pool_health_begin_probe(slot, search->ask->now_ms);
		if (!probe) {
			count_out(search->pool, member);
			return false;
		}
	}
	*claim = (struct pool_claim){.member = (uint16_t)member, .held = true, .probe = probe};
	return true;
}

int pool_choose(struct pool *pool, const struct pool_ask *ask, struct pool_claim *claim)
{
	struct search search = {
		.pool = pool,
		.ask = ask,
		.slots = atomic_load_explicit(&pool->slot_count, memory_order_acquire),
	};
	uint64_t tried = 0;

	CHECK(!claim->held);
	if (ask->tried)
		search.out = *ask->tried;
	for (unsigned i = 0; i < ARRAY_COUNT(search.out.bits); i++)
		tried |= search.out.bits[i];
	for (; search.tier < POOL_TIERS; search.tier++) {
		int member;

		while ((member = pick(&search)) >= 0) {
			if (take(&search, (unsigned)member, claim))
				return member;
			pool_mark_tried(&search.out, (unsigned)member);
		}
		if (search.full)
			return POOL_ALL_FULL;
	}
	return tried ? POOL_ALL_TRIED : POOL_ALL_DOWN;
}

const struct addr *pool_address(const struct pool *pool, const struct pool_claim *claim)
{
	CHECK(claim->held && claim->member < pool->settings.slots);
	return &pool->slots[claim->member].address;
}

unsigned pool_group(const struct pool *pool, const struct pool_claim *claim)
{
	CHECK(claim->held && claim->member < pool->settings.slots);
	return pool->slots[claim->member].group;
}

void pool_end(struct pool *pool, struct pool_claim *claim)
{
	if (!claim->held)
		return;
	if (claim->probe)
		pool_health_abandon_probe(&pool->slots[claim->member]);
	count_out(pool, claim->member);
	*claim = (struct pool_claim){0};
}
