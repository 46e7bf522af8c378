/* SPDX-License-Identifier: MIT */
#include "relay/load.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "support.h"

TestSuite(load, .fini = support_check_leaks);

#define WORKER_LIMIT 8

static uint32_t sessions_of(const struct load *load, unsigned worker)
{
	return load->workers[worker].sessions & ~LOAD_RETIRED;
}

Test(load, admits_up_to_the_limit)
{
	static const uint32_t rows[] = {0, 1, 2, 7, 1000};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		for (unsigned workers = 1; workers <= WORKER_LIMIT; workers++) {
			struct load load;

			cr_assert_eq(load_init(&load, rows[i], UINT32_MAX, workers), 0);
			for (uint32_t n = 0; n < rows[i]; n++) {
				cr_assert_eq(load_room(&load), rows[i] - n);
				cr_assert_geq(load_admit(&load, n % workers), 0);
			}
			cr_expect_eq(load_room(&load), 0);
			cr_expect_eq(load_admit(&load, 0), -1, "limit %u", rows[i]);
			cr_expect_eq(load_admit_here(&load, 0), -1, "limit %u", rows[i]);
			cr_expect_eq(load_room(&load), 0, "a refusal leaves no trace");
			load_finish(&load);
		}
}

struct choice_row {
	uint32_t sessions[3];
	unsigned own;
	int chosen;
};

/* The own worker, unless it has at least two sessions more than the least loaded worker. */
Test(load, choice)
{
	static const struct choice_row rows[] = {
		{{0, 0, 0}, 0, 0}, {{0, 0, 0}, 2, 2}, {{1, 0, 0}, 0, 0}, {{2, 0, 0}, 0, 1},
		{{2, 1, 0}, 0, 2}, {{2, 1, 1}, 0, 0}, {{3, 1, 1}, 0, 1}, {{5, 9, 4}, 0, 0},
		{{5, 9, 4}, 1, 2}, {{5, 9, 4}, 2, 2}, {{0, 7, 7}, 2, 0}, {{6, 7, 8}, 2, 0},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct choice_row *row = &rows[i];
		struct load load;
		int chosen;

		cr_assert_eq(load_init(&load, 1000, UINT32_MAX, 3), 0);
		for (unsigned worker = 0; worker < 3; worker++)
			load.workers[worker].sessions = row->sessions[worker];
		chosen = load_admit(&load, row->own);
		cr_expect_eq(chosen, row->chosen, "row %zu: %d", i, chosen);
		cr_expect_eq(sessions_of(&load, (unsigned)row->chosen),
			     row->sessions[row->chosen] + 1, "row %zu", i);
		cr_expect_eq(load_admit_here(&load, row->own), (int)row->own, "row %zu", i);
		cr_expect_eq(load_room(&load), 1000 - 2, "row %zu", i);
		load_finish(&load);
	}
}

Test(load, releasing_makes_room)
{
	struct load load;

	cr_assert_eq(load_init(&load, 2, UINT32_MAX, 2), 0);
	cr_expect_eq(load_admit(&load, 0), 0);
	cr_expect_eq(load_admit(&load, 1), 1);
	cr_expect_eq(load_admit(&load, 1), -1);
	load_release(&load, 0);
	cr_expect_eq(load_room(&load), 1);
	cr_expect_eq(load_admit(&load, 0), 0);
	load_move(&load, 0, 1);
	cr_expect_eq(sessions_of(&load, 0), 0);
	cr_expect_eq(sessions_of(&load, 1), 2);
	cr_expect_eq(load_room(&load), 0, "a move changes nothing for the whole");
	load_release(&load, 1);
	load_release(&load, 1);
	cr_expect_eq(load_room(&load), 2);
	load_finish(&load);
}

Test(load, a_retired_worker_is_never_chosen)
{
	struct load load;

	cr_assert_eq(load_init(&load, 100, UINT32_MAX, 3), 0);
	cr_expect_eq(load_admit(&load, 1), 1);
	cr_expect(!load_retire(&load, 1), "a session is admitted for worker 1");
	load_release(&load, 1);
	cr_expect(load_retire(&load, 1));
	cr_expect(!load_retire(&load, 1), "worker 1 has retired already");
	for (unsigned i = 0; i < 100; i++)
		cr_assert_neq(load_admit(&load, i % 2 ? 2 : 0), 1);
	cr_expect_eq(sessions_of(&load, 0) + sessions_of(&load, 2), 100);
	cr_expect_eq(sessions_of(&load, 1), 0);
	load_finish(&load);
}

Test(load, each_waiting_worker_is_returned_once)
{
	struct load load;

	cr_assert_eq(load_init(&load, 1, UINT32_MAX, 3), 0);
	cr_expect_eq(load_take_waiting(&load), -1);
	load_wait(&load, 2);
	load_wait(&load, 0);
	load_wait(&load, 2);
	cr_expect_eq(load_take_waiting(&load), 0);
	cr_expect_eq(load_take_waiting(&load), 2);
	cr_expect_eq(load_take_waiting(&load), -1);
	load_finish(&load);
}

static void release_too_often(void *load)
{
	load_release(load, 0);
}

Test(load, releasing_what_was_not_admitted_is_a_programming_error)
{
	struct load load;

	cr_assert_eq(load_init(&load, 1, UINT32_MAX, 1), 0);
	cr_expect(support_aborts(release_too_often, &load));
	load_finish(&load);
}

/* Threads -------------------------------------------------------------------------------------- */

#define ROUNDS	   50000
#define HELD_LIMIT 64

struct hammer {
	struct load load;
	bool retire;	       /* each thread retires its worker at its end */
	_Atomic uint32_t live; /* admitted and not yet released; never more than the true count */
	_Atomic uint32_t most_live;
	atomic_bool chosen_retired;
	atomic_bool retired[WORKER_LIMIT];
};

struct hammer_thread {
	struct hammer *hammer;
	unsigned own;
	unsigned held[HELD_LIMIT]; /* the workers of the sessions that this thread admitted */
	unsigned held_count;
};

static void raise_to(_Atomic uint32_t *most, uint32_t value)
{
	uint32_t seen = *most;

	while (seen < value && !atomic_compare_exchange_weak(most, &seen, value))
		;
}

static void admit(struct hammer_thread *self)
{
	struct hammer *hammer = self->hammer;
	int worker = load_admit(&hammer->load, self->own);

	if (worker < 0)
		return;
	if (hammer->retired[worker])
		hammer->chosen_retired = true;
	raise_to(&hammer->most_live, ++hammer->live);
	self->held[self->held_count++] = (unsigned)worker;
}

static void release(struct hammer_thread *self)
{
	unsigned worker = self->held[--self->held_count];

	self->hammer->live--;
	load_release(&self->hammer->load, worker);
}

static void *run_hammer(void *argument)
{
	struct hammer_thread *self = argument;
	uint64_t state = self->own;

	for (unsigned i = 0; i < ROUNDS; i++) {
		if (self->held_count == HELD_LIMIT ||
		    (self->held_count && support_random(&state) % 2))
			release(self);
		else
			admit(self);
	}
	while (self->held_count)
		release(self);
	while (self->hammer->retire && !load_retire(&self->hammer->load, self->own))
		sched_yield();
	self->hammer->retired[self->own] = self->hammer->retire;
	return NULL;
}

static void hammer_load(uint32_t limit, unsigned worker_count, bool retire)
{
	struct hammer *hammer = aligned_alloc(CACHE_LINE_BYTES, sizeof(*hammer));
	struct hammer_thread threads[WORKER_LIMIT] = {0};

	cr_assert_not_null(hammer);
	*hammer = (struct hammer){.retire = retire};
	cr_assert_eq(load_init(&hammer->load, limit, UINT32_MAX, worker_count), 0);
	for (unsigned i = 0; i < worker_count; i++) {
		threads[i].hammer = hammer;
		threads[i].own = i;
	}
	support_run_threads(run_hammer, threads, sizeof(threads[0]), worker_count);
	cr_expect_leq(hammer->most_live, limit, "%u sessions with a limit of %u", hammer->most_live,
		      limit);
	cr_expect(!hammer->chosen_retired, "a retired worker was chosen");
	cr_expect_eq(load_room(&hammer->load), limit, "an admission was not given back");
	for (unsigned i = 0; i < worker_count; i++)
		cr_expect_eq(hammer->load.workers[i].sessions, retire ? LOAD_RETIRED : 0,
			     "worker %u", i);
	load_finish(&hammer->load);
	free(hammer);
}

Test(load, threads_never_exceed_the_limit)
{
	static const uint32_t limits[] = {1, 3, 10, 200};

	for (size_t i = 0; i < ARRAY_COUNT(limits); i++)
		for (unsigned workers = 2; workers <= WORKER_LIMIT; workers *= 2)
			hammer_load(limits[i], workers, false);
}

Test(load, threads_never_choose_a_worker_that_has_retired)
{
	for (unsigned workers = 2; workers <= WORKER_LIMIT; workers *= 2)
		hammer_load(200, workers, true);
}

struct retiring {
	struct load load;
	atomic_bool over;
};

/* Worker 1 retires whenever it has no session, and then comes back, which no real worker does. */
static void *run_retiring(void *argument)
{
	struct retiring *self = argument;

	while (!self->over)
		if (load_retire(&self->load, 1)) {
			/* long enough for the other thread to admit something meanwhile */
			for (unsigned i = 0; i < 50; i++)
				cr_assert_leq(sessions_of(&self->load, 1), 1);
			atomic_fetch_and(&self->load.workers[1].sessions, ~LOAD_RETIRED);
		}
	return NULL;
}

/* An admission for a worker that retires at the same moment goes to another worker. */
Test(load, an_admission_keeps_its_worker_from_retiring)
{
	struct retiring *retiring = aligned_alloc(CACHE_LINE_BYTES, sizeof(*retiring));
	pthread_t thread;

	cr_assert_not_null(retiring);
	*retiring = (struct retiring){0};
	cr_assert_eq(load_init(&retiring->load, 10, UINT32_MAX, 2), 0);
	/* so that worker 1 is the least loaded */
	retiring->load.sessions = 3;
	retiring->load.workers[0].sessions = 3;
	cr_assert(!pthread_create(&thread, NULL, run_retiring, retiring));
	for (unsigned i = 0; i < 10 * ROUNDS; i++) {
		int worker = load_admit(&retiring->load, 0);

		cr_assert(worker == 0 || worker == 1);
		cr_assert(!(retiring->load.workers[worker].sessions & LOAD_RETIRED));
		load_release(&retiring->load, (unsigned)worker);
	}
	retiring->over = true;
	pthread_join(thread, NULL);
	cr_expect_eq(sessions_of(&retiring->load, 0), 3);
	cr_expect_eq(sessions_of(&retiring->load, 1), 0);
	load_finish(&retiring->load);
	free(retiring);
}

struct handshake {
	struct load load;
	_Atomic uint32_t admitted;
};

#define HANDSHAKES 20000

/* Admits as a listener does: without room it calls load_wait(), looks again, and waits. */
static void *run_waiting(void *argument)
{
	struct handshake *shake = argument;

	while (shake->admitted < HANDSHAKES) {
		if (load_admit(&shake->load, 0) >= 0) {
			shake->admitted++;
			continue;
		}
		load_wait(&shake->load, 0);
		if (load_room(&shake->load))
			continue;
		/* the open session will end, and then load_take_waiting() must find this worker */
		while (shake->load.workers[0].waits)
			sched_yield();
	}
	return NULL;
}

/* The waiting worker sees the room of an ended session, or load_take_waiting() sees the worker. */
Test(load, no_waiting_worker_is_forgotten, .timeout = 60)
{
	struct handshake *shake = aligned_alloc(CACHE_LINE_BYTES, sizeof(*shake));
	pthread_t thread;
	uint32_t released = 0;

	cr_assert_not_null(shake);
	*shake = (struct handshake){0};
	cr_assert_eq(load_init(&shake->load, 1, UINT32_MAX, 1), 0);
	cr_assert(!pthread_create(&thread, NULL, run_waiting, shake));
	while (released < HANDSHAKES) {
		if (shake->admitted == released) {
			sched_yield();
			continue;
		}
		load_release(&shake->load, 0);
		released++;
		load_take_waiting(&shake->load);
	}
	pthread_join(thread, NULL);
	load_finish(&shake->load);
	free(shake);
}
