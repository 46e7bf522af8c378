/* SPDX-License-Identifier: MIT */
/* client_limits.h, used by several threads at once. test_client_limits.c has the rest. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/util.h"
#include "client_limits_fixture.h"
#include "support.h"

TestSuite(client_limits_threads, .fini = support_check_leaks);

#define THREADS	       4
#define THREAD_STEPS   60000
#define THREAD_HELD    12
#define THREAD_MAXCONN 5
#define SHARED_SOURCES 6

struct crowd {
	struct client_limits *limits;
	unsigned clients;
	bool passers_by; /* connections of ever new clients in between, which take entries */
	/* connections that the threads have, by client */
	_Atomic uint32_t live[SHARED_SOURCES];
	_Atomic unsigned beyond;
	_Atomic unsigned entered, refused;
};

struct member {
	struct crowd *crowd;
	uint64_t state;
	struct {
		unsigned client;
		client_ticket ticket;
	} held[THREAD_HELD];
	unsigned held_count;
};

static void let_go(struct member *member, unsigned which)
{
	struct crowd *crowd = member->crowd;

	atomic_fetch_sub(&crowd->live[member->held[which].client], 1);
	client_limits_leave(crowd->limits, member->held[which].ticket);
	member->held[which] = member->held[--member->held_count];
}

static void try_one(struct member *member)
{
	struct crowd *crowd = member->crowd;
	unsigned client = (unsigned)(support_random(&member->state) % crowd->clients);
	client_ticket ticket;

	if (fixture_enter(crowd->limits, client, 0, &ticket) != CLIENT_OK) {
		atomic_fetch_add(&crowd->refused, 1);
		return;
	}
	atomic_fetch_add(&crowd->entered, 1);
	if (ticket == CLIENT_UNCOUNTED || /* then the test would prove nothing */
	    atomic_fetch_add(&crowd->live[client], 1) >= THREAD_MAXCONN)
		atomic_fetch_add(&crowd->beyond, 1);
	member->held[member->held_count].client = client;
	member->held[member->held_count++].ticket = ticket;
}

static void *come_and_go(void *argument)
{
	struct member *member = argument;
	struct crowd *crowd = member->crowd;

	for (unsigned i = 0; i < THREAD_STEPS; i++) {
		uint64_t random = support_random(&member->state);
		client_ticket ticket;

		if (crowd->passers_by && random % 4 == 0) {
			fixture_enter(crowd->limits, 1000 + random % 100000, 0, &ticket);
			client_limits_leave(crowd->limits, ticket);
		}
		if (member->held_count == THREAD_HELD || (member->held_count && random >> 32 & 1))
			let_go(member, (unsigned)((random >> 33) % member->held_count));
		else
			try_one(member);
		if (random % 64 == 0)
			sched_yield();
	}
	while (member->held_count)
		let_go(member, 0);
	return NULL;
}

Test(client_limits_threads, never_exceed_maxconn_and_lose_nothing)
{
	static const struct {
		unsigned clients;
		bool passers_by;
	} rows[] = {{1, false}, {SHARED_SOURCES, false}, {1, true}, {SHARED_SOURCES, true}};

	for (size_t row = 0; row < ARRAY_COUNT(rows); row++) {
		struct crowd crowd = {.limits = fixture_limits(THREAD_MAXCONN, 0, 16),
				      .clients = rows[row].clients,
				      .passers_by = rows[row].passers_by};
		struct member members[THREADS];

		for (unsigned i = 0; i < THREADS; i++)
			members[i] = (struct member){.crowd = &crowd, .state = row * 100 + i};
		support_run_threads(come_and_go, members, sizeof(members[0]), THREADS);
		cr_expect_eq(crowd.beyond, 0, "row %zu: %u beyond", row, crowd.beyond);
		cr_expect_gt(crowd.entered, 1000);
		cr_expect_gt(crowd.refused, 100);
		for (unsigned i = 0; i < SHARED_SOURCES; i++)
			cr_expect_eq(fixture_live(crowd.limits, i), 0);
		client_limits_destroy(crowd.limits);
	}
}

struct racer {
	struct client_limits *limits;
	unsigned entered;
};

static void *race(void *argument)
{
	struct racer *racer = argument;
	client_ticket ticket;

	for (unsigned i = 0; i < 20000; i++) {
		racer->entered += fixture_enter(racer->limits, 1, 777, &ticket) == CLIENT_OK;
		client_limits_leave(racer->limits, ticket);
	}
	return NULL;
}

Test(client_limits_threads, share_the_tokens)
{
	struct client_limits *limits = fixture_limits(0, 10000, 16);
	struct racer racers[THREADS];
	unsigned entered = 0;
	client_ticket ticket;

	/* the client has an entry: from here on the count is exact */
	cr_assert_eq(fixture_enter(limits, 1, 777, &ticket), CLIENT_OK);
	for (unsigned i = 0; i < THREADS; i++)
		racers[i] = (struct racer){.limits = limits};
	support_run_threads(race, racers, sizeof(racers[0]), THREADS);
	for (unsigned i = 0; i < THREADS; i++)
		entered += racers[i].entered;
	cr_expect_eq(entered, 9999);
	client_limits_destroy(limits);
}

#define ROUNDS 5000

struct first_comers {
	struct client_limits *limits;
	pthread_barrier_t barrier;
	_Atomic unsigned admitted; /* of all, in all rounds */
	_Atomic unsigned beyond;   /* rounds with more than one */
	_Atomic unsigned in_round[ROUNDS];
};

struct first_comer {
	struct first_comers *all;
	uint64_t state;
};

/* All threads enter a new client at once, while entries of the table become free. */
static void *come_first(void *argument)
{
	struct first_comer *comer = argument;
	struct first_comers *all = comer->all;
	client_ticket passing, ticket;

	for (unsigned round = 0; round < ROUNDS; round++) {
		fixture_enter(all->limits, 1000000 + support_random(&comer->state) % 10000, 0,
			      &passing);
		pthread_barrier_wait(&all->barrier);
		for (unsigned pause = support_random(&comer->state) % 64; pause; pause--)
			atomic_load(&all->beyond);
		client_limits_leave(all->limits, passing);
		if (fixture_enter(all->limits, round, 0, &ticket) == CLIENT_OK &&
		    ticket != CLIENT_UNCOUNTED) {
			atomic_fetch_add(&all->admitted, 1);
			if (atomic_fetch_add(&all->in_round[round], 1))
				atomic_fetch_add(&all->beyond, 1);
		}
		pthread_barrier_wait(&all->barrier);
		client_limits_leave(all->limits, ticket);
	}
	return NULL;
}

Test(client_limits_threads, that_come_first_together)
{
	struct first_comers all = {.limits = fixture_limits(1, 0, 8)};
	struct first_comer comers[THREADS];

	cr_assert_eq(pthread_barrier_init(&all.barrier, NULL, THREADS), 0);
	for (unsigned i = 0; i < THREADS; i++)
		comers[i] = (struct first_comer){.all = &all, .state = i};
	support_run_threads(come_first, comers, sizeof(comers[0]), THREADS);
	pthread_barrier_destroy(&all.barrier);
	cr_expect_eq(all.beyond, 0, "%u beyond", all.beyond);
	/* hardly ever do all of them refuse because of each other */
	cr_expect_gt(all.admitted, ROUNDS * 9 / 10, "%u admitted", all.admitted);
	client_limits_destroy(all.limits);
}
