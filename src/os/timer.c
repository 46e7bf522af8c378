/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The wheel has TIMER_LEVELS levels of 64 slots. A slot of level n is 8^n ms
 * long, its unit. Level n has the timers with delays from 63 * 8^(n-1) ms up to 63 * 8^n ms.
 *
 * The number of a timer's slot is its expiry divided by the unit, rounded up, modulo 64. Rounding
 * up means that a timer never fires early. A timer stays in its slot until the slot fires; it is
 * not moved to a finer level. Modulo 64 is enough, because a level only has delays of less than 63
 * units, so two timers of different rounds are never in the same slot.
 */
#include "os/timer.h"

#include <string.h>
#include <time.h>

#include "base/check.h"

#define LEVEL_SHIFT	3
#define NOT_IN_A_BUCKET UINT16_MAX

static unsigned level_shift(unsigned level)
{
	return level * LEVEL_SHIFT;
}

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms)
{
	memset(wheel, 0, sizeof(*wheel));
	wheel->now_ms = now_ms;
}

static unsigned level_for(uint64_t delay_ms)
{
	unsigned level = 0;

	while (delay_ms >= (uint64_t)(TIMER_LEVEL_SLOTS - 1) << level_shift(level))
		level++;
	CHECK(level < TIMER_LEVELS);
	return level;
}

static void push(struct timer **list, struct timer *timer)
{
	timer->next = *list;
	timer->link = list;
	if (timer->next)
		timer->next->link = &timer->next;
	*list = timer;
}

void timer_arm(struct timer_wheel *wheel, struct timer *timer, uint64_t delay_ms)
{
	unsigned level, shift, slot;

	timer_cancel(wheel, timer);
	/* at least 1 ms: the slot of the present has fired already */
	delay_ms = MIN(MAX(delay_ms, 1), TIMER_DELAY_LIMIT_MS);
	level = level_for(delay_ms);
	shift = level_shift(level);
	timer->expires_ms = wheel->now_ms + delay_ms;
	slot = ((timer->expires_ms + (1ULL << shift) - 1) >> shift) % TIMER_LEVEL_SLOTS;
	timer->bucket = (uint16_t)(level * TIMER_LEVEL_SLOTS + slot);
	push(&wheel->buckets[timer->bucket], timer);
	wheel->occupied[level] |= 1ULL << slot;
}

bool timer_is_armed(const struct timer *timer)
{
	return timer->link;
}

void timer_cancel(struct timer_wheel *wheel, struct timer *timer)
{
	if (!timer->link)
		return;
	*timer->link = timer->next;
	if (timer->next)
		timer->next->link = timer->link;
	timer->link = NULL;
	timer->next = NULL;
	if (timer->bucket != NOT_IN_A_BUCKET && !wheel->buckets[timer->bucket])
		wheel->occupied[timer->bucket / TIMER_LEVEL_SLOTS] &=
			~(1ULL << timer->bucket % TIMER_LEVEL_SLOTS);
}

/* The time at which the level's next occupied slot fires; UINT64_MAX: the level is empty. */
static uint64_t next_of_level(const struct timer_wheel *wheel, unsigned level)
{
	uint64_t occupied = wheel->occupied[level];
	uint64_t position = (wheel->now_ms >> level_shift(level)) + 1;
	unsigned first = position % TIMER_LEVEL_SLOTS;

	if (!occupied)
		return UINT64_MAX;
	if (first)
		occupied = occupied >> first | occupied << (TIMER_LEVEL_SLOTS - first);
	return (position + (unsigned)__builtin_ctzll(occupied)) << level_shift(level);
}

static uint64_t next_firing_ms(const struct timer_wheel *wheel)
{
	uint64_t next = UINT64_MAX;

	for (unsigned level = 0; level < TIMER_LEVELS; level++) {
		uint64_t of_level = next_of_level(wheel, level);

		next = MIN(next, of_level);
	}
	return next;
}

/* Moves the timers whose slots fire at the wheel's present to the due list. */
static void fire_present(struct timer_wheel *wheel)
{
	for (unsigned level = 0; level < TIMER_LEVELS; level++) {
		uint64_t unit_ms = 1ULL << level_shift(level);
		unsigned slot = (wheel->now_ms >> level_shift(level)) % TIMER_LEVEL_SLOTS;
		struct timer **bucket = &wheel->buckets[level * TIMER_LEVEL_SLOTS + slot];

		if (wheel->now_ms % unit_ms)
			return; /* then no slot of a coarser level fires now */
		while (*bucket) {
			struct timer *timer = *bucket;

			timer_cancel(wheel, timer);
			timer->bucket = NOT_IN_A_BUCKET;
			push(&wheel->due, timer);
		}
	}
}

void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms)
{
	CHECK(now_ms >= wheel->now_ms);
	while (wheel->now_ms < now_ms) {
		wheel->now_ms = MIN(next_firing_ms(wheel), now_ms);
		fire_present(wheel);
	}
}

struct timer *timer_wheel_pop(struct timer_wheel *wheel, uint64_t now_ms)
{
	struct timer *timer;

	timer_wheel_advance(wheel, now_ms);
	timer = wheel->due;
	if (timer)
		timer_cancel(wheel, timer);
	return timer;
}

int64_t timer_wheel_delay_ms(const struct timer_wheel *wheel)
{
	uint64_t next = next_firing_ms(wheel);

	if (wheel->due)
		return 0;
	return next == UINT64_MAX ? -1 : (int64_t)(next - wheel->now_ms);
}

uint64_t timer_now_us(void)
{
	struct timespec now;
	int failed = clock_gettime(CLOCK_MONOTONIC, &now);

	CHECK(!failed); /* fails only for a clock that does not exist */
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t timer_now_ms(void)
{
	return timer_now_us() / 1000;
}
