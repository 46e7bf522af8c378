/* SPDX-License-Identifier: MIT */
#include "identity/lease_pool.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(lease_pool, .fini = support_check_leaks);

static const uint8_t key[SIPHASH_KEY_BYTES] = "a key for tests";

static struct lease_pool *make_pool(const char *block, unsigned client_bits, uint32_t lease_count)
{
	struct lease_pool_options options = {.client_bits = client_bits,
					     .lease_count = lease_count};
	struct fault fault;
	struct lease_pool *pool;

	cr_assert_null(cidr_parse(block, &options.block));
	cr_assert(!lease_pool_create(&options, key, &pool, &fault), "%s", support_text(&fault));
	return pool;
}

static struct in6_addr v6(const char *text)
{
	struct in6_addr address;

	cr_assert_eq(inet_pton(AF_INET6, text, &address), 1);
	return address;
}

static struct in6_addr make_client(uint32_t number)
{
	struct in6_addr client = v6("2001:db8::1");

	number = htonl(number);
	memcpy(client.s6_addr + 4, &number, sizeof(number));
	return client;
}

static struct in_addr acquire(struct lease_pool *pool, const char *client, uint64_t now_ms)
{
	struct in6_addr address = v6(client);
	struct in_addr leased;

	cr_assert_eq(lease_pool_acquire(pool, &address, now_ms, &leased), 0);
	return leased;
}

/* The candidate addresses of a client, best first. Returns their number. */
static unsigned candidates_of(const struct lease_pool *pool, const struct in6_addr *client,
			      struct in_addr candidates[LEASE_CANDIDATES])
{
	struct cidr identity = cidr_client_of(client, pool->client_bits);
	struct lease_draw draw;
	unsigned count = 0;
	uint32_t address;

	lease_draw_init(&draw, &pool->block, &identity.network);
	while (lease_draw_next(&draw, &address))
		candidates[count++].s_addr = htonl(address);
	return count;
}

static struct lease_pool_stats stats_of(const struct lease_pool *pool)
{
	struct lease_pool_stats stats = {0};

	lease_pool_add_stats(pool, &stats);
	return stats;
}

Test(lease_pool, options)
{
	static const struct {
		const char *block;
		unsigned client_bits;
		uint32_t lease_count;
		const char *says; /* NULL: taken */
	} rows[] = {
		{"240.0.0.0/4", 64, 65536, NULL},
		{"0.0.0.0/0", 128, LEASE_COUNT_MAX, NULL},
		{"192.0.2.4/30", 64, LEASE_COUNT_MAX, NULL},
		{"224.0.0.0/4", 64, 1000, "has no address"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct lease_pool_options options = {.client_bits = rows[i].client_bits,
						     .lease_count = rows[i].lease_count};
		struct fault fault = {0};
		struct lease_pool *pool = NULL;
		int result;

		cr_assert_null(cidr_parse(rows[i].block, &options.block));
		result = lease_pool_create(&options, key, &pool, &fault);
		cr_expect_eq(result, rows[i].says ? -EINVAL : 0, "%zu: %s", i,
			     support_text(&fault));
		cr_expect(!rows[i].says || strstr(support_text(&fault), rows[i].says), "%zu: %s", i,
			  support_text(&fault));
		lease_pool_destroy(pool);
	}
}

Test(lease_pool, who_is_one_client)
{
	static const struct {
		unsigned client_bits;
		const char *a, *b;
		bool same;
		const char *client; /* of a */
	} rows[] = {
		{64, "2001:db8::1", "2001:db8::ffff:0:2", true, "2001:db8::/64"},
		{64, "2001:db8::1", "2001:db8:0:1::1", false, "2001:db8::/64"},
		{128, "2001:db8::1", "2001:db8::2", false, "2001:db8::1"},
		{128, "2001:db8::1", "2001:db8::1", true, "2001:db8::1"},
		{64, "::ffff:192.0.2.1", "::ffff:192.0.2.1", true, "192.0.2.1"},
		{64, "::ffff:192.0.2.1", "::ffff:192.0.2.2", false, "192.0.2.1"},
		{64, "::1", "::2", false, "::1"},
		{64, "::1", "::ffff:0.0.0.1", false, "::1"},
		{64, "64:ff9b::808:808", "64:ff9b::101:101", false, "64:ff9b::808:808"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct lease_pool *pool = make_pool("240.0.0.0/4", rows[i].client_bits, 1000);
		struct in_addr a = acquire(pool, rows[i].a, 0), b = acquire(pool, rows[i].b, 0);
		char text[CIDR_TEXT_BYTES];
		struct cidr client;

		cr_expect_eq(a.s_addr == b.s_addr, rows[i].same, "%s, %s", rows[i].a, rows[i].b);
		cr_assert(lease_pool_find(pool, a, &client));
		cr_expect_str_eq(cidr_print(&client, text), rows[i].client);
		cr_expect_eq(stats_of(pool).live, rows[i].same ? 1 : 2);
		lease_pool_release(pool, a, 0);
		lease_pool_release(pool, b, 0);
		cr_expect_eq(stats_of(pool).live, 0);
		cr_expect_eq(stats_of(pool).in_use, rows[i].same ? 1 : 2);
		lease_pool_destroy(pool);
	}
}

/* The first candidate of a client is the same in every pool with this key, whatever its size. */
Test(lease_pool, same_on_every_forwarder)
{
	struct lease_pool *small = make_pool("127.64.0.0/10", 64, LEASE_COUNT_MIN);
	struct lease_pool *large = make_pool("127.64.0.0/10", 64, LEASE_COUNT_MAX);

	for (uint32_t i = 0; i < 1000; i++) {
		struct in_addr a[LEASE_CANDIDATES], b[LEASE_CANDIDATES], leased;
		struct in6_addr client = make_client(i);

		cr_assert_eq(candidates_of(small, &client, a), LEASE_CANDIDATES);
		cr_assert_eq(candidates_of(large, &client, b), LEASE_CANDIDATES);
		cr_expect_eq(memcmp(a, b, sizeof(a)), 0);
		cr_assert_eq(lease_pool_acquire(small, &client, i, &leased), 0);
		cr_expect_eq(leased.s_addr, a[0].s_addr, "an idle lease was in the way");
		lease_pool_release(small, leased, i);
	}
	cr_expect_gt(stats_of(small).evictions, 0);
	lease_pool_destroy(small);
	lease_pool_destroy(large);
}

/* A bucket of 64 with room for hundreds of clients: the 65th live one is refused. */
Test(lease_pool, full_bucket)
{
	struct lease_pool *pool = make_pool("10.0.0.0/16", 64, LEASE_COUNT_MIN);
	struct in_addr all_leased[2 * LEASE_BUCKET_LEASES], refused;
	uint32_t held = 0, number = 0;
	struct in6_addr client;
	uint64_t evictions;

	/* two buckets: both are full when this many clients in a row were refused */
	for (unsigned in_a_row = 0; in_a_row < 40; number++) {
		client = make_client(number);
		cr_assert(held < ARRAY_COUNT(all_leased) || in_a_row);
		if (lease_pool_acquire(pool, &client, 0,
				       held < ARRAY_COUNT(all_leased) ? &all_leased[held]
								      : &refused)) {
			in_a_row++;
		} else {
			in_a_row = 0;
			cr_assert_lt(held++, ARRAY_COUNT(all_leased));
		}
		if (held == ARRAY_COUNT(all_leased) && !in_a_row)
			in_a_row = 1;
	}
	cr_expect_eq(held, ARRAY_COUNT(all_leased));
	cr_expect_geq(stats_of(pool).exhausted, 39);
	evictions = stats_of(pool).evictions;
	cr_expect_eq(evictions, 0);
	/* the lease that was released first is evicted first */
	for (uint32_t i = 0; i < held; i++)
		lease_pool_release(pool, all_leased[i], 1000 * (1 + i));
	client = make_client(number);
	cr_assert_eq(lease_pool_acquire(pool, &client, 1000000, &refused), 0);
	cr_expect_eq(stats_of(pool).evictions, 1);
	cr_expect_eq(stats_of(pool).in_use, held);
	lease_pool_destroy(pool);
}

static void release_twice(void *argument)
{
	struct lease_pool *pool = argument;
	struct in_addr leased = acquire(pool, "2001:db8::1", 0);

	lease_pool_release(pool, leased, 0);
	lease_pool_release(pool, leased, 0);
}

static void release_strange(void *argument)
{
	lease_pool_release(argument, (struct in_addr){htonl(0x0a000001)}, 0);
}

Test(lease_pool, misuse_aborts)
{
	struct lease_pool *pool = make_pool("240.0.0.0/4", 64, 1000);

	cr_expect(support_aborts(release_twice, pool));
	cr_expect(support_aborts(release_strange, pool));
	lease_pool_destroy(pool);
}

/*
 * Against a model without buckets ---------------------------------------------------------------
 */

#define MODEL_CLIENTS 40

struct model {
	struct in_addr address[MODEL_CLIENTS]; /* 0: no lease */
	unsigned references[MODEL_CLIENTS];
	uint64_t used_s[MODEL_CLIENTS];
	struct lease_pool_stats stats;
};

static unsigned model_holder(const struct model *model, struct in_addr address)
{
	unsigned i = 0;

	while (i < MODEL_CLIENTS && model->address[i].s_addr != address.s_addr)
		i++;
	return i;
}

static int model_acquire(struct model *model, const struct lease_pool *pool, unsigned client,
			 uint64_t now_s)
{
	struct in6_addr address = make_client(client);
	struct in_addr candidates[LEASE_CANDIDATES];
	unsigned count = candidates_of(pool, &address, candidates);
	unsigned chosen = count;
	unsigned victim = MODEL_CLIENTS;

	for (unsigned i = 0; !model->address[client].s_addr && i < count; i++) {
		unsigned holder = model_holder(model, candidates[i]);

		if (holder == MODEL_CLIENTS) {
			chosen = i;
			victim = MODEL_CLIENTS;
			break;
		}
		if (!model->references[holder] &&
		    (victim == MODEL_CLIENTS || model->used_s[holder] < model->used_s[victim])) {
			chosen = i;
			victim = holder;
		}
	}
	if (!model->address[client].s_addr) {
		if (chosen == count) {
			model->stats.exhausted++;
			return -EADDRNOTAVAIL;
		}
		if (victim < MODEL_CLIENTS) {
			model->address[victim].s_addr = 0;
			model->stats.evictions++;
			model->stats.in_use--;
		}
		model->stats.collisions += candidates[chosen].s_addr != candidates[0].s_addr;
		model->stats.in_use++;
		model->address[client] = candidates[chosen];
	}
	model->stats.live += !model->references[client]++;
	model->used_s[client] = now_s;
	return 0;
}

static void compare(const struct model *model, const struct lease_pool *pool)
{
	struct lease_pool_stats stats = stats_of(pool);

	for (unsigned i = 0; i < MODEL_CLIENTS; i++) {
		struct in6_addr prefix = make_client(i);
		struct cidr client;

		if (!model->address[i].s_addr)
			continue;
		prefix = cidr_mask(&prefix, 64);
		cr_assert(lease_pool_find(pool, model->address[i], &client));
		cr_assert(!memcmp(&client.network, &prefix, sizeof(prefix)) && client.bits == 64);
	}
	cr_assert_eq(memcmp(&stats, &model->stats, sizeof(stats)), 0);
}

static void run_model(const char *block, uint64_t seed)
{
	struct lease_pool *pool = make_pool(block, 64, 1000);
	static struct model model;

	memset(&model, 0, sizeof(model));
	for (uint64_t now_s = 1; now_s < 3000; now_s++) {
		uint64_t random = support_random(&seed);
		unsigned client = (unsigned)(random >> 8) % MODEL_CLIENTS;

		/* first more acquires than releases, then more releases */
		if (random % 8 < (now_s & 512 ? 5 : 3)) {
			struct in6_addr address = make_client(client);
			struct in_addr leased = {0};
			int expected = model_acquire(&model, pool, client, now_s);

			cr_assert_eq(lease_pool_acquire(pool, &address, now_s * 1000, &leased),
				     expected, "%s at %d", block, (int)now_s);
			cr_assert(expected || leased.s_addr == model.address[client].s_addr,
				  "%s at %d", block, (int)now_s);
		} else if (model.references[client]) {
			lease_pool_release(pool, model.address[client], now_s * 1000);
			model.stats.live -= !--model.references[client];
			model.used_s[client] = now_s;
		}
		compare(&model, pool);
	}
	cr_expect(model.stats.collisions && model.stats.evictions, "%s tries nothing", block);
	lease_pool_destroy(pool);
}

Test(lease_pool, does_as_the_model)
{
	static const char *const blocks[] = {"192.0.2.16/28", "192.0.2.0/28", "192.0.2.4/30",
					     "198.51.100.32/27"};

	for (size_t i = 0; i < ARRAY_COUNT(blocks); i++)
		for (uint64_t seed = 1; seed <= 10; seed++)
			run_model(blocks[i], seed);
}

/* Many threads --------------------------------------------------------------------------------- */

#define CROWD_THREADS 4
#define CROWD_CLIENTS 12
#define CROWD_HELD    6 /* by one thread at a time */

/* What the holders of a reference know: set after an acquire, removed before the release. */
struct crowd {
	struct lease_pool *pool;
	unsigned rounds;
	/* by last byte of the address: client + 1, and the number of holders */
	_Atomic uint64_t at_address[256];
	_Atomic uint64_t of_client[CROWD_CLIENTS]; /* address, and the number of holders */
	_Atomic unsigned faults, refused;
	_Atomic uint64_t clock_ms;
	atomic_bool over;
};

/* Adds a holder of `what` to the slot. Returns false if the slot has holders of something else. */
static bool learn(_Atomic uint64_t *slot, uint32_t what)
{
	uint64_t seen = atomic_load(slot);

	do {
		if (seen && seen >> 32 != what)
			return false;
	} while (!atomic_compare_exchange_weak(slot, &seen,
					       (uint64_t)what << 32 | ((uint32_t)seen + 1)));
	return true;
}

static void forget(_Atomic uint64_t *slot)
{
	uint64_t seen = atomic_load(slot), left;

	do {
		left = (uint32_t)seen == 1 ? 0 : seen - 1;
	} while (!atomic_compare_exchange_weak(slot, &seen, left));
}

struct crowd_member {
	struct crowd *crowd;
	uint64_t seed;
	unsigned held_count;
	struct {
		unsigned client;
		struct in_addr leased;
	} held[CROWD_HELD];
};

static void crowd_acquire(struct crowd_member *member, unsigned client)
{
	struct crowd *crowd = member->crowd;
	struct in6_addr address = make_client(client);
	struct in_addr leased;

	if (lease_pool_acquire(crowd->pool, &address, atomic_fetch_add(&crowd->clock_ms, 250),
			       &leased)) {
		crowd->refused++;
		return;
	}
	if (!learn(&crowd->at_address[ntohl(leased.s_addr) & 0xff], client + 1) ||
	    !learn(&crowd->of_client[client], ntohl(leased.s_addr)))
		crowd->faults++;
	member->held[member->held_count].client = client;
	member->held[member->held_count++].leased = leased;
}

static void crowd_release(struct crowd_member *member, unsigned index)
{
	struct crowd *crowd = member->crowd;
	struct in_addr leased = member->held[index].leased;

	forget(&crowd->at_address[ntohl(leased.s_addr) & 0xff]);
	forget(&crowd->of_client[member->held[index].client]);
	member->held[index] = member->held[--member->held_count];
	lease_pool_release(crowd->pool, leased, atomic_fetch_add(&crowd->clock_ms, 250));
}

static void *run_crowd_member(void *argument)
{
	struct crowd_member *member = argument;

	for (unsigned i = 0; i < member->crowd->rounds && !member->crowd->faults; i++) {
		uint64_t random = support_random(&member->seed);

		if (random & 1 ? member->held_count < CROWD_HELD : !member->held_count)
			crowd_acquire(member, (unsigned)(random >> 32) % CROWD_CLIENTS);
		else
			crowd_release(member, (unsigned)(random >> 32) % member->held_count);
		if (random >> 8 & 1)
			sched_yield();
	}
	while (member->held_count && !member->crowd->faults)
		crowd_release(member, 0);
	return NULL;
}

/* The saver reads meanwhile: it must never see an address or a prefix twice. */
static void *run_crowd_reader(void *argument)
{
	struct crowd *crowd = argument;
	struct lease_record records[LEASE_BUCKET_LEASES];

	while (!crowd->over) {
		unsigned count = lease_pool_read_bucket(crowd->pool, 0, records);

		for (unsigned i = 0; i < count; i++)
			for (unsigned j = 0; j < i; j++)
				if (records[i].address.s_addr == records[j].address.s_addr ||
				    !memcmp(&records[i].client, &records[j].client,
					    sizeof(records[i].client)))
					crowd->faults++;
		sched_yield();
	}
	return NULL;
}

static void run_crowd(const char *block, unsigned rounds)
{
	struct crowd crowd = {.pool = make_pool(block, 64, 64), .rounds = rounds};
	struct crowd_member members[CROWD_THREADS];
	pthread_t reader;
	struct lease_pool_stats stats;

	cr_assert(!pthread_create(&reader, NULL, run_crowd_reader, &crowd));
	for (unsigned i = 0; i < CROWD_THREADS; i++)
		members[i] = (struct crowd_member){.crowd = &crowd, .seed = i};
	support_run_threads(run_crowd_member, members, sizeof(members[0]), CROWD_THREADS);
	crowd.over = true;
	pthread_join(reader, NULL);
	stats = stats_of(crowd.pool);
	cr_expect_eq(crowd.faults, 0, "%s", block);
	cr_expect_eq(stats.live, 0, "%s", block);
	cr_expect_eq(stats.exhausted, crowd.refused, "%s", block);
	cr_expect_eq(stats.in_use,
		     lease_pool_read_bucket(crowd.pool, 0,
					    (struct lease_record[LEASE_BUCKET_LEASES]){0}),
		     "%s", block);
	cr_expect_gt(stats.evictions, 100, "%s", block);
	lease_pool_destroy(crowd.pool);
}

Test(lease_pool, crowd)
{
	run_crowd("192.0.2.4/30", 30000);
	run_crowd("192.0.2.8/29", 30000);
}
