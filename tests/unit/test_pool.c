/* SPDX-License-Identifier: MIT */
#include "pool/pool.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "pool_fixture.h"
#include "support.h"

TestSuite(pool, .fini = support_check_leaks);

#define NOW POOL_FIXTURE_MS

/* One failure takes a member down for good; nothing else changes its health. */
static const struct pool_settings plain = {.max_fails = 1, .fail_timeout_ms = 1000000};

/* roundrobin ----------------------------------------------------------------------------------- */

Test(pool, members_are_evenly_mixed)
{
	static const struct {
		const char *members;
		const char *choices;
	} rows[] = {
		{"1", "aaaa"},
		{"1 1 1", "abcabc"},
		{"5 1 1", "aabacaaaabacaa"},
		{"100 100 100", "abcabc"}, /* the common divisor shortens the round */
		{"2 1", "abaaba"},
		{"10 20 10", "bacbbacb"},
		{"1 0 1", "acac"}, /* no weight, no sessions */
		{"0 0", "----"},
		{"1 1b 1", "acac"}, /* the sequence has no backups */
		{"0 2b 1b", "bcbbcb"},
	};
	char choices[32];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct pool *pool = pool_fixture_make(plain, rows[i].members);

		cr_expect_str_eq(
			pool_fixture_choices(pool, (unsigned)strlen(rows[i].choices), NOW, choices),
			rows[i].choices, "%s: %s", rows[i].members, choices);
		pool_destroy(pool);
	}
}

/*
 * In any part of the sequence, no member is more than two positions from its share: no bursts.
 */
Test(pool, no_stretch_strays_from_the_shares)
{
	static const unsigned weights[] = {256, 128, 100, 31, 7, 3, 1};
	struct pool *pool = pool_fixture_make(plain, "256 128 100 31 7 3 1");
	long worst_256ths = 0;
	long taken[ARRAY_COUNT(weights)] = {0};
	long least[ARRAY_COUNT(weights)] = {0};
	long most[ARRAY_COUNT(weights)] = {0};
	long sum = 0;

	for (size_t i = 0; i < ARRAY_COUNT(weights); i++)
		sum += weights[i];
	for (long draw = 1; draw <= 2 * sum; draw++) {
		struct pool_claim claim;
		int member = pool_fixture_choose(pool, NOW, &claim);

		taken[member]++;
		pool_end(pool, &claim);
		/* how far each member is ahead of its share now, against its extremes so far */
		for (size_t i = 0; i < ARRAY_COUNT(weights); i++) {
			long ahead = taken[i] * 256 - draw * weights[i] * 256 / sum;

			least[i] = MIN(least[i], ahead);
			most[i] = MAX(most[i], ahead);
			worst_256ths = MAX(worst_256ths, most[i] - least[i]);
		}
	}
	cr_expect_leq(worst_256ths, 2 * 256);
	for (size_t i = 0; i < ARRAY_COUNT(weights); i++)
		cr_expect_eq(taken[i], 2 * (long)weights[i], "member %zu", i);
	pool_destroy(pool);
}

Test(pool, the_positions_of_a_member_that_is_down_go_to_all_others)
{
	struct pool *pool = pool_fixture_make(plain, "5 1 1");
	char choices[32];

	cr_assert_eq(pool_fixture_fail(pool, 1, 1, NOW), POOL_WENT_DOWN);
	pool_fixture_choices(pool, 6, NOW, choices); /* the first position of b was drawn above */
	cr_expect_str_eq(pool_fixture_choices(pool, 12, NOW, choices), "acaaaaacaaaa");
	pool_destroy(pool);
}

/* 253 members of the heaviest weight are down: hardly any position of the sequence helps. */
Test(pool, the_few_left_keep_their_shares)
{
	static const struct {
		unsigned member;
		unsigned weight;
	} left[] = {{3, 1}, {77, 2}, {255, 5}};
	struct pool_member members[POOL_MEMBERS_LIMIT];
	struct pool_settings settings = plain;
	unsigned counts[POOL_MEMBERS_LIMIT] = {0};
	struct pool *pool;

	settings.slots = POOL_MEMBERS_LIMIT;
	pool = pool_fixture_make(settings, "");
	for (unsigned i = 0; i < POOL_MEMBERS_LIMIT; i++) {
		members[i] = pool_fixture_member(i);
		members[i].weight = 256;
		members[i].off = true;
	}
	for (size_t i = 0; i < ARRAY_COUNT(left); i++) {
		members[left[i].member].weight = left[i].weight;
		members[left[i].member].off = false;
	}
	cr_assert_eq(pool_add_all(pool, members, POOL_MEMBERS_LIMIT), 0);
	pool_fixture_count(pool, 8000, NOW, counts);
	for (size_t i = 0; i < ARRAY_COUNT(left); i++)
		cr_expect(abs((int)counts[left[i].member] - (int)left[i].weight * 1000) <= 10,
			  "member %u: %u", left[i].member, counts[left[i].member]);
	pool_destroy(pool);
}

/* leastconn ------------------------------------------------------------------------------------ */

/* Sessions that stay: each member fills up in proportion to its weight. */
Test(pool, leastconn_fills_by_weight)
{
	struct pool_settings settings = plain;
	struct pool_claim claims[80];
	unsigned counts[3] = {0};
	struct pool *pool;

	settings.balance = POOL_LEASTCONN;
	pool = pool_fixture_make(settings, "1 3 4");
	for (size_t i = 0; i < ARRAY_COUNT(claims); i++) {
		int member = pool_fixture_choose(pool, NOW, &claims[i]);

		cr_assert_geq(member, 0);
		counts[member]++;
	}
	cr_expect_eq(counts[0], 10);
	cr_expect_eq(counts[1], 30);
	cr_expect_eq(counts[2], 40);

	/* the member that loses its sessions gets the next ones */
	for (size_t i = 0; i < ARRAY_COUNT(claims); i++)
		if (claims[i].member == 1)
			pool_end(pool, &claims[i]);
	for (size_t i = 0, again = 0; again < 29; i++)
		if (!claims[i].held) {
			cr_assert_eq(pool_fixture_choose(pool, NOW, &claims[i]), 1);
			again++;
		}
	for (size_t i = 0; i < ARRAY_COUNT(claims); i++)
		pool_end(pool, &claims[i]);
	pool_destroy(pool);
}

/*
 * Where all have as many sessions, the sequence decides; so the weights hold for short sessions
 * too.
 */
Test(pool, leastconn_follows_the_sequence_among_equals)
{
	struct pool_settings settings = plain;
	struct pool_claim claim;
	struct pool *pool;
	char choices[32];

	settings.balance = POOL_LEASTCONN;
	pool = pool_fixture_make(settings, "5 1 1");
	cr_expect_str_eq(pool_fixture_choices(pool, 14, NOW, choices), "aabacaaaabacaa");
	cr_assert_eq(pool_fixture_choose(pool, NOW, &claim), 0);
	for (unsigned i = 0; i < 20; i++)
		cr_expect_neq(pool_fixture_choices(pool, 1, NOW, choices)[0], 'a');
	pool_end(pool, &claim);
	pool_destroy(pool);
}

/* Members that cannot be chosen, and refusals -------------------------------------------------- */

/* What a row does to the pool, a letter each: see prepare(). */
struct refusal_row {
	const char *members;
	const char *down;  /* letters: these are down */
	const char *busy;  /* one session each, which stays */
	const char *tried; /* by the session that asks */
	int chosen;
};

static const struct refusal_row refusal_rows[] = {
	{"1 1", "", "", "a", 1},
	{"1 1", "a", "", "", 1},
	{"1x 1", "", "", "", 1},
	{"1/1 1", "", "a", "", 1},
	{"1 1", "ab", "", "", POOL_ALL_DOWN},
	{"1 1x", "a", "", "", POOL_ALL_DOWN},
	{"0 0", "", "", "", POOL_ALL_DOWN},
	{"1/1 1/1", "", "ab", "", POOL_ALL_FULL},
	{"1/1 1", "b", "a", "", POOL_ALL_FULL},
	{"1/1 1", "", "a", "b", POOL_ALL_FULL},
	{"1 1", "", "", "ab", POOL_ALL_TRIED},
	{"1 1", "a", "", "b", POOL_ALL_TRIED},
	{"1 1", "ab", "", "b", POOL_ALL_TRIED},
	/* backups: when the others are down, off, without weight, tried; not when full */
	{"1 1 1b", "a", "", "", 1},
	{"1 1 1b", "ab", "", "", 2},
	{"1 1x 1b", "a", "", "", 2},
	{"1 0 1b", "a", "", "", 2},
	{"1 1 1b", "", "", "ab", 2},
	{"1/1 1 1b", "b", "a", "", POOL_ALL_FULL},
	{"1 1 1b", "abc", "", "", POOL_ALL_DOWN},
	{"1 1 1b", "ab", "", "c", POOL_ALL_TRIED},
	{"1 1 1/1b", "ab", "c", "", POOL_ALL_FULL},
};

static void mark_all(struct pool_tried *tried, const char *letters)
{
	for (; *letters; letters++)
		pool_mark_tried(tried, (unsigned)(*letters - 'a'));
}

/* Claims a member that is up, and keeps the claim. */
static void occupy(struct pool *pool, unsigned member, struct pool_claim *claim)
{
	struct pool_tried tried = pool_fixture_all_but(member);
	struct pool_ask ask = {.tried = &tried, .now_ms = NOW};

	cr_assert_eq(pool_choose(pool, &ask, claim), (int)member);
}

static void check_refusal_row(const struct refusal_row *row, enum pool_balance balance)
{
	struct pool_settings settings = plain;
	struct pool_claim busy[4] = {{0}};
	struct pool_tried tried = {{0}};
	struct pool_ask ask = {.tried = &tried, .now_ms = NOW};
	struct pool *pool;

	settings.balance = balance;
	pool = pool_fixture_make(settings, row->members);
	for (size_t i = 0; row->busy[i]; i++)
		occupy(pool, (unsigned)(row->busy[i] - 'a'), &busy[i]);
	for (const char *at = row->down; *at; at++)
		cr_assert_eq(pool_fixture_fail(pool, (unsigned)(*at - 'a'), 1, NOW),
			     POOL_WENT_DOWN);
	mark_all(&tried, row->tried);
	for (unsigned i = 0; i < 10; i++) {
		struct pool_claim claim = {0};
		int chosen = pool_choose(pool, &ask, &claim);

		cr_expect_eq(chosen, row->chosen, "row %td, balance %d: %d", row - refusal_rows,
			     balance, chosen);
		cr_expect_eq(claim.held, chosen >= 0);
		pool_end(pool, &claim);
	}
	for (size_t i = 0; i < ARRAY_COUNT(busy); i++)
		pool_end(pool, &busy[i]);
	pool_destroy(pool);
}

Test(pool, refusals_and_backups)
{
	for (size_t i = 0; i < ARRAY_COUNT(refusal_rows); i++)
		for (int balance = POOL_ROUNDROBIN; balance <= POOL_SOURCE; balance++)
			check_refusal_row(&refusal_rows[i], (enum pool_balance)balance);
}

/*
 * A refusal neither waits nor tries again: 200,000 refusals of the largest pool take little time.
 */
Test(pool, all_down_is_told_at_once, .timeout = 20)
{
	struct pool_settings settings = plain;
	struct pool *pool;

	settings.slots = POOL_MEMBERS_LIMIT;
	pool = pool_fixture_make(settings, "");
	for (unsigned i = 0; i < POOL_MEMBERS_LIMIT; i++) {
		struct pool_member member = pool_fixture_member(i);

		member.off = true;
		cr_assert_eq(pool_add_all(pool, &member, 1), 0);
	}
	for (unsigned i = 0; i < 200000; i++) {
		struct pool_claim claim;

		cr_assert_eq(pool_fixture_choose(pool, NOW, &claim), POOL_ALL_DOWN);
	}
	pool_destroy(pool);
}

Test(pool, maxconn_is_kept)
{
	struct pool *pool = pool_fixture_make(plain, "1/3 1/2");
	struct pool_claim claims[6];

	for (unsigned i = 0; i < 5; i++)
		cr_assert_geq(pool_fixture_choose(pool, NOW, &claims[i]), 0);
	cr_expect_eq(pool_fixture_choose(pool, NOW, &claims[5]), POOL_ALL_FULL);
	cr_expect_eq(pool_fixture_state(pool, 0, NOW), POOL_FULL);
	for (unsigned i = 0; i < 5; i++) {
		int member = claims[i].member;

		pool_end(pool, &claims[i]);
		cr_expect_eq(pool_fixture_choose(pool, NOW, &claims[i]), member);
		cr_expect_eq(pool_fixture_choose(pool, NOW, &claims[5]), POOL_ALL_FULL);
	}
	for (unsigned i = 0; i < 5; i++)
		pool_end(pool, &claims[i]);
	pool_destroy(pool);
}
