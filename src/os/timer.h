/* SPDX-License-Identifier: MIT */
/*
 * A timer wheel for one worker. Arming and cancelling take the same time however many timers there
 * are.
 *
 * Times are milliseconds of CLOCK_MONOTONIC. A timer never fires early. It may fire late by less
 * than 8/63 of its delay, because distant timers have coarser slots: 8 ms for delays from 63 ms, 64
 * ms for delays from half a second, and so on. Longer delays than TIMER_DELAY_LIMIT_MS become that.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TIMER_LEVELS	     9
#define TIMER_LEVEL_SLOTS    64
#define TIMER_DELAY_LIMIT_MS (62ULL << (3 * (TIMER_LEVELS - 1))) /* twelve days */

/* A member of the object that it belongs to. A zeroed timer is not armed. */
struct timer {
	struct timer *next;
	struct timer **link; /* the pointer to this timer; NULL: not armed */
	uint64_t expires_ms;
	uint16_t bucket;
	uint16_t kind; /* for the owner: the type of object that the timer is a member of */
};

struct timer_wheel {
	uint64_t now_ms; /* the wheel's present: all slots up to this time have fired */
	uint64_t occupied[TIMER_LEVELS];
	struct timer *buckets[TIMER_LEVELS * TIMER_LEVEL_SLOTS];
	struct timer *due;
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms);

/* Arms or re-arms `timer` to fire `delay_ms` after the wheel's present. */
void timer_arm(struct timer_wheel *wheel, struct timer *timer, uint64_t delay_ms);

/* Does nothing if the timer is not armed. */
void timer_cancel(struct timer_wheel *wheel, struct timer *timer);
bool timer_is_armed(const struct timer *timer);

/*
 * Moves the wheel's present to `now_ms`. Timers that are due by then are not popped yet, and can
 * still be cancelled.
 */
void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms);

/*
 * Advances the wheel to `now_ms`, then removes one timer that is due and returns it, or NULL if
 * there is none. Call until NULL; timers may be armed and cancelled in between.
 */
struct timer *timer_wheel_pop(struct timer_wheel *wheel, uint64_t now_ms);

/*
 * Milliseconds from the wheel's present to the next slot that fires; negative: no timer is armed.
 */
int64_t timer_wheel_delay_ms(const struct timer_wheel *wheel);

/* CLOCK_MONOTONIC, clock_gettime(2), in milliseconds and in microseconds. */
uint64_t timer_now_ms(void);
uint64_t timer_now_us(void);
