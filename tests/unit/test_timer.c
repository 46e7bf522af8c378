/* SPDX-License-Identifier: MIT */
#include "os/timer.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(timer, .fini = support_check_leaks);

/* Starts of the wheel: boundaries of levels and slots, and their neighbours. */
static const uint64_t starts[] = {0,   1,    7,	    8,	   62,	   63,	    64,	       505,
				  511, 4095, 32767, 32768, 999999, 1 << 24, 123456789, 1ULL << 40};

/* Delays around the boundaries of levels, and the limit. */
static const uint64_t delays[] = {
	0,
	1,
	2,
	7,
	8,
	61,
	62,
	63,
	64,
	65,
	100,
	503,
	504,
	505,
	512,
	1000,
	4031,
	4032,
	4033,
	5000,
	32255,
	32256,
	32257,
	258047,
	258048,
	258049,
	2064383,
	2064384,
	3600000,
	16515071,
	16515072,
	86400000,
	132120575,
	132120576,
	864000000,
	TIMER_DELAY_LIMIT_MS - 1,
	TIMER_DELAY_LIMIT_MS,
};

/*
 * The time at which a single timer fires if the caller sleeps as the wheel says, as a worker does.
 */
static uint64_t fire_time(uint64_t start_ms, uint64_t delay_ms)
{
	static struct timer_wheel wheel;
	struct timer timer = {0};
	uint64_t now_ms = start_ms;

	timer_wheel_init(&wheel, start_ms);
	cr_assert_lt(timer_wheel_delay_ms(&wheel), 0);
	timer_arm(&wheel, &timer, delay_ms);
	for (unsigned i = 0; i < 64; i++) {
		int64_t sleep_ms = timer_wheel_delay_ms(&wheel);

		cr_assert_gt(sleep_ms, 0, "start %" PRIu64 " delay %" PRIu64, start_ms, delay_ms);
		cr_assert_null(timer_wheel_pop(&wheel, now_ms + (uint64_t)sleep_ms - 1));
		now_ms += (uint64_t)sleep_ms;
		if (timer_wheel_pop(&wheel, now_ms) == &timer) {
			cr_assert(!timer_is_armed(&timer));
			cr_assert_lt(timer_wheel_delay_ms(&wheel), 0);
			return now_ms;
		}
	}
	cr_assert_fail("start %" PRIu64 " delay %" PRIu64 ": never fires", start_ms, delay_ms);
	return 0;
}

Test(timer, never_early)
{
	for (size_t i = 0; i < ARRAY_COUNT(starts); i++)
		for (size_t j = 0; j < ARRAY_COUNT(delays); j++)
			cr_expect_geq(fire_time(starts[i], delays[j]), starts[i] + delays[j],
				      "start %" PRIu64 " delay %" PRIu64, starts[i], delays[j]);
}

/* timer.h: "it fires late by less than 8/63 of its delay"; 0 counts as 1. */
Test(timer, late_by_less_than_eight_in_sixty_three)
{
	for (size_t i = 0; i < ARRAY_COUNT(starts); i++)
		for (size_t j = 0; j < ARRAY_COUNT(delays); j++) {
			uint64_t delay_ms = MAX(delays[j], 1);
			uint64_t late_ms = fire_time(starts[i], delay_ms) - starts[i] - delay_ms;

			cr_expect(late_ms * 63 < delay_ms * 8,
				  "start %" PRIu64 " delay %" PRIu64 ": late by %" PRIu64,
				  starts[i], delay_ms, late_ms);
		}
}

Test(timer, exact_below_the_first_coarse_level)
{
	for (uint64_t start_ms = 0; start_ms < 200; start_ms++)
		for (uint64_t delay_ms = 1; delay_ms < 63; delay_ms++)
			cr_assert_eq(fire_time(start_ms, delay_ms), start_ms + delay_ms);
}

Test(timer, longer_delays_are_cut_to_the_limit)
{
	static const uint64_t rows[] = {TIMER_DELAY_LIMIT_MS + 1, 1ULL << 40, UINT64_MAX};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		cr_expect_eq(fire_time(12345, rows[i]), fire_time(12345, TIMER_DELAY_LIMIT_MS),
			     "%" PRIu64, rows[i]);
}

Test(timer, cancelled_timers_do_not_fire)
{
	struct timer_wheel wheel;
	struct timer timers[3] = {0};

	timer_wheel_init(&wheel, 1000);
	timer_cancel(&wheel, &timers[0]); /* harmless */
	for (unsigned i = 0; i < 3; i++)
		timer_arm(&wheel, &timers[i], 50);
	timer_cancel(&wheel, &timers[1]);
	timer_cancel(&wheel, &timers[1]);
	cr_expect(!timer_is_armed(&timers[1]) && timer_is_armed(&timers[0]));
	for (unsigned i = 0; i < 2; i++)
		cr_expect_neq(timer_wheel_pop(&wheel, 1050), &timers[1]);
	cr_expect_null(timer_wheel_pop(&wheel, 1050));

	/* the last timer of a slot: no timer is left */
	timer_arm(&wheel, &timers[0], 5000);
	timer_cancel(&wheel, &timers[0]);
	cr_expect_lt(timer_wheel_delay_ms(&wheel), 0);
}

Test(timer, due_timers_can_be_cancelled_and_armed_again)
{
	struct timer_wheel wheel;
	struct timer timers[3] = {0};
	struct timer *first, *other;

	timer_wheel_init(&wheel, 0);
	for (unsigned i = 0; i < 3; i++)
		timer_arm(&wheel, &timers[i], 20);
	first = timer_wheel_pop(&wheel, 20);
	cr_assert_not_null(first);
	cr_expect_eq(timer_wheel_delay_ms(&wheel), 0, "two more are due");
	other = &timers[first == &timers[0] ? 1 : 0];
	timer_cancel(&wheel, other);
	timer_arm(&wheel, first, 10);
	cr_expect_not_null(timer_wheel_pop(&wheel, 20));
	cr_expect_null(timer_wheel_pop(&wheel, 20));
	cr_expect(!timer_is_armed(other));
	cr_expect_eq(timer_wheel_delay_ms(&wheel), 10);
	cr_expect_eq(timer_wheel_pop(&wheel, 30), first);
}

Test(timer, what_is_due_can_be_cancelled_until_it_is_popped)
{
	struct timer_wheel wheel;
	struct timer timers[2] = {0};

	timer_wheel_init(&wheel, 0);
	for (unsigned i = 0; i < 2; i++)
		timer_arm(&wheel, &timers[i], 20 + i);
	timer_wheel_advance(&wheel, 30);
	cr_expect(timer_is_armed(&timers[0]) && timer_is_armed(&timers[1]));
	timer_cancel(&wheel, &timers[0]);
	/* the present is the time of the last advance, with or without due timers */
	timer_arm(&wheel, &timers[0], 10);
	cr_expect_eq(timer_wheel_pop(&wheel, 30), &timers[1]);
	cr_expect_null(timer_wheel_pop(&wheel, 39));
	cr_expect_eq(timer_wheel_pop(&wheel, 40), &timers[0]);
}

Test(timer, arming_again_replaces)
{
	struct timer_wheel wheel;
	struct timer timer = {0};

	timer_wheel_init(&wheel, 77);
	timer_arm(&wheel, &timer, 10);
	timer_arm(&wheel, &timer, 5000);
	cr_expect_null(timer_wheel_pop(&wheel, 77 + 4999));
	timer_arm(&wheel, &timer, 3);
	cr_expect_null(timer_wheel_pop(&wheel, 77 + 5001));
	cr_expect_eq(timer_wheel_pop(&wheel, 77 + 5002), &timer);
	cr_expect_null(timer_wheel_pop(&wheel, 77 + 1000000));
}

Test(timer, a_late_look_finds_everything)
{
	struct timer_wheel wheel;
	struct timer timers[ARRAY_COUNT(delays)];
	unsigned fired = 0;

	memset(timers, 0, sizeof(timers));
	timer_wheel_init(&wheel, 999);
	for (size_t i = 0; i < ARRAY_COUNT(delays); i++)
		timer_arm(&wheel, &timers[i], delays[i]);
	while (timer_wheel_pop(&wheel, 999 + 2 * TIMER_DELAY_LIMIT_MS))
		fired++;
	cr_expect_eq(fired, ARRAY_COUNT(delays), "%u fired", fired);
}

/* Against a plain array of times --------------------------------------------------------------- */

#define MODEL_TIMERS 200

struct model {
	struct timer_wheel wheel;
	struct timer timers[MODEL_TIMERS];
	uint64_t armed_at_ms[MODEL_TIMERS];
	uint64_t delay_ms[MODEL_TIMERS]; /* 0: not armed */
	uint64_t now_ms;
	uint64_t state;
};

static void arm_or_cancel(struct model *model)
{
	unsigned i = (unsigned)(support_random(&model->state) % MODEL_TIMERS);
	uint64_t delay_ms =
		support_random(&model->state) >> (40 + support_random(&model->state) % 24);

	if (support_random(&model->state) % 4 == 0) {
		timer_cancel(&model->wheel, &model->timers[i]);
		model->delay_ms[i] = 0;
		return;
	}
	timer_arm(&model->wheel, &model->timers[i], delay_ms);
	model->armed_at_ms[i] = model->now_ms;
	model->delay_ms[i] = MAX(delay_ms, 1);
}

static void pop_all(struct model *model)
{
	struct timer *timer;

	while ((timer = timer_wheel_pop(&model->wheel, model->now_ms))) {
		size_t i = (size_t)(timer - model->timers);

		cr_assert(model->delay_ms[i], "timer %zu is not armed", i);
		cr_assert_geq(model->now_ms, model->armed_at_ms[i] + model->delay_ms[i], "early");
		model->delay_ms[i] = 0;
	}
	for (unsigned i = 0; i < MODEL_TIMERS; i++) {
		/* the coarsest slot that a delay may share is a seventh of it */
		uint64_t latest_ms = model->armed_at_ms[i] + model->delay_ms[i] * 8 / 7;

		cr_assert_eq(timer_is_armed(&model->timers[i]), model->delay_ms[i] > 0);
		cr_assert(!model->delay_ms[i] || latest_ms >= model->now_ms, "%u is overdue", i);
	}
}

Test(timer, agrees_with_an_array_of_times)
{
	struct model *model = calloc(1, sizeof(*model));

	cr_assert_not_null(model);
	model->now_ms = 1700000000123ULL;
	model->state = 42;
	timer_wheel_init(&model->wheel, model->now_ms);
	for (unsigned round = 0; round < 20000; round++) {
		int64_t sleep_ms = timer_wheel_delay_ms(&model->wheel);
		uint64_t random = support_random(&model->state);

		if (random % 8 == 0)
			model->now_ms += random >> 8 & 0xfff; /* late */
		else if (random % 8 < 5 && sleep_ms > 0)
			model->now_ms += (uint64_t)sleep_ms; /* on time */
		pop_all(model);
		arm_or_cancel(model);
	}
	free(model);
}

static void go_back(void *wheel)
{
	timer_wheel_pop(wheel, 99);
}

Test(timer, time_that_runs_backwards_is_a_programming_error)
{
	static struct timer_wheel wheel;

	timer_wheel_init(&wheel, 100);
	cr_expect(support_aborts(go_back, &wheel));
}

Test(timer, now_does_not_run_backwards)
{
	uint64_t before_ms = timer_now_ms();

	for (unsigned i = 0; i < 1000; i++) {
		uint64_t now_ms = timer_now_ms();

		cr_assert_geq(now_ms, before_ms);
		before_ms = now_ms;
	}
}
