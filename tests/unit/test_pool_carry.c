/* SPDX-License-Identifier: MIT */
#include "pool/pool_carry.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "base/util.h"
#include "carry_fixture.h"
#include "pool_fixture.h"
#include "support.h"

TestSuite(pool_carry, .fini = support_check_leaks);

#define MS POOL_FIXTURE_MS

static const struct pool_settings by_traffic = {.max_fails = 3, .fail_timeout_ms = 1000};
static const struct pool_settings by_checks = {
	.max_fails = 3, .fail_timeout_ms = 1000, .rise = 3, .fall = 4};
static const struct pool_settings never_down = {.fail_timeout_ms = 1000};

static void check(struct pool *pool, unsigned member, bool ok, unsigned times)
{
	struct pool_snapshot now;

	pool_snapshot(pool, member, MS, &now);
	for (unsigned i = 0; i < times; i++)
		pool_check_result(pool, member, now.generation, ok, MS);
}

/* Carries the first member of a pool to the first member of another pool, which it makes. */
static struct pool *carry_first(const struct pool *from, struct pool_settings settings)
{
	struct pool *to = pool_fixture_make(settings, "1 1");
	struct carry carry;

	fixture_carry_open(&carry);
	carrier_begin(carry.out, CARRIER_MEMBER);
	pool_write_member(from, 0, carry.out);
	carrier_end(carry.out);
	fixture_carry_flush(&carry);
	fixture_carry_expect(&carry, CARRIER_MEMBER);
	pool_read_member(to, 0, MS, carry.in);
	cr_expect(carrier_is_whole(carry.in));
	fixture_carry_close(&carry);
	return to;
}

/* How a member gets into a state, and what it is then in a pool with other settings. */
struct row {
	const char *name;
	const struct pool_settings *before, *after;
	unsigned fails;		      /* failed sessions */
	unsigned bad, good;	      /* checks, in this order */
	enum pool_state now, later;   /* at once, and after fail_timeout_ms */
	unsigned fails_left;	      /* failed sessions until it goes down; 0: not tried */
	unsigned bad_left, good_left; /* checks until it goes down, or comes up; 0: not tried */
};

static const struct row rows[] = {
	{"new", &by_traffic, &by_traffic, 0, 0, 0, POOL_UP, POOL_UP, 3, 0, 0},
	{"failures", &by_traffic, &by_traffic, 2, 0, 0, POOL_UP, POOL_UP, 1, 0, 0},
	{"down", &by_traffic, &by_traffic, 3, 0, 0, POOL_DOWN, POOL_CHECKING, 0, 0, 0},
	{"down, then checked", &by_traffic, &by_checks, 3, 0, 0, POOL_DOWN, POOL_DOWN, 0, 0, 3},
	{"down, then never", &by_traffic, &never_down, 3, 0, 0, POOL_UP, POOL_UP, 0, 0, 0},
	{"no check yet", &by_checks, &by_checks, 0, 0, 0, POOL_UP, POOL_UP, 0, 1, 0},
	{"checked", &by_checks, &by_checks, 0, 0, 1, POOL_UP, POOL_UP, 0, 4, 0},
	{"down by checks", &by_checks, &by_checks, 0, 4, 0, POOL_DOWN, POOL_DOWN, 0, 0, 3},
	{"coming up", &by_checks, &by_checks, 0, 4, 2, POOL_CHECKING, POOL_CHECKING, 0, 0, 1},
	{"down, no checks more", &by_checks, &by_traffic, 0, 4, 0, POOL_CHECKING, POOL_CHECKING, 0,
	 0, 0},
	{"checks are new", &by_traffic, &by_checks, 0, 0, 0, POOL_UP, POOL_UP, 3, 0, 0},
};

static unsigned checks_until_change(struct pool *pool, bool ok)
{
	enum pool_state before = pool_fixture_state(pool, 0, MS);
	unsigned count = 0;

	do {
		check(pool, 0, ok, 1);
		count++;
	} while ((pool_fixture_state(pool, 0, MS) == POOL_UP) == (before == POOL_UP) && count < 9);
	return count;
}

Test(pool_carry, health_follows_the_new_settings)
{
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct row *row = &rows[i];
		struct pool *from = pool_fixture_make(*row->before, "1 1"), *to;

		pool_fixture_fail(from, 0, row->fails, MS);
		check(from, 0, false, row->bad);
		check(from, 0, true, row->good);
		to = carry_first(from, *row->after);
		cr_expect_eq(pool_fixture_state(to, 0, MS), row->now, "%s: %d", row->name,
			     pool_fixture_state(to, 0, MS));
		cr_expect_eq(pool_fixture_state(to, 0, MS + 1000), row->later, "%s: %d", row->name,
			     pool_fixture_state(to, 0, MS + 1000));
		if (row->fails_left) {
			pool_fixture_fail(to, 0, row->fails_left - 1, MS);
			cr_expect_eq(pool_fixture_state(to, 0, MS), POOL_UP, "%s", row->name);
			pool_fixture_fail(to, 0, 1, MS);
			cr_expect_eq(pool_fixture_state(to, 0, MS), POOL_DOWN, "%s", row->name);
		}
		if (row->bad_left)
			cr_expect_eq(checks_until_change(to, false), row->bad_left, "%s",
				     row->name);
		if (row->good_left)
			cr_expect_eq(checks_until_change(to, true), row->good_left, "%s",
				     row->name);
		pool_destroy(from);
		pool_destroy(to);
	}
}

/* Counts are added, so that two members may become one. */
Test(pool_carry, counts_go_on)
{
	struct pool *from = pool_fixture_make(by_traffic, "1"), *to, *third;
	struct pool_snapshot now;
	char text[8];

	pool_fixture_choices(from, 5, MS, text);
	pool_fixture_fail(from, 0, 3, MS);
	to = carry_first(from, by_traffic);
	pool_snapshot(to, 0, MS, &now);
	cr_expect_eq(now.total, 8);
	cr_expect_eq(now.failed, 3);
	cr_expect_eq(now.downs, 1);
	pool_fixture_choices(to, 4, MS + 5000, text);
	third = carry_first(to, by_traffic);
	pool_snapshot(third, 0, MS, &now);
	pool_snapshot(to, 0, MS, &now);
	cr_expect_geq(now.total, 9);
	pool_destroy(from);
	pool_destroy(to);
	pool_destroy(third);
}

/* The last answer of a member that is never down, and its slow start. */
Test(pool_carry, the_last_answer_and_the_slow_start_go_on)
{
	struct pool_settings slow = {.max_fails = 1,
				     .fail_timeout_ms = 1000,
				     .rise = 1,
				     .fall = 1,
				     .slow_start_ms = 8000};
	struct pool *from = pool_fixture_make(never_down, "1"), *to;
	unsigned counts[POOL_MEMBERS_LIMIT] = {0};
	struct pool_snapshot now;

	pool_fixture_fail(from, 0, 1, MS);
	to = carry_first(from, never_down);
	pool_snapshot(to, 0, MS, &now);
	cr_expect_not(now.answers);
	pool_destroy(from);
	pool_destroy(to);

	from = pool_fixture_make(slow, "1 1");
	check(from, 0, false, 1);
	check(from, 0, true, 1);
	to = carry_first(from, slow);
	pool_fixture_count(to, 900, MS, counts);
	cr_expect_leq(counts[0], 200, "an eighth of the weight: %u", counts[0]);
	cr_expect_geq(counts[0], 50, "%u", counts[0]);
	pool_destroy(from);
	pool_destroy(to);
}

Test(pool_carry, the_sequence_goes_on)
{
	struct pool *from = pool_fixture_make(by_traffic, "5 1 1"), *to;
	char text[16], next[16];
	struct carry carry;

	to = pool_fixture_make(by_traffic, "5 1 1");
	pool_fixture_choices(from, 3, MS, text);
	fixture_carry_open(&carry);
	carrier_begin(carry.out, CARRIER_FORWARD);
	pool_write(from, carry.out);
	carrier_end(carry.out);
	fixture_carry_flush(&carry);
	fixture_carry_expect(&carry, CARRIER_FORWARD);
	pool_read(to, carry.in);
	fixture_carry_close(&carry);
	cr_expect_str_eq(pool_fixture_choices(to, 7, MS, next),
			 pool_fixture_choices(from, 7, MS, text), "%s", next);
	pool_destroy(from);
	pool_destroy(to);
}

/* Whatever the member's limit or health says. */
Test(pool_carry, a_session_keeps_its_member)
{
	struct pool *pool = pool_fixture_make(by_traffic, "1/1 1");
	struct pool_claim claims[3] = {0};
	struct pool_snapshot now;

	for (unsigned i = 0; i < ARRAY_COUNT(claims); i++)
		pool_hold(pool, 0, false, &claims[i]);
	pool_snapshot(pool, 0, MS, &now);
	cr_expect_eq(now.live, 3);
	cr_expect_eq(now.total, 0, "counted by the other pool");
	cr_expect_eq(now.state, POOL_FULL);
	for (unsigned i = 0; i < ARRAY_COUNT(claims); i++)
		pool_end(pool, &claims[i]);
	pool_destroy(pool);
}

Test(pool_carry, a_probe_stays_the_only_probe)
{
	struct pool *from = pool_fixture_make(by_traffic, "1"), *to;
	const struct pool_tried tried = pool_fixture_all_but(0);
	const struct pool_ask ask = {.tried = &tried, .now_ms = MS + 1000};
	struct pool_claim probe = {0}, other = {0}, moved = {0};

	pool_fixture_fail(from, 0, 3, MS);
	cr_assert_eq(pool_fixture_choose(from, MS + 1000, &probe), 0);
	cr_assert(probe.probe);
	to = carry_first(from, by_traffic);
	pool_hold(to, 0, true, &moved);
	cr_expect(moved.probe);
	cr_expect_lt(pool_choose(to, &ask, &other), 0);
	cr_expect_eq(pool_succeeded(to, &moved, MS + 1000), POOL_CAME_UP);
	pool_end(to, &moved);
	pool_end(from, &probe);
	pool_destroy(from);
	pool_destroy(to);

	/* where checks decide now, the session's answer decides nothing */
	from = pool_fixture_make(by_traffic, "1");
	pool_fixture_fail(from, 0, 3, MS);
	to = carry_first(from, by_checks);
	pool_hold(to, 0, true, &moved);
	cr_expect_not(moved.probe);
	cr_expect_eq(pool_succeeded(to, &moved, MS), POOL_UNCHANGED);
	pool_end(to, &moved);
	pool_destroy(from);
	pool_destroy(to);
}

Test(pool_carry, a_former_member_only_drains)
{
	struct pool_settings settings = by_traffic;
	struct pool_member former = pool_fixture_member(7);
	struct pool_claim claims[2] = {0}, late = {0};
	struct pool_snapshot now;
	struct pool *pool;
	char text[8];

	settings.slots = 2;
	pool = pool_fixture_make(settings, "1");
	cr_assert_eq(pool_hold_former(pool, &former, &claims[0]), 0);
	pool_hold(pool, claims[0].member, false, &claims[1]);
	cr_expect_eq(claims[0].member, 1);
	cr_expect(addr_equal(pool_address(pool, &claims[1]), &former.address));
	cr_expect_eq(pool_hold_former(pool, &former, &late), -ENOSPC);
	cr_expect_not(late.held);
	pool_snapshot(pool, 1, MS, &now);
	cr_expect_eq(now.state, POOL_DRAINING);
	cr_expect_str_eq(pool_fixture_choices(pool, 3, MS, text), "aaa");
	pool_end(pool, &claims[0]);
	pool_end(pool, &claims[1]);
	cr_expect_eq(pool_fixture_state(pool, 1, MS), POOL_EMPTY);
	pool_destroy(pool);
}
