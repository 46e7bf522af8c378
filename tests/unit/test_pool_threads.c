/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/util.h"
#include "pool/pool.h"
#include "pool_fixture.h"
#include "support.h"

TestSuite(pool_threads, .fini = support_check_leaks);

#define NOW	POOL_FIXTURE_MS
#define THREADS 4
#define ROUNDS	20000

/* What the threads of a test share. */
struct crew {
	struct pool *pool;
	void (*run)(struct crew *crew, unsigned thread);
	pthread_barrier_t start;
	atomic_uint next_thread;
	atomic_uint live; /* claims held, of a member with maxconn */
	atomic_uint most_live;
	atomic_uint probes;
	atomic_uint downs;
	atomic_uint ups;
	atomic_uint wrong;
	atomic_bool stop;
	unsigned address_count; /* of a name, at a time */
	_Atomic uint64_t now_ms;
};

static void *run_thread(void *argument)
{
	struct crew *crew = argument;
	unsigned thread = atomic_fetch_add(&crew->next_thread, 1);

	pthread_barrier_wait(&crew->start);
	crew->run(crew, thread);
	return NULL;
}

static void run_crew(struct crew *crew, void (*run)(struct crew *crew, unsigned thread))
{
	crew->run = run;
	atomic_store(&crew->next_thread, 0);
	pthread_barrier_init(&crew->start, NULL, THREADS);
	support_run_threads(run_thread, crew, 0, THREADS);
	pthread_barrier_destroy(&crew->start);
}

static void count_change(struct crew *crew, enum pool_change change)
{
	if (change == POOL_WENT_DOWN)
		atomic_fetch_add(&crew->downs, 1);
	if (change == POOL_CAME_UP)
		atomic_fetch_add(&crew->ups, 1);
}

/* maxconn -------------------------------------------------------------------------------------- */

/* Each thread holds up to two claims at a time; maxconn is three. */
static void come_and_go(struct crew *crew, unsigned thread)
{
	(void)thread;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct pool_claim claims[2] = {{0}};

		for (unsigned j = 0; j < 2; j++) {
			unsigned live;
			unsigned most;

			if (pool_fixture_choose(crew->pool, NOW, &claims[j]) < 0)
				continue;
			live = atomic_fetch_add(&crew->live, 1) + 1;
			most = atomic_load(&crew->most_live);
			while (live > most &&
			       !atomic_compare_exchange_weak(&crew->most_live, &most, live))
				continue;
		}
		for (unsigned j = 0; j < 2; j++) {
			if (!claims[j].held)
				continue;
			atomic_fetch_sub(&crew->live, 1);
			pool_end(crew->pool, &claims[j]);
		}
	}
}

Test(pool_threads, maxconn_is_never_exceeded)
{
	for (int balance = POOL_ROUNDROBIN; balance <= POOL_SOURCE; balance++) {
		struct pool_settings settings = {.balance = (enum pool_balance)balance};
		struct crew crew = {.pool = pool_fixture_make(settings, "1/1 2/2")};
		struct pool_snapshot snapshot;

		run_crew(&crew, come_and_go);
		cr_expect_leq(crew.most_live, 3);
		cr_expect_geq(crew.most_live, 2);
		for (unsigned i = 0; i < 2; i++) {
			pool_snapshot(crew.pool, i, NOW, &snapshot);
			cr_expect_eq(snapshot.live, 0);
			cr_expect_gt(snapshot.total, 0);
		}
		pool_destroy(crew.pool);
	}
}

/* All threads share the position: each member has exactly its share. */
static void take_turns(struct crew *crew, unsigned thread)
{
	(void)thread;
	for (unsigned i = 0; i < 7000; i++) {
		struct pool_claim claim;

		pool_fixture_choose(crew->pool, NOW, &claim);
		pool_end(crew->pool, &claim);
	}
}

Test(pool_threads, shares_are_exact)
{
	static const unsigned weights[] = {4, 2, 1};
	struct crew crew = {.pool = pool_fixture_make((struct pool_settings){0}, "4 2 1")};
	struct pool_snapshot snapshot;

	run_crew(&crew, take_turns);
	for (unsigned i = 0; i < ARRAY_COUNT(weights); i++) {
		pool_snapshot(crew.pool, i, NOW, &snapshot);
		cr_expect_eq(snapshot.total, THREADS * 1000 * weights[i]);
	}
	pool_destroy(crew.pool);
}

/* Probes --------------------------------------------------------------------------------------- */

/* One session is the probe; the others are refused as long as it goes on. */
static void try_once(struct crew *crew, unsigned thread)
{
	struct pool_claim claim;

	(void)thread;
	if (pool_fixture_choose(crew->pool, crew->now_ms, &claim) >= 0) {
		if (!claim.probe || atomic_fetch_add(&crew->live, 1))
			atomic_fetch_add(&crew->wrong, 1);
		atomic_fetch_add(&crew->probes, 1);
		sched_yield();
		atomic_fetch_sub(&crew->live, 1);
		if (pool_failed(crew->pool, &claim, crew->now_ms))
			atomic_fetch_add(&crew->wrong, 1);
	}
	pool_end(crew->pool, &claim);
}

Test(pool_threads, one_probe_gets_through)
{
	struct pool_settings settings = {.max_fails = 1, .fail_timeout_ms = 100};
	struct crew crew = {.pool = pool_fixture_make(settings, "1"), .now_ms = NOW};

	cr_assert_eq(pool_fixture_fail(crew.pool, 0, 1, NOW), POOL_WENT_DOWN);
	for (unsigned i = 0; i < 500; i++) {
		crew.now_ms += 100;
		run_crew(&crew, try_once);
		cr_assert_eq(crew.probes, i + 1);
	}
	cr_expect_eq(crew.wrong, 0);
	pool_destroy(crew.pool);
}

/* Reports of every kind at once, on a clock that the threads move on together. */
static void report(struct crew *crew, unsigned thread)
{
	uint64_t random = thread + 1;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t now_ms = atomic_fetch_add(&crew->now_ms, 1);
		struct pool_claim claim;

		if (pool_fixture_choose(crew->pool, now_ms, &claim) < 0)
			continue;
		if (claim.probe && atomic_fetch_add(&crew->live, 1))
			atomic_fetch_add(&crew->wrong, 1);
		if (claim.probe)
			atomic_fetch_sub(&crew->live, 1);
		switch (support_random(&random) % 3) {
		case 0:
			count_change(crew, pool_succeeded(crew->pool, &claim, now_ms));
			break;
		case 1:
			count_change(crew, pool_failed(crew->pool, &claim, now_ms));
			break;
		default: /* no report */
			break;
		}
		pool_end(crew->pool, &claim);
	}
}

Test(pool_threads, each_change_is_told_once)
{
	struct pool_settings settings = {.max_fails = 2, .fail_timeout_ms = 10};
	struct crew crew = {.pool = pool_fixture_make(settings, "1"), .now_ms = NOW};
	struct pool_snapshot snapshot;
	bool up;

	run_crew(&crew, report);
	cr_expect_eq(crew.wrong, 0);
	cr_expect_gt(crew.downs, 100);
	pool_snapshot(crew.pool, 0, 0, &snapshot);
	up = snapshot.state == POOL_UP;
	cr_expect_eq(crew.downs, crew.ups + !up, "%u down, %u up", crew.downs, crew.ups);
	cr_expect_eq(snapshot.downs, crew.downs);
	pool_destroy(crew.pool);
}

/* Members that are added and removed ----------------------------------------------------------- */

#define SETS 3

/* Set s of a name's addresses: 192.0.2.(16 s + 1) and the next three, all with port 1000 + s. */
static void make_set(unsigned set, struct addr addresses[4])
{
	for (unsigned i = 0; i < 4; i++) {
		addresses[i] = pool_fixture_member(16 * set + i).address;
		addr_set_port(&addresses[i], 1000 + set);
	}
}

/* Thread 0 is the control thread; the others read the address of each claim, twice. */
static void choose_while_replaced(struct crew *crew, unsigned thread)
{
	struct addr addresses[4];
	struct pool_group group = {.terms = {.weight = 3, .maxconn = 2},
				   .addresses = addresses,
				   .count = crew->address_count};

	/* and on until the others have had a claim: on a busy machine they may be late */
	for (unsigned i = 0; !thread && (i < ROUNDS || !atomic_load(&crew->live)); i++) {
		make_set(i % SETS, addresses);
		/* some find no slot now and then, while others drain */
		(void)pool_replace(crew->pool, &group);
	}
	if (!thread)
		atomic_store(&crew->stop, true);
	while (!atomic_load(&crew->stop)) {
		struct pool_claim claim;
		struct addr before;

		if (pool_fixture_choose(crew->pool, NOW, &claim) < 0)
			continue;
		before = *pool_address(crew->pool, &claim);
		sched_yield();
		if (!addr_equal(&before, pool_address(crew->pool, &claim)) ||
		    (ntohl(before.v4.sin_addr.s_addr) & 0xff) / 16 + 1000 != addr_port(&before))
			atomic_fetch_add(&crew->wrong, 1);
		atomic_fetch_add(&crew->live, 1);
		pool_end(crew->pool, &claim);
	}
}

static void check_addresses(enum pool_balance balance, unsigned slots, unsigned address_count)
{
	struct pool_settings settings = {.slots = slots, .balance = balance};
	struct crew crew = {.pool = pool_fixture_make(settings, ""),
			    .address_count = address_count};

	run_crew(&crew, choose_while_replaced);
	cr_expect_eq(crew.wrong, 0);
	cr_expect_gt(crew.live, 0);
	pool_destroy(crew.pool);
}

Test(pool_threads, an_address_stays_while_a_claim_is_held)
{
	for (int balance = POOL_ROUNDROBIN; balance <= POOL_SOURCE; balance++) {
		check_addresses((enum pool_balance)balance, 8, 4);
		/* the same slot again and again, while other threads choose it */
		check_addresses((enum pool_balance)balance, 1, 1);
	}
}
