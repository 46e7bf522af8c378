/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>

#include "base/util.h"
#include "pool/pool.h"
#include "pool_fixture.h"
#include "support.h"

TestSuite(pool_health, .fini = support_check_leaks);

#define NOW	   POOL_FIXTURE_MS
#define TIMEOUT_MS 10000

static const struct pool_settings by_traffic = {.max_fails = 3, .fail_timeout_ms = TIMEOUT_MS};

/* Health by traffic ---------------------------------------------------------------------------- */

Test(pool_health, fails_within_the_timeout_take_a_member_down)
{
	static const struct {
		unsigned max_fails;
		unsigned at_ms[6];   /* after NOW; 0 ends it */
		unsigned down_after; /* failures; 0: never */
	} rows[] = {
		{3, {1, 2, 3}, 3},
		{1, {1}, 1},
		{3, {1, 2, TIMEOUT_MS}, 3},	/* 1 ms left */
		{3, {1, 2, TIMEOUT_MS + 1}, 0}, /* all are forgotten */
		{3, {1, 2, TIMEOUT_MS + 1, TIMEOUT_MS + 2, TIMEOUT_MS + 3}, 5},
		{2, {1, TIMEOUT_MS * 2, TIMEOUT_MS * 4}, 0},
		{0, {1, 2, 3, 4, 5}, 0}, /* the traffic does not count */
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct pool_settings settings = by_traffic;
		unsigned down_after = 0;
		struct pool *pool;

		settings.max_fails = rows[i].max_fails;
		pool = pool_fixture_make(settings, "1 1");
		for (unsigned j = 0; j < 6 && rows[i].at_ms[j] && !down_after; j++)
			if (pool_fixture_fail(pool, 0, 1, NOW + rows[i].at_ms[j]) == POOL_WENT_DOWN)
				down_after = j + 1;
		cr_expect_eq(down_after, rows[i].down_after, "row %zu: %u", i, down_after);
		pool_destroy(pool);
	}
}

/* As nginx counts: a member that fails every other session goes down. */
Test(pool_health, a_success_does_not_wipe_out_failures)
{
	struct pool *pool = pool_fixture_make(by_traffic, "1");
	struct pool_claim claim;

	for (unsigned i = 0; i < 2; i++) {
		cr_expect_eq(pool_fixture_fail(pool, 0, 1, NOW), POOL_UNCHANGED);
		cr_assert_eq(pool_fixture_choose(pool, NOW, &claim), 0);
		cr_expect_eq(pool_succeeded(pool, &claim, NOW), POOL_UNCHANGED);
		pool_end(pool, &claim);
	}
	cr_expect_eq(pool_fixture_fail(pool, 0, 1, NOW), POOL_WENT_DOWN);
	pool_destroy(pool);
}

Test(pool_health, one_probe_at_a_time_decides)
{
	struct pool *pool = pool_fixture_make(by_traffic, "1");
	struct pool_claim probe;
	struct pool_claim other;
	uint64_t now = NOW;

	cr_assert_eq(pool_fixture_fail(pool, 0, 3, now), POOL_WENT_DOWN);
	cr_expect_eq(pool_fixture_state(pool, 0, now), POOL_DOWN);

	/* the probe fails: the member is down as long again */
	for (unsigned i = 0; i < 3; i++) {
		cr_expect_eq(pool_fixture_choose(pool, now + TIMEOUT_MS - 1, &other),
			     POOL_ALL_DOWN);
		now += TIMEOUT_MS;
		cr_assert_eq(pool_fixture_choose(pool, now, &probe), 0);
		cr_expect(probe.probe);
		cr_expect_eq(pool_fixture_state(pool, 0, now), POOL_CHECKING);
		cr_expect_eq(pool_fixture_choose(pool, now + TIMEOUT_MS * 2, &other),
			     POOL_ALL_DOWN);
		now++;
		cr_expect_eq(pool_failed(pool, &probe, now), POOL_UNCHANGED);
		pool_end(pool, &probe);
		cr_expect_eq(pool_fixture_state(pool, 0, now), POOL_DOWN);
	}

	/* the probe reports nothing, as its client left: the next session is the probe */
	now += TIMEOUT_MS;
	cr_assert_eq(pool_fixture_choose(pool, now, &probe), 0);
	pool_end(pool, &probe);
	cr_assert_eq(pool_fixture_choose(pool, now, &probe), 0);
	cr_expect(probe.probe);
	cr_expect_eq(pool_fixture_choose(pool, now, &other), POOL_ALL_DOWN);

	/* the probe succeeds: all sessions are let through while it goes on */
	cr_expect_eq(pool_succeeded(pool, &probe, now), POOL_CAME_UP);
	cr_expect_eq(pool_fixture_state(pool, 0, now), POOL_UP);
	cr_assert_eq(pool_fixture_choose(pool, now, &other), 0);
	cr_expect_not(other.probe);
	pool_end(pool, &other);
	pool_end(pool, &probe);
	/* and the count begins anew */
	cr_expect_eq(pool_fixture_fail(pool, 0, 2, now), POOL_UNCHANGED);
	cr_expect_eq(pool_fixture_fail(pool, 0, 1, now), POOL_WENT_DOWN);
	pool_destroy(pool);
}

/* Sessions that began before the member went down change nothing. */
Test(pool_health, sessions_from_before_are_not_heard)
{
	struct pool *pool = pool_fixture_make(by_traffic, "1");
	struct pool_claim early[3];
	struct pool_claim probe;

	for (size_t i = 0; i < ARRAY_COUNT(early); i++)
		cr_assert_eq(pool_fixture_choose(pool, NOW, &early[i]), 0);
	cr_assert_eq(pool_fixture_fail(pool, 0, 3, NOW), POOL_WENT_DOWN);
	cr_expect_eq(pool_succeeded(pool, &early[0], NOW + 1), POOL_UNCHANGED);
	cr_expect_eq(pool_failed(pool, &early[1], NOW + 5000), POOL_UNCHANGED);
	cr_expect_eq(pool_fixture_state(pool, 0, NOW + 5000), POOL_DOWN);
	/* nor did they delay the probe */
	cr_assert_eq(pool_fixture_choose(pool, NOW + TIMEOUT_MS, &probe), 0);
	cr_expect_eq(pool_failed(pool, &early[2], NOW + TIMEOUT_MS), POOL_UNCHANGED);
	cr_expect_eq(pool_succeeded(pool, &probe, NOW + TIMEOUT_MS), POOL_CAME_UP);
	pool_end(pool, &probe);
	for (size_t i = 0; i < ARRAY_COUNT(early); i++)
		pool_end(pool, &early[i]);
	pool_destroy(pool);
}

/* The probe is the session at the member's position in the sequence, not an earlier one. */
Test(pool_health, a_probe_takes_the_members_position)
{
	struct pool *pool = pool_fixture_make(by_traffic, "1 1 1");
	struct pool_claim claim;
	unsigned probes = 0;

	cr_assert_eq(pool_fixture_fail(pool, 1, 3, NOW), POOL_WENT_DOWN);
	for (unsigned i = 0; i < 30; i++) {
		int member = pool_fixture_choose(pool, NOW + TIMEOUT_MS, &claim);

		cr_assert_geq(member, 0);
		cr_expect_eq(claim.probe, member == 1);
		probes += claim.probe;
		if (member == 1)
			pool_failed(pool, &claim, NOW + TIMEOUT_MS);
		pool_end(pool, &claim);
	}
	cr_expect_eq(probes, 1);
	pool_destroy(pool);
}

/*
 * Two members; one of them fails in every other second. No session is lost that the other member
 * could serve, and few sessions meet the failing member.
 */
Test(pool_health, flapping_loses_nothing)
{
	for (int balance = POOL_ROUNDROBIN; balance <= POOL_SOURCE; balance++) {
		struct pool_settings settings = by_traffic;
		unsigned retries = 0;
		unsigned downs = 0;
		unsigned ups = 0;
		struct pool *pool;

		settings.balance = (enum pool_balance)balance;
		settings.fail_timeout_ms = 500;
		pool = pool_fixture_make(settings, "1 1");
		for (unsigned i = 0; i < 10000; i++) {
			uint64_t now = NOW + i;
			bool bad = now / 1000 % 2;
			struct pool_tried tried = {{0}};
			struct pool_ask ask = {
				.client_key = i * 977, .tried = &tried, .now_ms = now};
			struct pool_claim claim = {0};
			int member = pool_choose(pool, &ask, &claim);

			if (member == 0 && bad) {
				downs += pool_failed(pool, &claim, now) == POOL_WENT_DOWN;
				pool_end(pool, &claim);
				pool_mark_tried(&tried, 0);
				retries++;
				member = pool_choose(pool, &ask, &claim);
			}
			cr_assert_geq(member, 0, "session %u is lost", i);
			cr_assert(!bad || member == 1);
			ups += pool_succeeded(pool, &claim, now) == POOL_CAME_UP;
			pool_end(pool, &claim);
		}
		cr_expect_eq(downs, 5);
		cr_expect_eq(ups, 5 - (NOW + 9999) / 1000 % 2);
		/* 3 each time, and a probe or two */
		cr_expect_leq(retries, 25, "balance %d: %u", balance, retries);
		pool_destroy(pool);
	}
}

/* A member is down, due for a probe, and full of old sessions: the backup serves. */
Test(pool_health, one_that_is_down_is_not_full)
{
	const struct pool_settings settings = {.max_fails = 1, .fail_timeout_ms = TIMEOUT_MS};
	struct pool *pool = pool_fixture_make(settings, "1/2 1b");
	struct pool_claim claims[3];

	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(pool_fixture_choose(pool, NOW, &claims[i]), 0);
	cr_assert_eq(pool_failed(pool, &claims[1], NOW), POOL_WENT_DOWN);
	cr_expect_eq(pool_fixture_choose(pool, NOW + TIMEOUT_MS, &claims[2]), 1);
	for (unsigned i = 0; i < 3; i++)
		pool_end(pool, &claims[i]);
	pool_destroy(pool);
}

/* Health by checks ----------------------------------------------------------------------------- */

static const struct pool_settings by_checks = {
	.max_fails = 3, .fail_timeout_ms = TIMEOUT_MS, .rise = 2, .fall = 3};

/* One letter per event: + and - are checks, f a failed session, d and u the changes they make. */
Test(pool_health, checks_rise_and_fall)
{
	static const struct {
		const char *events;
		const char *changes; /* D: went down, U: came up */
		enum pool_state state;
	} rows[] = {
		{"-", "D", POOL_DOWN}, /* no check has ever succeeded */
		{"+-", "..", POOL_UP},
		{"+--+--", "......", POOL_UP},
		{"+---", "...D", POOL_DOWN},
		{"+---+", "...D.", POOL_CHECKING},
		{"+---++", "...D.U", POOL_UP},
		{"+---+-++", "...D...U", POOL_UP},
		{"+---+-+", "...D...", POOL_CHECKING},
		{"+fff", "...D", POOL_DOWN},   /* the traffic takes it down, */
		{"+fff++", "...D.U", POOL_UP}, /* and the checks bring it up */
		{"+ff-f", "....D", POOL_DOWN}, /* traffic and checks have a count each */
		{"+--ff-", ".....D", POOL_DOWN},
		{"+---++--", "...D.U..", POOL_UP},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct pool *pool = pool_fixture_make(by_checks, "1");
		struct pool_snapshot snapshot;

		pool_snapshot(pool, 0, NOW, &snapshot);
		for (size_t j = 0; rows[i].events[j]; j++) {
			char event = rows[i].events[j];
			enum pool_change change =
				event == 'f' ? pool_fixture_fail(pool, 0, 1, NOW)
					     : pool_check_result(pool, 0, snapshot.generation,
								 event == '+', NOW);

			cr_expect_eq(".DU"[change], rows[i].changes[j], "%s, event %zu",
				     rows[i].events, j);
		}
		cr_expect_eq(pool_fixture_state(pool, 0, NOW), rows[i].state, "%s", rows[i].events);
		pool_destroy(pool);
	}
}

/* Where there are checks, no session is risked. */
Test(pool_health, checks_need_no_probe)
{
	struct pool *pool = pool_fixture_make(by_checks, "1");
	struct pool_claim claim;

	cr_assert_eq(pool_fixture_fail(pool, 0, 3, NOW), POOL_WENT_DOWN);
	cr_expect_eq(pool_fixture_choose(pool, NOW + 1000 * TIMEOUT_MS, &claim), POOL_ALL_DOWN);
	pool_destroy(pool);
}

Test(pool_health, a_late_check_is_not_for_the_next_member)
{
	struct pool_member next = pool_fixture_member(7);
	struct pool *pool = pool_fixture_make(by_checks, "1");
	struct pool_snapshot snapshot;

	pool_snapshot(pool, 0, NOW, &snapshot);
	pool_fixture_remove(pool, 0);
	cr_assert_eq(pool_add_all(pool, &next, 1), 0);
	cr_expect_eq(pool_check_result(pool, 0, snapshot.generation, false, NOW), POOL_UNCHANGED);
	cr_expect_eq(pool_fixture_state(pool, 0, NOW), POOL_UP);
	pool_destroy(pool);
}

/* Off ------------------------------------------------------------------------------------------ */

Test(pool_health, an_off_member_gets_no_session)
{
	struct pool *pool = pool_fixture_make(by_traffic, "1x 1");
	struct pool_claim claim;

	cr_expect_eq(pool_fixture_state(pool, 0, NOW), POOL_OFF);
	cr_expect_eq(pool_up_count(pool), 1);
	/* nor does a probe */
	for (unsigned i = 0; i < 10; i++) {
		cr_expect_eq(pool_fixture_choose(pool, NOW + i * TIMEOUT_MS, &claim), 1);
		pool_end(pool, &claim);
	}
	pool_destroy(pool);
}

/* Slow start ----------------------------------------------------------------------------------- */

/* Takes a member down, and up again at `up_ms`. */
static void bounce(struct pool *pool, unsigned member, uint64_t up_ms)
{
	struct pool_tried tried = pool_fixture_all_but(member);
	struct pool_ask ask = {.tried = &tried, .now_ms = up_ms};
	struct pool_claim claim = {0};

	cr_assert_eq(pool_fixture_fail(pool, member, 3, up_ms - TIMEOUT_MS), POOL_WENT_DOWN);
	cr_assert_eq(pool_choose(pool, &ask, &claim), (int)member);
	cr_assert_eq(pool_succeeded(pool, &claim, up_ms), POOL_CAME_UP);
	pool_end(pool, &claim);
}

/* How many of 10,000 sessions the member that came up again gets, beside an equal member. */
Test(pool_health, slow_start_ramps)
{
	static const struct {
		unsigned after_ms;
		unsigned percent;
	} rows[] = {{0, 12}, {200, 29}, {500, 56}, {800, 82}, {999, 99}, {1000, 100}, {5000, 100}};

	/* leastconn counts sessions at a time: below */
	for (int balance = POOL_ROUNDROBIN; balance <= POOL_SOURCE; balance += 2)
		for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
			struct pool_settings settings = by_traffic;
			uint64_t up_ms = NOW + TIMEOUT_MS;
			unsigned got = 0;
			double expected;
			struct pool *pool;

			settings.balance = (enum pool_balance)balance;
			settings.slow_start_ms = 1000;
			pool = pool_fixture_make(settings, "10 10");
			bounce(pool, 0, up_ms);
			for (unsigned j = 0; j < 10000; j++) {
				struct pool_ask ask = {.client_key = j * 977,
						       .now_ms = up_ms + rows[i].after_ms};
				struct pool_claim claim = {0};

				got += pool_choose(pool, &ask, &claim) == 0;
				pool_end(pool, &claim);
			}
			expected = 10000.0 * rows[i].percent / (100.0 + rows[i].percent);
			cr_expect(got > expected * 0.94 && got < expected * 1.06,
				  "balance %d, %u ms: %u, not %g", balance, rows[i].after_ms, got,
				  expected);
			pool_destroy(pool);
		}
}

Test(pool_health, slow_start_of_leastconn)
{
	struct pool_settings settings = by_traffic;
	struct pool_claim claims[90];
	unsigned counts[2] = {0};
	struct pool *pool;

	settings.balance = POOL_LEASTCONN;
	settings.slow_start_ms = 1000;
	pool = pool_fixture_make(settings, "1 1");
	bounce(pool, 0, NOW + TIMEOUT_MS);
	for (size_t i = 0; i < ARRAY_COUNT(claims); i++)
		counts[pool_fixture_choose(pool, NOW + TIMEOUT_MS, &claims[i])]++;
	cr_expect_eq(counts[0], 10);
	cr_expect_eq(counts[1], 80);
	for (size_t i = 0; i < ARRAY_COUNT(claims); i++)
		pool_end(pool, &claims[i]);
	pool_destroy(pool);
}

/* The only member gets all sessions, also in slow start. */
Test(pool_health, slow_start_refuses_no_session)
{
	struct pool_settings settings = by_traffic;
	struct pool *pool;
	char choices[32];

	settings.slow_start_ms = 1000;
	pool = pool_fixture_make(settings, "1 1/1x");
	bounce(pool, 0, NOW + TIMEOUT_MS);
	pool_fixture_choices(pool, 20, NOW + TIMEOUT_MS, choices);
	cr_expect_str_eq(choices, "aaaaaaaaaaaaaaaaaaaa");
	pool_destroy(pool);
}

/* Beside members with checks, a member without checks comes up by the traffic. */
Test(pool_health, an_unchecked_member_beside_checked_ones)
{
	struct pool_settings settings = {
		.slots = 2, .max_fails = 1, .fail_timeout_ms = 100, .rise = 1, .fall = 1};
	struct pool *pool = pool_fixture_make(settings, "");
	struct pool_claim claim = {0};
	struct pool_member member = pool_fixture_member(0);

	cr_assert_eq(pool_add_all(pool, &member, 1), 0);
	member = pool_fixture_member(1);
	member.unchecked = true;
	cr_assert_eq(pool_add_all(pool, &member, 1), 0);
	cr_expect_eq(pool_up_count(pool), 2);
	cr_expect_eq(pool_fixture_fail(pool, 0, 1, POOL_FIXTURE_MS), POOL_WENT_DOWN);
	cr_expect_eq(pool_up_count(pool), 1);
	cr_expect_eq(pool_fixture_fail(pool, 1, 1, POOL_FIXTURE_MS), POOL_WENT_DOWN);
	cr_expect_eq(pool_up_count(pool), 0);
	cr_expect_eq(pool_fixture_choose(pool, POOL_FIXTURE_MS + 99, &claim), POOL_ALL_DOWN);
	cr_assert_eq(pool_fixture_choose(pool, POOL_FIXTURE_MS + 100, &claim), 1);
	cr_expect_eq(pool_group(pool, &claim), member.group);
	cr_expect_eq(pool_succeeded(pool, &claim, POOL_FIXTURE_MS + 100), POOL_CAME_UP);
	pool_end(pool, &claim);
	cr_expect_eq(pool_up_count(pool), 1);
	pool_destroy(pool);
}

/* A new number of failures holds from the next failure on; members come up as before. */
Test(pool_health, another_number_of_failures)
{
	struct pool *pool = pool_fixture_make(by_traffic, "1");
	struct pool_claim probe;
	uint64_t now = NOW;

	pool_set_max_fails(pool, 0);
	cr_expect_eq(pool_fixture_fail(pool, 0, 5, now), POOL_UNCHANGED);
	pool_set_max_fails(pool, 1);
	cr_expect_eq(pool_fixture_fail(pool, 0, 1, now), POOL_WENT_DOWN);
	pool_set_max_fails(pool, 0);
	for (unsigned i = 0; i < 2; i++) {
		now += TIMEOUT_MS;
		cr_assert_eq(pool_fixture_choose(pool, now, &probe), 0);
		cr_expect(probe.probe);
		/* a failed probe counts even so: the next probe is not due at once */
		cr_expect_eq(pool_failed(pool, &probe, now), POOL_UNCHANGED);
		pool_end(pool, &probe);
		cr_expect_eq(pool_fixture_choose(pool, now, &probe), POOL_ALL_DOWN);
	}
	now += TIMEOUT_MS;
	cr_assert_eq(pool_fixture_choose(pool, now, &probe), 0);
	cr_expect_eq(pool_succeeded(pool, &probe, now), POOL_CAME_UP);
	pool_end(pool, &probe);
	cr_expect_eq(pool_fixture_fail(pool, 0, 5, now), POOL_UNCHANGED);
	pool_destroy(pool);
}

/* `answers` is the last result of a member that failures do not take down; no choice changes. */
Test(pool_health, the_last_answer_is_known)
{
	static const struct {
		unsigned max_fails;
		bool checked;
		bool after_failure; /* the value of `answers` after it */
	} rows[] = {{0, false, false}, {0, true, false}, {2, false, true}, {1, false, false}};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct pool_settings settings = {.max_fails = rows[i].max_fails,
						 .fail_timeout_ms = TIMEOUT_MS,
						 .rise = rows[i].checked ? 1 : 0,
						 .fall = rows[i].checked ? 2 : 0};
		struct pool *pool = pool_fixture_make(settings, "1");
		uint64_t later = NOW + TIMEOUT_MS;
		struct pool_snapshot now;
		struct pool_claim claim;

		pool_snapshot(pool, 0, NOW, &now);
		cr_expect(now.answers, "row %zu: at first", i);
		pool_fixture_fail(pool, 0, 1, NOW);
		pool_snapshot(pool, 0, NOW, &now);
		cr_expect_eq(now.answers, rows[i].after_failure, "row %zu: failed", i);
		cr_assert_eq(pool_fixture_choose(pool, later, &claim), 0, "row %zu", i);
		pool_succeeded(pool, &claim, later);
		pool_end(pool, &claim);
		pool_snapshot(pool, 0, later, &now);
		cr_expect(now.answers, "row %zu: answered", i);
		if (rows[i].checked) {
			/* two checks in a row must fail, or the first of all */
			pool_check_result(pool, 0, now.generation, true, later);
			pool_check_result(pool, 0, now.generation, false, later);
			pool_snapshot(pool, 0, later, &now);
			cr_expect(!now.answers && now.state == POOL_UP, "row %zu: ill", i);
			pool_check_result(pool, 0, now.generation, true, later);
			pool_snapshot(pool, 0, later, &now);
			cr_expect(now.answers, "row %zu: fit", i);
		}
		pool_destroy(pool);
	}
}
