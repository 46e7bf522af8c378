/* SPDX-License-Identifier: MIT */
/*
 * The io_uring engine while the kernel has no memory for requests: io_uring_enter(2) returns
 * EAGAIN.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/util.h"
#include "engine_fixture.h"
#include "os/engine.h"
#include "os/timer.h"
#include "seccomp_fixture.h"
#include "support.h"

TestSuite(engine_shortage, .fini = support_check_leaks);

/* More requests than the submission queue can have. */
#define WAITS 2500

/* Long enough for 100,000 attempts, one after the other. */
#define SHORTAGE_MS 3000

static atomic_bool refuses;

static uint64_t cpu_ms(void)
{
	struct timespec used;

	cr_assert(!clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used));
	return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

static void *end_shortage(void *unused)
{
	uint64_t end_ms = timer_now_ms() + SHORTAGE_MS;

	(void)unused;
	while (timer_now_ms() < end_ms)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	refuses = false;
	return NULL;
}

static unsigned await_all(struct engine *engine)
{
	static bool told[WAITS];
	uint64_t deadline_ms = timer_now_ms() + SUPPORT_PATIENCE_MS;
	unsigned count = 0;

	while (count < WAITS && timer_now_ms() < deadline_ms) {
		struct engine_event events[64];
		int got = engine_wait(engine, SUPPORT_PATIENCE_MS, events, 64);

		cr_assert_geq(got, 0);
		for (int i = 0; i < got; i++) {
			bool *slot = &told[engine_token_slot(events[i].token)];

			cr_expect_gt(events[i].result, 0);
			cr_expect(!*slot, "told twice");
			count += !*slot;
			*slot = true;
		}
	}
	return count;
}

/* No request is lost, the process does not abort, and the worker does not spin. */
Test(engine_shortage, requests_wait_for_the_kernel)
{
	struct engine *engine;
	struct support_tcp tcp;
	struct engine_event event;
	pthread_t clock;

	engine = fixture_open();
	support_tcp_open(&tcp, 0, 0);
	support_send(tcp.peer, "x", 1);
	cr_assert(!pthread_create(&clock, NULL, end_shortage, NULL));
	refuses = true;
	fixture_ask(SYS_io_uring_enter, EAGAIN, &refuses);
	cr_expect_eq(engine_wait(engine, 0, &event, 1), 0);
	for (unsigned i = 0; i < WAITS; i++)
		engine_wait_for(engine, tcp.ours, ENGINE_READABLE, false,
				engine_token(ENGINE_OP_READY, 0, i, 1));
	cr_expect(!refuses, "the queue holds all of them: nothing was tested");
	cr_expect_lt(cpu_ms(), SHORTAGE_MS / 2);
	cr_expect_gt(engine_take_pauses(engine), 0);
	cr_expect_eq(engine_take_pauses(engine), 0);
	cr_expect_eq(await_all(engine), WAITS);
	pthread_join(clock, NULL);
	fixture_close_tcp(engine, &tcp);
	engine_destroy(engine);
}

/* Any other error ends the engine: the wait returns it, and the process does not abort. */
Test(engine_shortage, a_refusal_for_good_is_an_error)
{
	struct engine *engine;
	struct support_tcp tcp;
	struct engine_event event;

	engine = fixture_open();
	support_tcp_open(&tcp, 0, 0);
	fixture_refuse(SYS_io_uring_enter, EPERM);
	for (unsigned i = 0; i < WAITS; i++)
		engine_wait_for(engine, tcp.ours, ENGINE_READABLE, false,
				engine_token(ENGINE_OP_READY, 0, i, 1));
	cr_expect_eq(engine_wait(engine, -1, &event, 1), -EPERM);
	fixture_close_tcp(engine, &tcp);
	engine_destroy(engine);
}
