/* SPDX-License-Identifier: MIT */
/* pacer.h, used by several threads at once. test_pacer.c has the rest. */
#include <criterion/criterion.h>
#include <stdatomic.h>

#include "base/util.h"
#include "limits/pacer.h"
#include "support.h"

TestSuite(pacer_threads, .fini = support_check_leaks);

#define THREADS	     4
#define THREAD_STEPS 100000

struct crowd {
	struct pacer pacer;
	_Atomic uint64_t now_us;
	uint64_t tick_us; /* how far a step moves the clock */
};

struct member {
	struct crowd *crowd;
	uint64_t state;
	uint64_t moved_bytes;
};

static void *take_and_leave(void *argument)
{
	struct member *member = argument;
	struct crowd *crowd = member->crowd;
	struct pacer_share share = {0};

	for (unsigned i = 0; i < THREAD_STEPS; i++) {
		uint64_t random = support_random(&member->state);
		uint64_t now_us = atomic_fetch_add(&crowd->now_us, random % 2 * crowd->tick_us);
		uint64_t got = pacer_take(&crowd->pacer, &share, 1 + random % 5000, now_us);
		uint64_t unused = random >> 32 & 1 ? got / 3 : 0;

		if (unused)
			pacer_give_back(&share, unused);
		member->moved_bytes += got - unused;
		if ((random >> 40) % 4 == 0)
			pacer_leave(&crowd->pacer, &share);
	}
	pacer_leave(&crowd->pacer, &share);
	return NULL;
}

Test(pacer_threads, take_no_more_than_there_is_and_lose_nothing)
{
	static const uint64_t ticks_us[] = {0, 1, 10, 500};

	for (size_t i = 0; i < ARRAY_COUNT(ticks_us); i++) {
		struct crowd crowd = {.now_us = 5000, .tick_us = ticks_us[i]};
		struct member members[THREADS];
		struct pacer_share share = {0};
		struct pacer_rate rate;
		uint64_t sum = 0, elapsed_us;

		/*
		 * where no time passes the bucket holds more than all of them can take, so that the
		 * rest can be counted
		 */
		pacer_rate_init(&rate, 10000000,
				ticks_us[i] ? 500000000 : (uint64_t)THREADS * THREAD_STEPS * 5001);
		pacer_init(&crowd.pacer, &rate, crowd.now_us);
		for (unsigned j = 0; j < THREADS; j++)
			members[j] = (struct member){.crowd = &crowd, .state = i * 100 + j};
		support_run_threads(take_and_leave, members, sizeof(members[0]), THREADS);
		for (unsigned j = 0; j < THREADS; j++)
			sum += members[j].moved_bytes;
		elapsed_us = crowd.now_us - 5000;
		cr_expect_gt(sum, 1000000);
		cr_expect_leq(sum, rate.burst_bytes + 10 * elapsed_us);
		cr_expect_eq(crowd.pacer.waiting, 0);
		/* what is left is what was not moved, to the byte, unless the bucket ran over */
		if (!elapsed_us)
			cr_expect_eq(pacer_take(&crowd.pacer, &share, UINT64_MAX, crowd.now_us),
				     rate.burst_bytes - sum);
	}
}
