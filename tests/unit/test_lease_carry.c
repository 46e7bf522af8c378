/* SPDX-License-Identifier: MIT */
#include "identity/lease_carry.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "carry_fixture.h"
#include "support.h"

TestSuite(lease_carry, .fini = support_check_leaks);

static const uint8_t key[SIPHASH_KEY_BYTES] = "a key for tests", other_key[SIPHASH_KEY_BYTES];

/* A pool with one bucket of 64 leases. */
static struct lease_pool *make_pool(const char *block, const uint8_t *with_key)
{
	struct lease_pool_options options = {.client_bits = 64, .lease_count = LEASE_COUNT_MIN};
	struct lease_pool *pool;
	struct fault fault;

	cr_assert_null(cidr_parse(block, &options.block));
	cr_assert(!lease_pool_create(&options, with_key, &pool, &fault), "%s",
		  support_text(&fault));
	return pool;
}

static struct in6_addr client_of(unsigned number)
{
	struct in6_addr client;

	cr_assert_eq(inet_pton(AF_INET6, "2001:db8::1", &client), 1);
	client.s6_addr[6] = (uint8_t)(number >> 8);
	client.s6_addr[7] = (uint8_t)number;
	return client;
}

static struct in_addr acquire(struct lease_pool *pool, unsigned number, uint64_t now_ms)
{
	struct in6_addr client = client_of(number);
	struct in_addr address;

	cr_assert_eq(lease_pool_acquire(pool, &client, now_ms, &address), 0);
	return address;
}

/* The address that a client would get from an empty pool: its `choice`th. */
static struct in_addr choice_of(const struct lease_pool *pool, unsigned number, unsigned choice)
{
	struct in6_addr client = client_of(number);
	struct lease_draw draw;
	uint32_t address;

	client = cidr_client_of(&client, pool->client_bits).network;
	lease_draw_init(&draw, &pool->block, &client);
	for (unsigned i = 0; i <= choice; i++)
		cr_assert(lease_draw_next(&draw, &address));
	return (struct in_addr){htonl(address)};
}

static bool adopt(struct lease_pool *pool, unsigned number, struct in_addr address, bool live)
{
	struct lease_record record = {.address = address, .used_s = 100};

	record.client.network = client_of(number);
	return lease_pool_adopt(pool, &record, live);
}

static struct lease_pool_stats stats_of(const struct lease_pool *pool)
{
	struct lease_pool_stats stats = {0};

	lease_pool_add_stats(pool, &stats);
	return stats;
}

static bool has(const struct lease_pool *pool, unsigned number, struct in_addr address)
{
	struct in6_addr own = client_of(number);
	struct cidr client;

	return lease_pool_find(pool, address, &client) && cidr_contains(&client, &own);
}

/* Sessions of a client share its lease, which stays until the last of them has ended. */
Test(lease_carry, a_live_lease_is_taken_again)
{
	struct lease_pool *pool = make_pool("127.1.0.0/24", key);
	struct in_addr second = choice_of(pool, 1, 1);

	cr_expect(adopt(pool, 1, second, false));
	cr_expect_eq(stats_of(pool).live, 0);
	cr_expect(adopt(pool, 1, second, true));
	cr_expect(adopt(pool, 1, second, true));
	cr_expect_eq(stats_of(pool).live, 1);
	cr_expect_eq(stats_of(pool).in_use, 1);
	cr_expect_eq(acquire(pool, 1, 200000).s_addr, second.s_addr);
	for (unsigned i = 0; i < 3; i++)
		lease_pool_release(pool, second, 200000);
	cr_expect_eq(stats_of(pool).live, 0);
	lease_pool_destroy(pool);
}

/* What the pool has already yields to what comes, unless it is live. */
Test(lease_carry, leases_in_the_way)
{
	static const struct {
		bool of_client, of_address, live; /* the lease in the way */
		bool adopted;
	} rows[] = {
		{true, false, false, true}, {true, false, true, false}, {false, true, false, true},
		{false, true, true, false}, {true, true, false, true},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct lease_pool *pool = make_pool("127.1.0.0/24", key);
		struct in_addr address = choice_of(pool, 1, 3);
		unsigned other = 2;

		/* another client that may have the same address */
		while (rows[i].of_address && !adopt(pool, other, address, rows[i].live))
			other++;
		if (rows[i].of_client)
			cr_assert(adopt(pool, 1, choice_of(pool, 1, 0), rows[i].live));
		cr_expect_eq(adopt(pool, 1, address, true), rows[i].adopted, "row %zu", i);
		cr_expect_eq(has(pool, 1, address), rows[i].adopted, "row %zu", i);
		cr_expect_eq(stats_of(pool).in_use, 1, "row %zu", i);
		cr_expect_eq(stats_of(pool).live, 1, "row %zu", i);
		lease_pool_destroy(pool);
	}
}

/* An address that the pool never gives, or never gives this client. */
Test(lease_carry, addresses_that_are_not_the_clients)
{
	struct lease_pool *pool = make_pool("127.1.0.0/24", key);
	struct in_addr first = choice_of(pool, 1, 0), outside;
	unsigned other = 2;

	cr_assert_eq(inet_pton(AF_INET, "127.2.0.1", &outside), 1);
	cr_expect_not(adopt(pool, 1, outside, true));
	while (adopt(pool, other, first, false)) {
		lease_pool_reset(pool, key);
		other++;
	}
	cr_expect_eq(stats_of(pool).in_use, 0);
	lease_pool_destroy(pool);
}

/* The next client, from `number` on, whose addresses are in the first bucket. */
static unsigned next_client(const struct lease_pool *pool, unsigned number)
{
	while (lease_block_region(&pool->block, ntohl(choice_of(pool, number, 0).s_addr)) %
	       pool->bucket_count)
		number++;
	return number;
}

/* A live lease takes the slot of an idle one; a bucket full of live leases takes no more. */
Test(lease_carry, a_full_bucket)
{
	struct lease_pool *pool = make_pool("127.1.0.0/24", key);
	unsigned number = 0, refused = 0;

	for (unsigned count = 0; count < LEASE_BUCKET_LEASES; number++) {
		number = next_client(pool, number);
		count += adopt(pool, number, choice_of(pool, number, count % LEASE_CANDIDATES),
			       count < LEASE_BUCKET_LEASES - 1);
		cr_assert_lt(number, 10000);
	}
	cr_expect_eq(stats_of(pool).in_use, LEASE_BUCKET_LEASES);
	cr_expect_eq(stats_of(pool).live, LEASE_BUCKET_LEASES - 1);
	for (unsigned i = 0; i < 200; i++, number++) {
		number = next_client(pool, number);
		refused += !adopt(pool, number, choice_of(pool, number, 0), true);
	}
	cr_expect_eq(refused, 199);
	cr_expect_eq(stats_of(pool).in_use, LEASE_BUCKET_LEASES);
	cr_expect_eq(stats_of(pool).live, LEASE_BUCKET_LEASES);
	lease_pool_destroy(pool);
}

static void read_into(struct lease_pool *pool, struct carry *carry)
{
	struct lease_pool_id id;
	enum carrier_kind kind;

	fixture_carry_flush(carry);
	while (fixture_carry_next(carry, &kind)) {
		lease_pool_take_id(carry->in, &id);
		cr_assert(lease_pool_is(pool, &id));
		cr_expect_eq(lease_pool_read(pool, &id, carry->in, kind), 0);
	}
}

/* With times, and with the key for the clients that come later. Then those used since. */
Test(lease_carry, a_whole_pool)
{
	struct lease_pool *from = make_pool("127.1.0.0/16", key);
	struct lease_pool *to = make_pool("127.1.0.0/16", other_key);
	struct lease_record before[LEASE_BUCKET_LEASES], after[LEASE_BUCKET_LEASES];
	struct in_addr address;
	struct carry carry;
	unsigned count;

	lease_pool_release(to, acquire(to, 999, 1000), 1000);
	for (unsigned i = 0; i < 50; i++)
		lease_pool_release(from, acquire(from, i, i * 1000ULL), i * 1000ULL);
	fixture_carry_open(&carry);
	lease_pool_write(from, carry.out, 0);
	read_into(to, &carry);
	cr_expect_eq(stats_of(to).in_use, 50);
	cr_expect_eq(stats_of(to).live, 0);
	for (uint32_t i = 0; i < from->bucket_count; i++) {
		count = lease_pool_read_bucket(from, i, before);
		cr_assert_eq(lease_pool_read_bucket(to, i, after), count);
		for (unsigned j = 0; j < count; j++) {
			cr_expect_eq(before[j].address.s_addr, after[j].address.s_addr);
			cr_expect(cidr_equal(&before[j].client, &after[j].client));
			cr_expect_eq(before[j].used_s, after[j].used_s);
		}
	}
	address = acquire(from, 70, 80000);
	lease_pool_write(from, carry.out, 60000);
	read_into(to, &carry);
	cr_expect_eq(stats_of(to).in_use, 51);
	cr_expect(has(to, 70, address));
	cr_expect_eq(acquire(from, 71, 1).s_addr, acquire(to, 71, 1).s_addr);
	fixture_carry_close(&carry);
	lease_pool_destroy(from);
	lease_pool_destroy(to);
}
