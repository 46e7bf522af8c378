/* SPDX-License-Identifier: MIT */
#include "limits/pacer.h"

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(pacer, .fini = support_check_leaks);

#define US_PER_S 1000000ULL

Test(pacer, rates)
{
	static const struct {
		uint64_t bytes_per_s, burst_bytes;
		uint64_t share_bytes, share_least_bytes, burst;
	} rows[] = {
		{1000, 0, 1460, 1460, 2920},
		{1000, 100000, 1460, 1460, 100000},
		{1000, 100, 1460, 1460, 2920},
		{1000000, 0, 10000, 1460, 125000},
		{1000000, 1, 10000, 1460, 20000},
		{125000000, 0, 1250000, 15258, 15625000},
		{PACER_RATE_MOST, 0, 1000000000, 12207031, 12500000000},
		{PACER_RATE_MOST, PACER_BURST_MOST, 1000000000, 12207031, PACER_BURST_MOST},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct pacer_rate rate;

		pacer_rate_init(&rate, rows[i].bytes_per_s, rows[i].burst_bytes);
		cr_expect_eq(rate.bytes_per_s, rows[i].bytes_per_s);
		cr_expect_eq(rate.share_bytes, rows[i].share_bytes, "row %zu", i);
		cr_expect_eq(rate.share_least_bytes, rows[i].share_least_bytes, "row %zu", i);
		cr_expect_eq(rate.burst_bytes, rows[i].burst, "row %zu", i);
	}
}

/* One step after the other, at a MB per second: a byte per microsecond; burst 125,000. */
Test(pacer, steps)
{
	enum { TAKE, GIVE, LEAVE };
	static const struct {
		int step;
		uint64_t at_us;
		uint64_t bytes;
		uint64_t granted;
		uint64_t wait_us; /* afterwards */
	} rows[] = {
		{TAKE, 0, 100000, 100000, 0}, /* the bucket is full */
		{TAKE, 0, 65536, 25000, 0},   /* all that is saved, if as much as a share */
		{TAKE, 0, 65536, 0, 10000},   /* a share is given */
		{TAKE, 4000, 65536, 0, 6000},
		{TAKE, 9999, 1, 0, 1},
		{TAKE, 10000, 7000, 7000, 0}, /* a share is taken in pieces */
		{TAKE, 10000, 65536, 3000, 0},
		{TAKE, 10000, 100, 0, 10000}, /* the wait for few bytes is as long */
		{TAKE, 20000, 100, 100, 0},
		{LEAVE, 20000, 0, 0, 0},
		{TAKE, 20000, 100, 100, 0},
		{TAKE, 20000, 9800, 9800, 0},  /* all that is wanted, though less than a share */
		{TAKE, 26000, 65536, 0, 5000}, /* 6,000 of 10,000 are saved; no wait is shorter */
		{LEAVE, 26000, 0, 0, 0},       /* a share that is left is for all again */
		{TAKE, 26000, 6000, 6000, 0},
		{GIVE, 26000, 4000, 0, 0},
		{TAKE, 26000, 65536, 4000, 0},
		{TAKE, 1000000, 500000, 125000, 0}, /* no more than the burst is saved */
		{TAKE, 1000000, 500000, 0, 10000},
		{TAKE, 5000000, 500000, 10000, 0}, /* late */
		{TAKE, 5000000, 500000, 125000, 0},
		{TAKE, 5000000, 500000, 0, 10000},
	};
	struct pacer_share share = {0};
	struct pacer_rate rate;
	struct pacer pacer;

	pacer_rate_init(&rate, 1000000, 0);
	pacer_init(&pacer, &rate, 0);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		uint64_t granted = 0;

		if (rows[i].step == TAKE)
			granted = pacer_take(&pacer, &share, rows[i].bytes, rows[i].at_us);
		else if (rows[i].step == GIVE)
			pacer_give_back(&share, rows[i].bytes);
		else
			pacer_leave(&pacer, &share);
		cr_assert_eq(granted, rows[i].granted, "row %zu: %d", i, (int)granted);
		cr_assert_eq(pacer_wait_us(&share, rows[i].at_us), rows[i].wait_us, "row %zu: %d",
			     i, (int)pacer_wait_us(&share, rows[i].at_us));
	}
}

/* One lane's share is due; another lane that comes then gets a share, too. */
Test(pacer, no_waiting_lane_is_overtaken)
{
	struct pacer_share first = {0}, second = {0};
	struct pacer_rate rate;
	struct pacer pacer;

	pacer_rate_init(&rate, 1000000, 0);
	pacer_init(&pacer, &rate, 0);
	cr_expect_eq(pacer_take(&pacer, &second, 125000, 0), 125000);
	cr_expect_eq(pacer_take(&pacer, &first, 50000, 0), 0);
	cr_expect_eq(pacer_take(&pacer, &second, 20000, 30000), 0);
	cr_expect_eq(pacer_wait_us(&second, 30000), PACER_WAIT_LEAST_US);
	cr_expect_eq(pacer_take(&pacer, &first, 50000, 30000), 10000);
	cr_expect_eq(pacer_take(&pacer, &second, 20000, 35000), 10000);
}

/* Simulations ---------------------------------------------------------------------------------- */

#define LANE_LIMIT 1000

struct lane {
	struct pacer_share share;
	struct pacer own; /* where the simulation has an `own_rate` */
	struct pacer_share own_share;
	uint64_t wake_us;
	uint64_t moved_bytes;
	uint64_t wakes;
};

/* Lanes that are always hungry, run in the same order at every tick. */
struct simulation {
	struct pacer_rate rate, own_rate;
	struct pacer pacer;
	bool paces_own;
	uint64_t start_us;
	uint64_t want_bytes;
	uint64_t late_us; /* a timer is late by up to this */
	uint64_t state;
	unsigned lane_count;
	struct lane lanes[LANE_LIMIT];
};

static struct simulation *simulation_of(uint64_t bytes_per_s, unsigned lanes, uint64_t want_bytes)
{
	struct simulation *simulation = calloc(1, sizeof(*simulation));

	cr_assert(simulation && lanes <= LANE_LIMIT);
	simulation->start_us = 86400 * 365 * US_PER_S + 123457;
	simulation->want_bytes = want_bytes;
	simulation->lane_count = lanes;
	simulation->late_us = 1300;
	pacer_rate_init(&simulation->rate, bytes_per_s, 0);
	pacer_init(&simulation->pacer, &simulation->rate, simulation->start_us);
	return simulation;
}

/* Takes from one pacer or two, as the header says. */
static uint64_t lane_take(struct simulation *simulation, struct lane *lane, uint64_t now_us)
{
	uint64_t want = simulation->want_bytes, granted;

	if (simulation->paces_own) {
		want = pacer_take(&lane->own, &lane->own_share, want, now_us);
		if (!want)
			return 0;
	}
	granted = pacer_take(&simulation->pacer, &lane->share, want, now_us);
	if (simulation->paces_own)
		pacer_give_back(&lane->own_share, want - granted);
	return granted;
}

static void run_lane(struct simulation *simulation, struct lane *lane, uint64_t now_us)
{
	uint64_t granted, wait_us;

	lane->wakes++;
	while ((granted = lane_take(simulation, lane, now_us)))
		lane->moved_bytes += granted;
	wait_us = pacer_wait_us(&lane->share, now_us);
	if (!wait_us)
		wait_us = pacer_wait_us(&lane->own_share, now_us);
	cr_assert_gt(wait_us, 0);
	/* the timer: whole milliseconds, and late */
	lane->wake_us = now_us + (wait_us + 999) / 1000 * 1000 +
			support_random(&simulation->state) % (simulation->late_us + 1);
}

/* Ticks of a millisecond, in each of which the lanes that are due run. */
static void run(struct simulation *simulation, uint64_t from_us, uint64_t to_us)
{
	for (uint64_t at_us = from_us; at_us < to_us; at_us += 1000)
		for (unsigned i = 0; i < simulation->lane_count; i++)
			if (simulation->lanes[i].wake_us <= simulation->start_us + at_us)
				run_lane(simulation, &simulation->lanes[i],
					 simulation->start_us + at_us);
}

static uint64_t moved(const struct simulation *simulation)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < simulation->lane_count; i++)
		sum += simulation->lanes[i].moved_bytes;
	return sum;
}

static uint64_t elapsed_bytes(const struct simulation *simulation, uint64_t time_us)
{
	return (uint64_t)((unsigned __int128)simulation->rate.bytes_per_s * time_us / US_PER_S);
}

/* All of the rate, and nothing beyond it but the burst. */
static void check_total(const struct simulation *simulation, uint64_t time_us)
{
	uint64_t sum = moved(simulation), due = elapsed_bytes(simulation, time_us);

	cr_expect_leq(sum, due + simulation->rate.burst_bytes + 1);
	cr_expect_geq(sum, due, "%llu/s, %u lanes: %llu of %llu",
		      (unsigned long long)simulation->rate.bytes_per_s, simulation->lane_count,
		      (unsigned long long)sum, (unsigned long long)due);
}

Test(pacer, a_lane_alone_gets_the_rate_exactly)
{
	static const struct {
		uint64_t bytes_per_s;
		uint64_t want_bytes;
		unsigned seconds;
	} rows[] = {
		{1000, 65536, 3000},
		{1001, 100, 3000},
		{33333, 65536, 1000},
		{146000, 4096, 300},
		{1000000, 65536, 1000}, /* 1 GB */
		{12345679, 65536, 81},	/* 1 GB */
		{125000000, 1048576, 30},
		{125000000, 65536, 8},
		{10000000000ULL, 1048576, 2},
		{PACER_RATE_MOST, 67108864, 2},
		{PACER_RATE_MOST, 67108864, 100},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct simulation *simulation =
			simulation_of(rows[i].bytes_per_s, 1, rows[i].want_bytes);
		uint64_t time_us = rows[i].seconds * US_PER_S;

		run(simulation, 0, time_us + 1000);
		check_total(simulation, time_us);
		cr_expect_leq(simulation->lanes[0].wakes, 110 * rows[i].seconds + 2,
			      "%d wakes in %u s", (int)simulation->lanes[0].wakes, rows[i].seconds);
		free(simulation);
	}
}

Test(pacer, lanes_share_alike)
{
	static const struct {
		uint64_t bytes_per_s;
		uint64_t want_bytes;
		unsigned lanes;
		unsigned seconds;
	} rows[] = {
		{1000000, 65536, 2, 60},	{1000000, 65536, 3, 60},
		{1000000, 1000, 10, 60},	{1000000, 65536, 100, 120},
		{1000000, 65536, 1000, 300},	{125000000, 65536, 2, 20},
		{125000000, 1048576, 2, 20},	{125000000, 65536, 10, 20},
		{125000000, 1048576, 1000, 20}, {10000000000ULL, 1048576, 7, 5},
		{20000, 65536, 5, 600},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct simulation *simulation =
			simulation_of(rows[i].bytes_per_s, rows[i].lanes, rows[i].want_bytes);
		uint64_t time_us = rows[i].seconds * US_PER_S, wakes = 0;
		uint64_t least = UINT64_MAX, most = 0, begun[LANE_LIMIT];

		/* the burst goes to the first lane: the first second does not count */
		run(simulation, 0, US_PER_S);
		for (unsigned j = 0; j < rows[i].lanes; j++)
			begun[j] = simulation->lanes[j].moved_bytes;
		run(simulation, US_PER_S, time_us + 1000);
		check_total(simulation, time_us);
		for (unsigned j = 0; j < rows[i].lanes; j++) {
			const struct lane *lane = &simulation->lanes[j];

			least = MIN(least, lane->moved_bytes - begun[j]);
			most = MAX(most, lane->moved_bytes - begun[j]);
			wakes += lane->wakes;
			cr_expect_leq(lane->wakes, 200 * rows[i].seconds + 2, "row %zu", i);
		}
		cr_expect_geq(least * 100, most * 90, "row %zu: %llu to %llu", i,
			      (unsigned long long)least, (unsigned long long)most);
		cr_expect_leq(wakes,
			      PACER_SHARES_PER_SECOND * (rows[i].seconds + 1) + rows[i].lanes,
			      "row %zu", i);
		free(simulation);
	}
}

/* A lane that comes late gets its part at once, and waits no longer than the others. */
Test(pacer, a_newcomer_is_served_in_order)
{
	struct simulation *simulation = simulation_of(10000000, 21, 65536);
	struct lane *last = &simulation->lanes[20];
	uint64_t others;

	last->wake_us = simulation->start_us + 5 * US_PER_S;
	run(simulation, 0, 5 * US_PER_S + 20000);
	cr_expect_gt(last->moved_bytes, 0);
	others = moved(simulation) - last->moved_bytes;
	run(simulation, 5 * US_PER_S + 20000, 6 * US_PER_S + 20000);
	others = moved(simulation) - last->moved_bytes - others;
	cr_expect_geq(last->moved_bytes * 20 * 100, others * 85, "%llu of %llu",
		      (unsigned long long)last->moved_bytes, (unsigned long long)others);
	free(simulation);
}

/* A lane that does not take its share holds up no other lane. */
Test(pacer, a_share_that_no_lane_takes)
{
	static const unsigned counts[] = {1, 3};

	for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
		struct simulation *simulation = simulation_of(1000000, counts[i], 65536);
		struct pacer_share forgotten[2] = {{0}};
		uint64_t before;

		run(simulation, 0, US_PER_S);
		for (unsigned j = 0; j < 2; j++)
			cr_assert_eq(pacer_take(&simulation->pacer, &forgotten[j], 65536,
						simulation->start_us + US_PER_S),
				     0);
		before = moved(simulation);
		run(simulation, US_PER_S, 61 * US_PER_S);
		cr_expect_geq((moved(simulation) - before) * 1000, 60000000 * 995ULL, "%llu",
			      (unsigned long long)(moved(simulation) - before));
		cr_expect_leq(moved(simulation), elapsed_bytes(simulation, 61 * US_PER_S) +
							 simulation->rate.burst_bytes);
		free(simulation);
	}
}

/* A lane's own limit and the shared one: the lower one holds, and others get the rest. */
Test(pacer, two_pacers_in_a_row)
{
	static const struct {
		uint64_t shared_per_s;
		uint64_t own_per_s;
		unsigned lanes;
		uint64_t lane_per_s; /* what each lane gets */
	} rows[] = {
		{1000000, 100000, 5, 100000},	    {1000000, 100000, 20, 50000},
		{1000000, 1000000, 4, 250000},	    {100000000, 1000000, 10, 1000000},
		{100000000, 50000000, 4, 25000000},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct simulation *simulation =
			simulation_of(rows[i].shared_per_s, rows[i].lanes, 65536);

		simulation->paces_own = true;
		pacer_rate_init(&simulation->own_rate, rows[i].own_per_s, 0);
		for (unsigned j = 0; j < rows[i].lanes; j++)
			pacer_init(&simulation->lanes[j].own, &simulation->own_rate,
				   simulation->start_us);
		run(simulation, 0, US_PER_S);
		for (unsigned j = 0; j < rows[i].lanes; j++)
			simulation->lanes[j].moved_bytes = simulation->lanes[j].wakes = 0;
		run(simulation, US_PER_S, 41 * US_PER_S);
		for (unsigned j = 0; j < rows[i].lanes; j++) {
			uint64_t per_s = simulation->lanes[j].moved_bytes / 40;

			cr_expect(per_s * 100 >= rows[i].lane_per_s * 97 &&
					  per_s * 100 <= rows[i].lane_per_s * 103,
				  "row %zu, lane %u: %d/s", i, j, (int)per_s);
			cr_expect_leq(simulation->lanes[j].wakes, 200 * 40, "row %zu: %d", i,
				      (int)simulation->lanes[j].wakes);
		}
		free(simulation);
	}
}

/* Against naive models ------------------------------------------------------------------------- */

/* A lane that keeps no share: a bucket of bytes. At 7 bytes per microsecond nothing is rounded. */
Test(pacer, as_a_bucket)
{
	const uint64_t per_us = 7;
	uint64_t state = 1, now_us = 999, tokens;
	struct pacer_share share = {0};
	struct pacer_rate rate;
	struct pacer pacer;
	unsigned refused = 0;

	pacer_rate_init(&rate, per_us * US_PER_S, 200000);
	pacer_init(&pacer, &rate, now_us);
	tokens = rate.burst_bytes;
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t pause_us = support_random(&state) % (i % 100 ? 5000 : 200000);
		uint64_t want = 1 + support_random(&state) % 100000, expected = 0, unused;

		now_us += pause_us;
		tokens = MIN(rate.burst_bytes, tokens + pause_us * per_us);
		if (tokens >= MIN(want, rate.share_bytes))
			expected = MIN(want, tokens);
		cr_assert_eq(pacer_take(&pacer, &share, want, now_us), expected, "step %u", i);
		refused += !expected;
		unused = expected ? support_random(&state) % (expected + 1) : 0;
		if (unused)
			pacer_give_back(&share, unused);
		pacer_leave(&pacer, &share);
		tokens -= expected - unused;
	}
	cr_expect_gt(refused, 10000);
	cr_expect_eq(pacer.waiting, 0);
}

/* Whatever lanes do, no more is granted than the clock allows. */
Test(pacer, never_more_than_the_rate)
{
	static const uint64_t rates[] = {1000, 54321, 1000000, 999999937, PACER_RATE_MOST};
	uint64_t state = 1;

	for (size_t i = 0; i < ARRAY_COUNT(rates); i++) {
		struct simulation *simulation = simulation_of(rates[i], 8, 0);
		uint64_t time_us = 0, now_us, sum = 0;
		struct pacer_share none = {0};

		for (unsigned step = 0; step < 100000; step++) {
			struct lane *lane = &simulation->lanes[support_random(&state) % 8];
			uint64_t want = 1 + support_random(&state) % (rates[i] / 50 + 1), got;

			time_us += support_random(&state) % (step % 1000 ? 4000 : 4000000);
			/* some lanes come to the microsecond */
			if (support_random(&state) % 2)
				time_us +=
					pacer_wait_us(&lane->share, simulation->start_us + time_us);
			now_us = simulation->start_us + time_us;
			if (support_random(&state) % 8 == 0) {
				pacer_leave(&simulation->pacer, &lane->share);
				continue;
			}
			got = pacer_take(&simulation->pacer, &lane->share, want, now_us);
			cr_assert(got <= want && !got == !!pacer_wait_us(&lane->share, now_us));
			if (got && support_random(&state) % 4 == 0) {
				pacer_give_back(&lane->share, got / 2 + 1);
				got -= got / 2 + 1;
			}
			sum += got;
			cr_assert_leq(sum, elapsed_bytes(simulation, time_us) +
						   simulation->rate.burst_bytes + 1);
		}
		/* nothing is lost either: after all have left, the bucket is full again in time */
		for (unsigned j = 0; j < 8; j++)
			pacer_leave(&simulation->pacer, &simulation->lanes[j].share);
		cr_expect_eq(simulation->pacer.waiting, 0);
		cr_expect_eq(pacer_take(&simulation->pacer, &none, UINT64_MAX,
					simulation->start_us + time_us + 10 * US_PER_S),
			     simulation->rate.burst_bytes);
		free(simulation);
	}
}

/* Misuse --------------------------------------------------------------------------------------- */

static void init_rate(void *bytes_per_s)
{
	struct pacer_rate rate;

	pacer_rate_init(&rate, *(uint64_t *)bytes_per_s, 0);
}

Test(pacer, misuse_aborts)
{
	static uint64_t rates[] = {0, PACER_RATE_LEAST - 1, PACER_RATE_MOST + 1};

	for (size_t i = 0; i < ARRAY_COUNT(rates); i++)
		cr_expect(support_aborts(init_rate, &rates[i]));
}
