/*
 * A timer wheel for one worker: arming and cancelling cost the same however many timers there are.
 *
 * Times are milliseconds of CLOCK_MONOTONIC. A timer never fires early; it fires late by less than
 * 8/63 of its delay, for distant timers share coarser slots (8 ms for delays from 63 ms on, 64 ms
 * from half a second on, and so on). Delays beyond TIMER_DELAY_LIMIT_MS are cut to it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TIMER_LEVELS	     9
#define TIMER_LEVEL_SLOTS    64
#define TIMER_DELAY_LIMIT_MS (62ULL << (3 * (TIMER_LEVELS - 1))) /* twelve days */

/* Lies in the object it belongs to; zeroed is "not armed". */
struct timer {
	struct timer *next;
	struct timer **link; /* what points here; NULL when not armed */
	uint64_t expires_ms;
	uint16_t bucket;
	uint16_t kind; /* the owner's, to tell what the timer lies in */
};

struct timer_wheel {
	uint64_t now_ms; /* every slot up to here has fired */
	uint64_t occupied[TIMER_LEVELS];
	struct timer *buckets[TIMER_LEVELS * TIMER_LEVEL_SLOTS];
	struct timer *due;
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms);

/* Arms or re-arms `timer` to fire `delay_ms` after the wheel's present. */
void timer_arm(struct timer_wheel *wheel, struct timer *timer, uint64_t delay_ms);

/* Harmless on a timer that is not armed. */
void timer_cancel(struct timer_wheel *wheel, struct timer *timer);
bool timer_is_armed(const struct timer *timer);

/*
 * Moves the wheel's present to `now_ms`. What is due by then can still be cancelled until it is
 * popped.
 */
void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms);

/*
 * Advances, and takes out one timer that is due, or returns NULL when none is left. Call until
 * NULL; timers may be armed and cancelled in between.
 */
struct timer *timer_wheel_pop(struct timer_wheel *wheel, uint64_t now_ms);

/* Milliseconds from the wheel's present until something may be due; negative when nothing is armed. */
int64_t timer_wheel_delay_ms(const struct timer_wheel *wheel);

/* CLOCK_MONOTONIC, clock_gettime(2), in milliseconds. */
uint64_t timer_now_ms(void);
