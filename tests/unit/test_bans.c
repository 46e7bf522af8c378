/* SPDX-License-Identifier: MIT */
#include "limits/bans.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "carry_fixture.h"
#include "support.h"

TestSuite(bans, .fini = support_check_leaks);

static struct cidr block_of(const char *text)
{
	struct cidr cidr;

	cr_assert_null(cidr_parse(text, &cidr), "%s", text);
	return cidr;
}

static bool is_banned(const struct bans *bans, const char *client, uint64_t now_ms)
{
	struct cidr cidr = block_of(client);

	return bans_contains(bans, &cidr.network, now_ms);
}

static const struct ban *add(struct bans *bans, const char *client, uint64_t expires_ms)
{
	struct cidr cidr = block_of(client);

	return bans_add(bans, &cidr, client, 10, expires_ms);
}

static bool take_out(struct bans *bans, const char *client)
{
	struct cidr cidr = block_of(client);

	return bans_remove(bans, &cidr);
}

static unsigned count_of(const struct bans *bans)
{
	unsigned count;

	bans_list(bans, &count);
	return count;
}

Test(bans, one_ban_refuses_its_block)
{
	static const struct {
		const char *block;
		const char *client;
		bool banned;
	} rows[] = {
		{"2001:db8::/64", "2001:db8::1", true},
		{"2001:db8::/64", "2001:db8:0:0:ffff::", true},
		{"2001:db8::/64", "2001:db8:0:1::", false},
		{"2001:db8::5", "2001:db8::5", true},
		{"2001:db8::5", "2001:db8::4", false},
		{"2001:db8::/33", "2001:db8:7fff::", true},
		{"2001:db8::/33", "2001:db8:8000::", false},
		{"::/0", "2001:db8::", true},
		{"::/0", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.0/24", "192.0.2.200", true},
		{"192.0.2.0/24", "192.0.3.0", false},
		{"::/64", "192.0.2.1", true},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct bans *bans;

		cr_assert_eq(bans_create(&bans), 0);
		cr_expect(!is_banned(bans, rows[i].client, 10));
		cr_assert_not_null(add(bans, rows[i].block, BANS_NEVER));
		cr_expect_eq(is_banned(bans, rows[i].client, 10), rows[i].banned, "%s in %s",
			     rows[i].client, rows[i].block);
		cr_expect(take_out(bans, rows[i].block));
		cr_expect(!take_out(bans, rows[i].block), "it is gone already");
		cr_expect(!is_banned(bans, rows[i].client, 10));
		bans_destroy(bans);
	}
}

Test(bans, expiry)
{
	struct bans *bans;
	struct ban expired;

	cr_assert_eq(bans_create(&bans), 0);
	cr_expect_eq(bans_next_expiry_ms(bans), BANS_NEVER);
	add(bans, "2001:db8::/64", 100);
	add(bans, "192.0.2.1", 200);
	add(bans, "192.0.2.2", BANS_NEVER);
	cr_expect_eq(bans_next_expiry_ms(bans), 100);
	cr_expect(is_banned(bans, "2001:db8::7", 99));
	cr_expect(!bans_take_expired(bans, 99, &expired));
	cr_expect(!is_banned(bans, "2001:db8::7", 100), "it is over at that very time");
	cr_expect_eq(count_of(bans), 3, "and counts until it is taken out");
	cr_assert(bans_take_expired(bans, 100, &expired));
	cr_expect_eq(expired.expires_ms, 100);
	cr_expect(!bans_take_expired(bans, 199, &expired));
	cr_expect_eq(bans_next_expiry_ms(bans), 200);
	cr_assert(bans_take_expired(bans, 5000, &expired));
	cr_expect_eq(expired.expires_ms, 200);
	cr_expect(!bans_take_expired(bans, BANS_NEVER - 1, &expired));
	cr_expect(is_banned(bans, "192.0.2.2", BANS_NEVER - 1));
	cr_expect_eq(bans_next_expiry_ms(bans), BANS_NEVER);
	bans_destroy(bans);
}

Test(bans, adding_again_extends)
{
	static const struct {
		uint64_t first_ms, second_ms, lasts_ms;
	} rows[] = {
		{100, 200, 200},
		{200, 100, 200},
		{100, BANS_NEVER, BANS_NEVER},
		{BANS_NEVER, 100, BANS_NEVER},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct ban *ban;
		struct bans *bans;

		cr_assert_eq(bans_create(&bans), 0);
		add(bans, "2001:db8::/64", rows[i].first_ms);
		ban = add(bans, "2001:db8::/64", rows[i].second_ms);
		cr_assert_not_null(ban);
		cr_expect_eq(ban->expires_ms, rows[i].lasts_ms, "row %zu", i);
		cr_expect_eq(count_of(bans), 1);
		cr_expect_eq(is_banned(bans, "2001:db8::", 150), rows[i].lasts_ms > 150);
		bans_destroy(bans);
	}
}

Test(bans, finding)
{
	struct cidr wide = block_of("2001:db8::/32"), narrow = block_of("2001:db8:1::/48");
	struct cidr other = block_of("2001:db9::/32");
	char overlong[3 * BANS_GIVEN_BYTES];
	struct bans *bans;

	cr_assert_eq(bans_create(&bans), 0);
	cr_assert_not_null(bans_add(bans, &wide, "240.1.2.3", 0, BANS_NEVER));
	cr_expect_not_null(bans_find(bans, &wide));
	cr_expect_null(bans_find(bans, &narrow));
	cr_expect_null(bans_find(bans, &other));
	cr_expect_not_null(bans_find_covering(bans, &wide));
	cr_expect_not_null(bans_find_covering(bans, &narrow));
	cr_expect_null(bans_find_covering(bans, &other));
	cr_expect_not_null(bans_find_given(bans, "240.1.2.3"));
	cr_expect_null(bans_find_given(bans, "240.1.2.4"));
	memset(overlong, 'x', sizeof(overlong));
	overlong[sizeof(overlong) - 1] = '\0';
	cr_assert_not_null(bans_add(bans, &wide, overlong, 0, BANS_NEVER));
	cr_expect_eq(strlen(bans_find(bans, &wide)->given), BANS_GIVEN_BYTES - 1);
	bans_destroy(bans);
}

static struct cidr numbered(unsigned number)
{
	/* 16 bits of network behind 2001:db8::/32, and different lengths */
	static const unsigned lengths[] = {48, 56, 64, 128};
	struct cidr cidr = block_of("2001:db8::/32");

	cidr.network.s6_addr[4] = (uint8_t)(number >> 8);
	cidr.network.s6_addr[5] = (uint8_t)number;
	cidr.bits = lengths[number % ARRAY_COUNT(lengths)];
	return cidr;
}

Test(bans, a_full_table_refuses_more_and_loses_none)
{
	struct bans *bans;

	cr_assert_eq(bans_create(&bans), 0);
	for (unsigned round = 0; round < 2; round++) {
		struct cidr beyond = numbered(BANS_LIMIT);

		for (unsigned i = 0; i < BANS_LIMIT; i++) {
			struct cidr client = numbered(i);

			cr_assert_not_null(bans_add(bans, &client, "", 0, BANS_NEVER));
		}
		cr_expect_null(bans_add(bans, &beyond, "", 0, BANS_NEVER));
		cr_expect(!bans_contains(bans, &beyond.network, 0));
		for (unsigned i = 0; i < BANS_LIMIT; i++) {
			struct cidr client = numbered(i);

			cr_assert(bans_contains(bans, &client.network, 0), "%u", i);
			cr_assert_not_null(bans_add(bans, &client, "", 0, BANS_NEVER),
					   "one that is there can be extended");
		}
		for (unsigned i = 0; i < BANS_LIMIT; i++) {
			struct cidr client = numbered(i * 7 % BANS_LIMIT);

			cr_assert(bans_remove(bans, &client));
			cr_assert(!bans_contains(bans, &client.network, 0));
		}
		cr_expect_eq(count_of(bans), 0);
	}
	bans_destroy(bans);
}

#define MODEL_BLOCKS 200
#define MODEL_STEPS  20000

/* Against the simplest table: an expiry for each block, 0 for none. */
Test(bans, random_changes_match_a_model)
{
	uint64_t model[MODEL_BLOCKS] = {0};
	uint64_t state = 7, now_ms = 1;
	struct bans *bans;

	cr_assert_eq(bans_create(&bans), 0);
	for (unsigned step = 0; step < MODEL_STEPS; step++) {
		unsigned number = (unsigned)(support_random(&state) % MODEL_BLOCKS);
		struct cidr client = numbered(number);
		struct ban expired;
		uint64_t expires_ms = now_ms + support_random(&state) % 100;

		switch (support_random(&state) % 4) {
		case 0:
			cr_assert_not_null(bans_add(bans, &client, "", now_ms, expires_ms));
			model[number] = MAX(model[number], expires_ms);
			break;
		case 1:
			cr_assert_eq(bans_remove(bans, &client), model[number] != 0);
			model[number] = 0;
			break;
		default:
			now_ms += support_random(&state) % 3;
			while (bans_take_expired(bans, now_ms, &expired))
				;
			for (unsigned i = 0; i < MODEL_BLOCKS; i++)
				model[i] = model[i] <= now_ms ? 0 : model[i];
		}
		number = (unsigned)(support_random(&state) % MODEL_BLOCKS);
		client = numbered(number);
		cr_assert_eq(bans_contains(bans, &client.network, now_ms), model[number] > now_ms,
			     "step %u, block %u", step, number);
	}
	bans_destroy(bans);
}

/* Threads -------------------------------------------------------------------------------------- */

#define READERS	      3
#define STEADY	      64
#define WRITER_ROUNDS 30000

struct crowd {
	struct bans *bans;
	atomic_bool over;
	atomic_uint faults;
};

/*
 * A ban that stays must be seen whatever else changes; a client never banned must not be refused.
 */
static void *run_reader(void *argument)
{
	struct crowd *crowd = argument;
	uint64_t state = 1;

	while (!crowd->over) {
		unsigned number = (unsigned)(support_random(&state) % STEADY);
		struct cidr steady = numbered(number), never = numbered(60000 + number);
		struct cidr expired = numbered(50000 + number);

		crowd->faults += !bans_contains(crowd->bans, &steady.network, 1000);
		crowd->faults += bans_contains(crowd->bans, &never.network, 1000);
		crowd->faults += bans_contains(crowd->bans, &expired.network, 1000);
	}
	return NULL;
}

Test(bans, readers_see_every_ban_that_stays_while_others_come_and_go)
{
	struct crowd crowd = {0};
	pthread_t readers[READERS];
	uint64_t state = 99;

	cr_assert_eq(bans_create(&crowd.bans), 0);
	for (unsigned i = 0; i < STEADY; i++) {
		struct cidr client = numbered(i);

		cr_assert_not_null(bans_add(crowd.bans, &client, "", 0, BANS_NEVER));
	}
	for (unsigned i = 0; i < READERS; i++)
		cr_assert(!pthread_create(&readers[i], NULL, run_reader, &crowd));
	for (unsigned round = 0; round < WRITER_ROUNDS; round++) {
		unsigned number = (unsigned)(support_random(&state) % 1000);
		/*
		 * some bans have expired for the readers from the start, and share slots with
		 * others
		 */
		struct cidr client = numbered(round % 2 ? 50000 + number % STEADY : 2000 + number);

		if (support_random(&state) % 2)
			bans_add(crowd.bans, &client, "", 0, round % 2 ? 1000 : BANS_NEVER);
		else
			bans_remove(crowd.bans, &client);
	}
	crowd.over = true;
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	cr_expect_eq(crowd.faults, 0);
	bans_destroy(crowd.bans);
}

/* Every ban, as the admin gave it, also one that was added twice. A full table refuses one more. */
Test(bans, move_to_another_process)
{
	struct bans *before, *after;
	struct carry carry;
	const struct ban *ban;

	cr_assert_eq(bans_create(&before), 0);
	cr_assert_eq(bans_create(&after), 0);
	add(before, "2001:db8::/64", 5000);
	add(before, "192.0.2.1", BANS_NEVER);
	add(before, "192.0.2.1", 5000);
	fixture_carry_open(&carry);
	bans_write(before, carry.out);
	fixture_carry_flush(&carry);
	for (unsigned i = 0; i < 2; i++) {
		fixture_carry_expect(&carry, CARRIER_BAN);
		cr_expect_eq(bans_read(after, carry.in), 0);
	}
	cr_expect_eq(bans_count(after), 2);
	cr_expect(is_banned(after, "2001:db8::7", 4999));
	cr_expect_not(is_banned(after, "2001:db8::7", 5000));
	cr_expect(is_banned(after, "192.0.2.1", UINT64_MAX - 1));
	ban = bans_find_given(after, "2001:db8::/64");
	cr_assert_not_null(ban);
	cr_expect_eq(ban->since_ms, 10);
	cr_expect(take_out(after, "192.0.2.1"));
	cr_expect_eq(bans_next_expiry_ms(after), 5000);
	fixture_carry_close(&carry);
	bans_destroy(before);
	bans_destroy(after);
}

Test(bans, a_full_table_and_a_broken_record)
{
	struct bans *bans;
	struct carry carry;

	cr_assert_eq(bans_create(&bans), 0);
	fixture_carry_open(&carry);
	carrier_begin(carry.out, CARRIER_BAN);
	carrier_put(carry.out, 1);
	carrier_end(carry.out);
	add(bans, "192.0.2.1", BANS_NEVER);
	bans_write(bans, carry.out);
	take_out(bans, "192.0.2.1");
	fixture_carry_flush(&carry);
	fixture_carry_expect(&carry, CARRIER_BAN);
	cr_expect_eq(bans_read(bans, carry.in), -EBADMSG);
	for (unsigned i = 0; i < BANS_LIMIT; i++) {
		char text[CIDR_TEXT_BYTES];

		snprintf(text, sizeof(text), "2001:db8:%x::/64", i);
		cr_assert_not_null(add(bans, text, BANS_NEVER));
	}
	fixture_carry_expect(&carry, CARRIER_BAN);
	cr_expect_eq(bans_read(bans, carry.in), -ENOSPC);
	cr_expect_eq(bans_count(bans), BANS_LIMIT);
	fixture_carry_close(&carry);
	bans_destroy(bans);
}
