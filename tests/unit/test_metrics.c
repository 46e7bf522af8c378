/* SPDX-License-Identifier: MIT */
#include "stats/metrics_text.h"

#include <criterion/criterion.h>
#include <pthread.h>

#include "support.h"

TestSuite(metrics, .fini = support_check_leaks);

#define ADDITIONS 200000

Test(metrics, every_counter_is_its_own)
{
	struct metrics metrics = {0};

	for (unsigned i = 0; i < METRIC_COUNT; i++)
		metrics_add(&metrics, i, 1000 + i);
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		cr_expect_eq(metrics_get(&metrics, i), 1000 + i, "%s", metrics_word(i));
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		cr_expect_eq(metrics_get_closed(&metrics, i), 0);
}

Test(metrics, every_close_reason_is_its_own)
{
	struct metrics metrics = {0};

	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		for (unsigned times = 0; times <= i; times++)
			metrics_count_close(&metrics, i);
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		cr_expect_eq(metrics_get_closed(&metrics, i), i + 1);
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		cr_expect_eq(metrics_get(&metrics, i), 0);
}

Test(metrics, gauges_go_down)
{
	struct metrics metrics = {0};

	metrics_add(&metrics, METRIC_sessions_open, 3);
	metrics_subtract(&metrics, METRIC_sessions_open, 2);
	cr_expect_eq(metrics_get(&metrics, METRIC_sessions_open), 1);
	metrics_subtract(&metrics, METRIC_sessions_open, 1);
	cr_expect_eq(metrics_get(&metrics, METRIC_sessions_open), 0);
}

/* More bytes than 32 bits hold. */
Test(metrics, counters_are_wide)
{
	struct metrics metrics = {0};

	metrics_add(&metrics, METRIC_bytes_up, UINT64_MAX - 5);
	metrics_add(&metrics, METRIC_bytes_up, 5);
	cr_expect_eq(metrics_get(&metrics, METRIC_bytes_up), UINT64_MAX);
}

Test(metrics, words_differ)
{
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		for (unsigned j = 0; j < i; j++)
			cr_expect_str_neq(metrics_word(i), metrics_word(j));
	cr_expect_str_eq(metrics_word(METRIC_bytes_up), "bytes_up");
}

static void *count(void *metrics)
{
	for (unsigned i = 0; i < ADDITIONS; i++)
		metrics_add(metrics, METRIC_connects, 1);
	return NULL;
}

/* One writer, any readers: values only grow, and none is lost. */
Test(metrics, may_be_read_while_they_change)
{
	struct metrics metrics = {0};
	pthread_t thread;
	uint64_t seen = 0;

	cr_assert(!pthread_create(&thread, NULL, count, &metrics));
	while (seen < ADDITIONS) {
		uint64_t now = metrics_get(&metrics, METRIC_connects);

		cr_assert_geq(now, seen);
		seen = now;
	}
	pthread_join(thread, NULL);
	cr_expect_eq(metrics_get(&metrics, METRIC_connects), ADDITIONS);
}

static void ask_beyond_the_list(void *unused)
{
	(void)unused;
	metrics_word(METRIC_COUNT);
}

Test(metrics, what_there_is_not_is_a_programming_error)
{
	cr_expect(support_aborts(ask_beyond_the_list, NULL));
}
