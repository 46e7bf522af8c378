/* SPDX-License-Identifier: MIT */
#include "base/check.h"
#include "pool/pool_slots.h"

#define FAILS_SHIFT  40
#define STREAK_SHIFT 50
#define PHASE_SHIFT  58
#define OFF_SHIFT    60

struct pool_health pool_health_unpack(uint64_t word)
{
	return (struct pool_health){
		.time_ms = word & POOL_TIME_MASK,
		.fails = word >> FAILS_SHIFT & 0x3ff,
		.streak = word >> STREAK_SHIFT & 0xff,
		.phase = (enum pool_phase)(word >> PHASE_SHIFT & 3),
		.off = word >> OFF_SHIFT & 1,
	};
}

static uint64_t pack(const struct pool_health *health)
{
	return (health->time_ms & POOL_TIME_MASK) | (uint64_t)health->fails << FAILS_SHIFT |
	       (uint64_t)health->streak << STREAK_SHIFT | (uint64_t)health->phase << PHASE_SHIFT |
	       (uint64_t)health->off << OFF_SHIFT;
}

uint64_t pool_health_initial(const struct pool_settings *settings, bool off)
{
	struct pool_health health = {
		.phase = POOL_PHASE_UP,
		.streak = settings->fall ? settings->fall - 1 : 0,
		.off = off,
	};

	return pack(&health);
}

static struct pool_slot *slot_of(struct pool *pool, unsigned member)
{
	CHECK(member < pool->settings.slots);
	return &pool->slots[member];
}

/*
 * Replaces `*word` by `to`, and stores in `change` what that changed. False when another thread was
 * faster; then `*word` is that thread's word.
 */
static bool swap_health(struct pool_slot *slot, uint64_t *word, const struct pool_health *to,
			uint64_t now_ms, enum pool_change *change)
{
	uint64_t next = pack(to);
	bool was_up = !(*word & POOL_NOT_UP_MASK);
	bool is_up = !(next & POOL_NOT_UP_MASK);

	/* before another thread can see the member up, so that it has no moment of full weight */
	if (is_up && !was_up)
		atomic_store_explicit(&slot->ramp_from_ms, now_ms, memory_order_relaxed);
	if (!atomic_compare_exchange_weak_explicit(&slot->health, word, next, memory_order_acq_rel,
						   memory_order_acquire))
		return false;
	if (was_up == is_up)
		return true;
	if (!is_up)
		atomic_fetch_add_explicit(&slot->down_count, 1, memory_order_relaxed);
	*change = is_up ? POOL_CAME_UP : POOL_WENT_DOWN;
	return true;
}

bool pool_health_is_checked(const struct pool *pool, const struct pool_slot *slot)
{
	return pool->settings.rise && !atomic_load_explicit(&slot->unchecked, memory_order_relaxed);
}

static void take_down(const struct pool *pool, const struct pool_slot *slot,
		      struct pool_health *health, uint64_t now_ms)
{
	health->phase = POOL_PHASE_DOWN;
	health->streak = 0;
	health->time_ms = pool_health_is_checked(pool, slot)
				  ? POOL_TIME_MASK
				  : now_ms + pool->settings.fail_timeout_ms;
}

static void bring_up(struct pool_health *health)
{
	health->phase = POOL_PHASE_UP;
	health->fails = 0;
	health->streak = 0;
	health->time_ms = 0;
}

/* Counts one more failure of a member that is up. */
static void count_failure(const struct pool *pool, const struct pool_slot *slot,
			  struct pool_health *health, uint64_t now_ms)
{
	const struct pool_settings *settings = &pool->settings;
	unsigned max_fails = atomic_load_explicit(&pool->max_fails, memory_order_relaxed);

	if (!health->fails || now_ms >= health->time_ms + settings->fail_timeout_ms) {
		health->fails = 0;
		health->time_ms = now_ms;
	}
	/* 0: pool_set_max_fails() has just set it */
	if (++health->fails >= max_fails && max_fails)
		take_down(pool, slot, health, now_ms);
}

/* Remembers the last result. Every connect comes here, so only a change is written. */
static void note_answer(struct pool_slot *slot, bool failed)
{
	if (atomic_load_explicit(&slot->failing, memory_order_relaxed) != failed)
		atomic_store_explicit(&slot->failing, failed, memory_order_relaxed);
}

enum pool_change pool_failed(struct pool *pool, struct pool_claim *claim, uint64_t now_ms)
{
	struct pool_slot *slot = slot_of(pool, claim->member);
	uint64_t word = atomic_load_explicit(&slot->health, memory_order_acquire);
	enum pool_change change = POOL_UNCHANGED;
	struct pool_health health;

	CHECK(claim->held);
	atomic_fetch_add_explicit(&slot->failed_count, 1, memory_order_relaxed);
	note_answer(slot, true);
	/* a failed probe counts even so, or the next probe would be due at once */
	if (!atomic_load_explicit(&pool->max_fails, memory_order_relaxed) && !claim->probe)
		return POOL_UNCHANGED;
	do {
		health = pool_health_unpack(word);
		if (claim->probe) {
			CHECK(health.phase == POOL_PHASE_PROBING);
			take_down(pool, slot, &health, now_ms);
		} else if (health.phase == POOL_PHASE_UP && !health.off) {
			count_failure(pool, slot, &health, now_ms);
		} else {
			return POOL_UNCHANGED;
		}
	} while (!swap_health(slot, &word, &health, now_ms, &change));
	claim->probe = false;
	return change;
}

enum pool_change pool_succeeded(struct pool *pool, struct pool_claim *claim, uint64_t now_ms)
{
	struct pool_slot *slot = slot_of(pool, claim->member);
	enum pool_change change = POOL_UNCHANGED;
	struct pool_health health;
	uint64_t word;

	CHECK(claim->held);
	note_answer(slot, false);
	if (!claim->probe)
		return POOL_UNCHANGED;
	word = atomic_load_explicit(&slot->health, memory_order_acquire);
	do {
		health = pool_health_unpack(word);
		CHECK(health.phase == POOL_PHASE_PROBING);
		/* of a member that is off by now: the next probe tells of the change */
		if (health.off)
			health.phase = POOL_PHASE_DOWN;
		else
			bring_up(&health);
	} while (!swap_health(slot, &word, &health, now_ms, &change));
	claim->probe = false;
	return change;
}

enum pool_change pool_check_result(struct pool *pool, unsigned member, uint32_t generation, bool ok,
				   uint64_t now_ms)
{
	struct pool_slot *slot = slot_of(pool, member);
	uint64_t word = atomic_load_explicit(&slot->health, memory_order_acquire);
	enum pool_change change = POOL_UNCHANGED;
	struct pool_health health;

	CHECK(pool->settings.rise);
	if (atomic_load_explicit(&slot->generation, memory_order_acquire) != generation)
		return POOL_UNCHANGED;
	note_answer(slot, !ok);
	do {
		if (atomic_load_explicit(&slot->generation, memory_order_acquire) != generation)
			return POOL_UNCHANGED;
		health = pool_health_unpack(word);
		if (health.off)
			return POOL_UNCHANGED;
		if (ok == (health.phase == POOL_PHASE_UP)) {
			if (!health.streak)
				return POOL_UNCHANGED;
			health.streak = 0;
		} else if (++health.streak >= (ok ? pool->settings.rise : pool->settings.fall)) {
			if (ok)
				bring_up(&health);
			else
				take_down(pool, slot, &health, now_ms);
		}
	} while (!swap_health(slot, &word, &health, now_ms, &change));
	return change;
}

bool pool_health_begin_probe(struct pool_slot *slot, uint64_t now_ms)
{
	uint64_t word = atomic_load_explicit(&slot->health, memory_order_acquire);
	enum pool_change change = POOL_UNCHANGED;
	struct pool_health health;

	do {
		health = pool_health_unpack(word);
		if (health.off || health.phase != POOL_PHASE_DOWN || health.time_ms > now_ms)
			return false;
		health.phase = POOL_PHASE_PROBING;
	} while (!swap_health(slot, &word, &health, now_ms, &change));
	return true;
}

void pool_health_abandon_probe(struct pool_slot *slot)
{
	uint64_t word = atomic_load_explicit(&slot->health, memory_order_acquire);
	enum pool_change change = POOL_UNCHANGED;
	struct pool_health health;

	do {
		health = pool_health_unpack(word);
		CHECK(health.phase == POOL_PHASE_PROBING);
		health.phase = POOL_PHASE_DOWN; /* `time_ms` is past: the next probe is due */
	} while (!swap_health(slot, &word, &health, 0, &change));
}

void pool_set_order(struct pool *pool, unsigned member, enum pool_order order, uint64_t now_ms)
{
	struct pool_slot *slot = slot_of(pool, member);
	uint64_t word = atomic_load_explicit(&slot->health, memory_order_acquire);
	bool off = slot->configured_off || order != POOL_ORDER_NONE;
	struct pool_health health;

	atomic_store_explicit(&slot->order, order, memory_order_relaxed);
	do {
		health = pool_health_unpack(word);
		if (health.off == off)
			return;
		if (!off && health.phase == POOL_PHASE_UP) {
			bring_up(&health);
			health.streak = pool->settings.fall ? pool->settings.fall - 1 : 0;
			atomic_store_explicit(&slot->ramp_from_ms, now_ms, memory_order_relaxed);
		}
		health.off = off;
	} while (!atomic_compare_exchange_weak_explicit(
		&slot->health, &word, pack(&health), memory_order_acq_rel, memory_order_acquire));
}

bool pool_is_out(const struct pool *pool, const struct pool_claim *claim)
{
	const struct pool_slot *slot = &pool->slots[claim->member];
	struct pool_health health;

	CHECK(claim->held && claim->member < pool->settings.slots);
	switch (atomic_load_explicit(&slot->order, memory_order_relaxed)) {
	case POOL_ORDER_DOWN:
		return true;
	case POOL_ORDER_DRAIN:
		return false;
	default:
		break;
	}
	if (atomic_load_explicit(&pool->claims[claim->member], memory_order_relaxed) & POOL_CLOSED)
		return false;
	health = pool_health_unpack(atomic_load_explicit(&slot->health, memory_order_relaxed));
	return health.phase != POOL_PHASE_UP && !claim->probe;
}

uint32_t pool_ramp(const struct pool *pool, const struct pool_slot *slot, uint64_t now_ms)
{
	uint64_t length_ms = pool->settings.slow_start_ms;
	uint64_t from_ms;
	uint64_t passed_ms;

	if (!length_ms)
		return POOL_WHOLE;
	from_ms = atomic_load_explicit(&slot->ramp_from_ms, memory_order_relaxed);
	if (!from_ms)
		return POOL_WHOLE;
	/* another worker's clock may be a tick ahead of this worker's */
	passed_ms = now_ms > from_ms ? now_ms - from_ms : 0;
	if (passed_ms >= length_ms)
		return POOL_WHOLE;
	return POOL_WHOLE / 8 + (uint32_t)(passed_ms * (POOL_WHOLE - POOL_WHOLE / 8) / length_ms);
}

/* A member that is up keeps what was counted against it, but one failure more decides at least. */
static void adopt_up(const struct pool *pool, bool checked, bool was_checked,
		     struct pool_health *health)
{
	unsigned max_fails = atomic_load_explicit(&pool->max_fails, memory_order_relaxed);
	unsigned most = checked ? pool->settings.fall - 1 : 0;

	health->fails = max_fails ? MIN(health->fails, max_fails - 1) : 0;
	health->streak = checked && !was_checked ? most : MIN(health->streak, most);
}

/* A member that is down comes up as the new settings say: by checks, or by a probe. */
static void adopt_down(const struct pool *pool, bool checked, bool was_checked,
		       struct pool_health *health, uint64_t now_ms)
{
	const struct pool_settings *settings = &pool->settings;

	health->phase =
		POOL_PHASE_DOWN; /* the session that is the probe comes later: pool_hold() */
	health->fails = 0;
	health->streak = checked && was_checked ? MIN(health->streak, settings->rise - 1) : 0;
	if (checked)
		health->time_ms = POOL_TIME_MASK;
	else if (was_checked)
		health->time_ms = now_ms;
	else
		health->time_ms = MIN(health->time_ms, now_ms + settings->fail_timeout_ms);
}

void pool_health_adopt(struct pool *pool, unsigned member, struct pool_health health,
		       bool was_checked, uint64_t now_ms)
{
	struct pool_slot *slot = slot_of(pool, member);
	uint64_t word = atomic_load_explicit(&slot->health, memory_order_relaxed);
	bool checked = pool_health_is_checked(pool, slot);

	health.off = pool_health_unpack(word).off;
	/* nothing would take this member down any more */
	if (!checked && !atomic_load_explicit(&pool->max_fails, memory_order_relaxed))
		bring_up(&health);
	else if (health.phase == POOL_PHASE_UP)
		adopt_up(pool, checked, was_checked, &health);
	else
		adopt_down(pool, checked, was_checked, &health, now_ms);
	atomic_store_explicit(&slot->health, pack(&health), memory_order_release);
}
