/* SPDX-License-Identifier: MIT */
#include "stats/metrics_carry.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "carry_fixture.h"
#include "support.h"

TestSuite(metrics_carry, .fini = support_check_leaks);

/* Two process's sums add up in one worker; gauges stay what they are. */
Test(metrics_carry, every_counter_goes_on)
{
	struct metrics_totals totals;
	struct metrics metrics = {0};
	enum carrier_kind kind;
	struct carry carry;

	for (unsigned i = 0; i < METRIC_COUNT; i++)
		totals.values[i] = 1000 + i;
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		totals.closed_by_reason[i] = 1ULL << i;
	metrics_add(&metrics, METRIC_sessions_open, 3);
	metrics_add(&metrics, METRIC_connects, 7);
	fixture_carry_open(&carry);
	metrics_write(&totals, carry.out);
	fixture_carry_flush(&carry);
	while (fixture_carry_next(&carry, &kind))
		cr_expect_eq(metrics_read(&metrics, carry.in, kind), 0);
	for (unsigned i = 0; i < METRIC_COUNT; i++) {
		uint64_t expected = metrics_is_counter(i) ? 1000 + i : 0;

		expected += i == METRIC_connects ? 7 : i == METRIC_sessions_open ? 3 : 0;
		cr_expect_eq(metrics_get(&metrics, i), expected, "%s", metrics_word(i));
	}
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		cr_expect_eq(metrics_get_closed(&metrics, i), 1ULL << i);
	cr_expect_not(metrics_is_counter(METRIC_sessions_open));
	cr_expect(metrics_is_counter(METRIC_connects));
	fixture_carry_close(&carry);
}

static void put(struct carrier *out, const char *word, uint64_t value)
{
	carrier_put_text(out, word);
	carrier_put(out, value);
}

/* As of a later version, or of none. */
Test(metrics_carry, words_that_are_not_known_and_records_that_break_off)
{
	struct metrics metrics = {0};
	struct carry carry;

	fixture_carry_open(&carry);
	carrier_begin(carry.out, CARRIER_COUNTERS);
	put(carry.out, "not_there", 5);
	put(carry.out, "bans", 5); /* a gauge */
	put(carry.out, "connects", 5);
	put(carry.out, "", 0);
	carrier_end(carry.out);
	carrier_begin(carry.out, CARRIER_CLOSED);
	put(carry.out, "done", 6);
	carrier_put_text(carry.out, "loop");
	carrier_end(carry.out);
	carrier_begin(carry.out, CARRIER_BAN);
	carrier_end(carry.out);
	fixture_carry_flush(&carry);
	fixture_carry_expect(&carry, CARRIER_COUNTERS);
	cr_expect_eq(metrics_read(&metrics, carry.in, CARRIER_COUNTERS), 0);
	cr_expect_eq(metrics_get(&metrics, METRIC_connects), 5);
	cr_expect_eq(metrics_get(&metrics, METRIC_bans), 0);
	fixture_carry_expect(&carry, CARRIER_CLOSED);
	cr_expect_eq(metrics_read(&metrics, carry.in, CARRIER_CLOSED), -EBADMSG);
	cr_expect_eq(metrics_get_closed(&metrics, CLOSE_done), 6);
	cr_expect_eq(metrics_get_closed(&metrics, CLOSE_loop), 0);
	fixture_carry_expect(&carry, CARRIER_BAN);
	cr_expect_eq(metrics_read(&metrics, carry.in, CARRIER_BAN), -ENOTSUP);
	fixture_carry_close(&carry);
}
