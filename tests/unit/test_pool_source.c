/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/util.h"
#include "pool/pool.h"
#include "pool/pool_slots.h"
#include "pool_fixture.h"
#include "support.h"

/* Balance by source. */
TestSuite(pool_source, .fini = support_check_leaks);

#define NOW	POOL_FIXTURE_MS

#define CLIENTS 20000

static int choose_for(struct pool *pool, uint64_t client_key)
{
	struct pool_ask ask = {.client_key = client_key, .now_ms = NOW};
	struct pool_claim claim = {0};
	int member = pool_choose(pool, &ask, &claim);

	pool_end(pool, &claim);
	return member;
}

/* 2001:db8::/32 in /64s. */
static uint64_t key_of(unsigned client)
{
	return 0x20010db800000000ULL + client;
}

static void choose_for_all(struct pool *pool, uint8_t chosen[CLIENTS])
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		int member = choose_for(pool, key_of(i));

		cr_assert(member >= 0);
		chosen[i] = (uint8_t)member;
	}
}

static struct pool *make_source(unsigned slots, const char *members)
{
	struct pool_settings settings = {.balance = POOL_SOURCE, .slots = slots};

	return pool_fixture_make(settings, members);
}

Test(pool_source, a_client_is_its_network)
{
	static const struct {
		const char *a;
		const char *b;
		bool same;
	} rows[] = {
		{"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"2001:db8::1", "2001:db9::1", false},
		{"::ffff:192.0.2.1", "::ffff:192.0.2.1", true},
		{"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		{"::ffff:192.0.2.1", "::ffff:193.0.2.1", false},
		{"::ffff:192.0.2.1", "::1", false},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct in6_addr a;
		struct in6_addr b;

		cr_assert_eq(inet_pton(AF_INET6, rows[i].a, &a), 1);
		cr_assert_eq(inet_pton(AF_INET6, rows[i].b, &b), 1);
		cr_expect_eq(pool_client_key(&a) == pool_client_key(&b), rows[i].same, "%s %s",
			     rows[i].a, rows[i].b);
	}
}

/*
 * The integer logarithm is exact to a few thousandths of itself close to 0, where the winners are.
 */
Test(pool_source, distance_is_a_logarithm)
{
	static const struct {
		uint64_t lot;
		double distance;
	} rows[] = {
		{0x8000000000000000ULL, 1.000000000},  {0xc000000000000000ULL, 0.415037499},
		{0xc040000000000000ULL, 0.413160212},  {0xfff0000000000000ULL, 0.000352263},
		{0xffff000000000000ULL, 0.000022014},  {0x8020000000000000ULL, 0.998591806},
		{0x0000000012345678ULL, 35.813781189},
	};
	uint64_t table[POOL_LOG_ENTRIES];

	pool_hash_init(table);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		double distance = (double)pool_hash_distance(table, rows[i].lot) / (1ULL << 32);
		double error = distance / rows[i].distance - 1;

		cr_expect(error < 0.003 && error > -0.003, "%zu: %.9f", i, distance);
	}
	cr_expect_gt(pool_hash_distance(table, UINT64_MAX), 0);
	cr_expect_eq(pool_hash_distance(table, 0), 64ULL << 32);
}

Test(pool_source, shares_by_weight)
{
	static const unsigned weights[] = {1, 2, 5, 8};
	struct pool *pool = make_source(0, "1 2 5 8");
	unsigned counts[ARRAY_COUNT(weights)] = {0};
	uint8_t chosen[CLIENTS];

	choose_for_all(pool, chosen);
	for (unsigned i = 0; i < CLIENTS; i++)
		counts[chosen[i]]++;
	for (size_t i = 0; i < ARRAY_COUNT(weights); i++) {
		double share = (double)weights[i] / 16 * CLIENTS;

		cr_expect(counts[i] > share * 0.94 && counts[i] < share * 1.06, "%zu: %u of %g", i,
			  counts[i], share);
	}
	pool_destroy(pool);
}

/* The same on every machine and in every release: a change moves the clients of all users. */
Test(pool_source, is_stable)
{
	static const char expected[] = "abbbcacabbdaabdaaaadcadaabdababa";
	struct pool *pool = make_source(0, "3 2 1 1");
	char chosen[sizeof(expected)] = "";

	for (unsigned i = 0; i < sizeof(expected) - 1; i++)
		chosen[i] = (char)('a' + choose_for(pool, key_of(i * 977)));
	cr_expect_str_eq(chosen, expected);
	pool_destroy(pool);
}

/* The same members in another order: every client keeps its address. */
Test(pool_source, goes_by_address)
{
	struct pool *pool = make_source(0, "1 1 1 1 1");
	struct pool *reversed = make_source(5, "");
	uint8_t chosen[CLIENTS];
	uint8_t other[CLIENTS];

	for (unsigned i = 0; i < 5; i++) {
		struct pool_member member = pool_fixture_member(4 - i);

		cr_assert_eq(pool_add_all(reversed, &member, 1), 0);
	}
	choose_for_all(pool, chosen);
	choose_for_all(reversed, other);
	for (unsigned i = 0; i < CLIENTS; i++)
		cr_assert_eq(chosen[i], 4 - other[i]);
	pool_destroy(pool);
	pool_destroy(reversed);
}

/*
 * A new member takes its share from all others and moves no other client; removed, it gives it
 * back.
 */
Test(pool_source, moves_a_share)
{
	static const struct {
		const char *members;
		unsigned weight; /* of the new member */
		double share;
	} rows[] = {
		{"1", 1, 1.0 / 2},	   {"1 1 1", 1, 1.0 / 4},
		{"4 1 2", 3, 3.0 / 10},	   {"9 9 9 9 9 9 9 9 9", 9, 1.0 / 10},
		{"256 256", 1, 1.0 / 513},
	};
	uint8_t before[CLIENTS];
	uint8_t after[CLIENTS];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct pool *pool = make_source(16, rows[i].members);
		unsigned old_count = pool_slot_count(pool);
		struct pool_member member = pool_fixture_member(old_count);
		unsigned moved = 0;

		member.weight = rows[i].weight;
		choose_for_all(pool, before);
		cr_assert_eq(pool_add_all(pool, &member, 1), 0);
		choose_for_all(pool, after);
		for (unsigned j = 0; j < CLIENTS; j++) {
			moved += before[j] != after[j];
			cr_assert(before[j] == after[j] || after[j] == old_count);
		}
		cr_expect(moved > 0 && moved <= rows[i].share * 1.3 * CLIENTS, "row %zu: %u", i,
			  moved);

		pool_fixture_remove(pool, old_count);
		choose_for_all(pool, after);
		cr_expect_arr_eq(before, after, sizeof(before));
		pool_destroy(pool);
	}
}

/* Two backends at the same address are two members all the same. */
Test(pool_source, tells_twins_apart)
{
	struct pool *pool = make_source(2, "1");
	struct pool_member twin = pool_fixture_member(0);
	uint8_t chosen[CLIENTS];
	unsigned second = 0;

	twin.group = 1;
	cr_assert_eq(pool_add_all(pool, &twin, 1), 0);
	choose_for_all(pool, chosen);
	for (unsigned i = 0; i < CLIENTS; i++)
		second += chosen[i];
	cr_expect(abs((int)second - CLIENTS / 2) < CLIENTS / 25, "%u", second);
	pool_destroy(pool);
}
