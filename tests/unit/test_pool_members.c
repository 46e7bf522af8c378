/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "pool/pool.h"
#include "pool_fixture.h"
#include "support.h"

/* Members that are added and removed. */
TestSuite(pool_members, .fini = support_check_leaks);

#define NOW POOL_FIXTURE_MS

static const struct pool_settings by_traffic = {.max_fails = 3, .fail_timeout_ms = 10000};

Test(pool_members, a_removed_member_drains)
{
	struct pool_settings settings = by_traffic;
	struct pool_member second = pool_fixture_member(8);
	struct pool_member first = pool_fixture_member(0);
	struct pool_snapshot snapshot;
	struct pool_claim claim;
	struct pool_claim other;
	struct pool *pool;

	settings.slots = 1;
	pool = pool_fixture_make(settings, "1");
	cr_assert_eq(pool_fixture_choose(pool, NOW, &claim), 0);
	pool_fixture_remove(pool, 0);
	cr_expect_eq(pool_fixture_state(pool, 0, NOW), POOL_DRAINING);
	cr_expect_eq(pool_fixture_choose(pool, NOW, &other), POOL_ALL_DOWN);
	/* the address stays as long as a claim is held */
	cr_expect_eq(pool_add_all(pool, &second, 1), -ENOSPC);
	cr_expect(addr_equal(pool_address(pool, &claim), &first.address));

	/* the same member comes back */
	cr_expect_eq(pool_add_all(pool, &first, 1), 0);
	cr_expect_eq(pool_fixture_state(pool, 0, NOW), POOL_UP);
	pool_fixture_remove(pool, 0);
	pool_end(pool, &claim);
	cr_expect_eq(pool_fixture_state(pool, 0, NOW), POOL_EMPTY);

	cr_expect_eq(pool_add_all(pool, &second, 1), 0);
	cr_assert_eq(pool_fixture_choose(pool, NOW, &claim), 0);
	cr_expect(addr_equal(pool_address(pool, &claim), &second.address));
	pool_snapshot(pool, 0, NOW, &snapshot);
	cr_expect_eq(snapshot.total, 1);
	cr_expect_eq(snapshot.live, 1);
	pool_end(pool, &claim);
	pool_destroy(pool);
}

/* The group's addresses, each as a letter from a on. */
static int replace(struct pool *pool, unsigned group, const char *letters)
{
	struct addr addresses[16];
	struct pool_group wanted = {.terms = {.weight = 1, .group = group}, .addresses = addresses};

	for (unsigned i = 0; letters[i]; i++, wanted.count++)
		addresses[i] = pool_fixture_member((unsigned)(letters[i] - 'a')).address;
	return pool_replace(pool, &wanted);
}

/*
 * The open members' addresses as letters, slot by slot; a draining one in capitals, "." an empty
 * one.
 */
static const char *addresses_of(const struct pool *pool, char *text)
{
	unsigned count = pool_slot_count(pool);

	for (unsigned i = 0; i < count; i++) {
		struct pool_snapshot snapshot;
		unsigned last;

		pool_snapshot(pool, i, NOW, &snapshot);
		last = ntohl(snapshot.address.v4.sin_addr.s_addr) & 0xff;
		text[i] = (char)(snapshot.state == POOL_EMPTY	   ? '.'
				 : snapshot.state == POOL_DRAINING ? 'A' + last - 1
								   : 'a' + last - 1);
	}
	text[count] = '\0';
	return text;
}

Test(pool_members, a_name_changes_its_addresses)
{
	struct pool_settings settings = by_traffic;
	struct pool_claim claim;
	struct pool *pool;
	char text[32];

	settings.slots = 4;
	pool = pool_fixture_make(settings, "");
	cr_expect_eq(replace(pool, 1, "ab"), 0);
	cr_expect_eq(replace(pool, 2, "b"), 0); /* another group, though the address is the same */
	cr_expect_str_eq(addresses_of(pool, text), "abb");
	cr_expect_eq(replace(pool, 1, "bc"), 0);
	cr_expect_str_eq(addresses_of(pool, text), ".bbc");
	cr_expect_eq(replace(pool, 1, "bcd"), 0);
	cr_expect_str_eq(addresses_of(pool, text), "dbbc");
	/* no slot was free at first, then those of the removed members were */
	cr_expect_eq(replace(pool, 1, "efg"), 0);
	cr_expect_eq(strlen(addresses_of(pool, text)), 4);
	cr_expect(strchr(text, 'e') && strchr(text, 'f') && strchr(text, 'g'), "%s", text);

	/* removed, but with a session: its slot is not free yet */
	while (pool_fixture_choose(pool, NOW, &claim) == 2)
		pool_end(pool, &claim);
	cr_expect_eq(replace(pool, 1, "hij"), -ENOSPC);
	pool_end(pool, &claim);
	cr_expect_eq(replace(pool, 1, "hij"), 0);
	cr_expect(strchr(addresses_of(pool, text), 'h') && strchr(text, 'i') && strchr(text, 'j'),
		  "%s", text);
	/* no members any more; the other group keeps its own */
	cr_expect_eq(replace(pool, 1, ""), 0);
	cr_expect_str_eq(addresses_of(pool, text), "..b.");
	cr_expect_str_eq(pool_fixture_choices(pool, 4, NOW, text), "cccc");
	pool_destroy(pool);
}

/* A failing address that the name still has is not healed by being looked up again. */
Test(pool_members, what_stays_keeps_its_health)
{
	struct pool_settings settings = by_traffic;
	struct pool *pool;

	settings.slots = 4;
	pool = pool_fixture_make(settings, "");
	replace(pool, 1, "ab");
	cr_assert_eq(pool_fixture_fail(pool, 0, 3, NOW), POOL_WENT_DOWN);
	replace(pool, 1, "bac");
	cr_expect_eq(pool_fixture_state(pool, 0, NOW), POOL_DOWN);
	cr_expect_eq(pool_fixture_state(pool, 1, NOW), POOL_UP);
	pool_destroy(pool);
}

Test(pool_members, no_more_than_there_are_slots)
{
	struct pool_settings settings = by_traffic;
	struct pool_member members[3];
	struct pool *pool;
	char choices[32];

	for (unsigned i = 0; i < 3; i++)
		members[i] = pool_fixture_member(i);
	settings.slots = 2;
	pool = pool_fixture_make(settings, "");
	cr_expect_eq(pool_add_all(pool, members, 3), -ENOSPC);
	cr_expect_str_eq(pool_fixture_choices(pool, 4, NOW, choices), "abab");
	pool_fixture_remove(pool, 0);
	cr_expect_eq(pool_add_all(pool, &members[2], 1), 0);
	cr_expect_str_eq(pool_fixture_choices(pool, 4, NOW, choices), "abab");
	pool_destroy(pool);
}
