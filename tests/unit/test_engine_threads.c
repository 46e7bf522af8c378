/* SPDX-License-Identifier: MIT */
/* engine.h: hand-over and wake-ups, between two threads. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine_fixture.h"
#include "os/engine.h"
#include "support.h"

TestSuite(engine_threads, .fini = support_check_leaks);

#define GIVEN	   engine_token(ENGINE_OP_HANDED_OVER, 0, 5, 0)
#define GIVEN_AWAY engine_token(ENGINE_OP_HAND_OVER_SENT, 1, 5, 9)
#define WAKES	   1000

struct helper {
	pthread_t thread;
	pthread_barrier_t enabled;
	struct engine *engine;
	/* the ring synchronises the threads; ThreadSanitizer learns this by these atomics */
	_Atomic int sent_fd;
	_Atomic unsigned done_count;
};

/* Sends a byte to every socket that is handed over; ends at the first wake-up. */
static void *run_helper(void *argument)
{
	struct helper *self = argument;
	struct engine_event event;

	cr_assert_eq(engine_enable(self->engine), 0);
	pthread_barrier_wait(&self->enabled);
	for (;;) {
		if (engine_wait(self->engine, -1, &event, 1) != 1)
			continue;
		if (engine_token_op(event.token) == ENGINE_OP_WAKE)
			return NULL;
		cr_expect_eq(event.token, GIVEN);
		cr_expect(!event.more);
		cr_assert_eq(event.result, self->sent_fd);
		cr_assert_eq(send(event.result, "!", 1, 0), 1);
		close(event.result);
		self->done_count++;
	}
}

static void start(struct helper *helper)
{
	memset(helper, 0, sizeof(*helper));
	helper->engine = fixture_create();
	pthread_barrier_init(&helper->enabled, NULL, 2);
	cr_assert(!pthread_create(&helper->thread, NULL, run_helper, helper));
	pthread_barrier_wait(&helper->enabled);
}

static void stop(struct helper *helper)
{
	engine_wake(helper->engine);
	pthread_join(helper->thread, NULL);
	pthread_barrier_destroy(&helper->enabled);
	engine_destroy(helper->engine);
}

Test(engine_threads, hands_a_socket_over_to_another_thread)
{
	struct engine *engine = fixture_open();
	struct helper helper;

	start(&helper);
	for (unsigned i = 0; i < 100; i++) {
		struct engine_event event;
		struct support_tcp tcp;
		char answer = 0;

		support_tcp_open(&tcp, 0, 0);
		helper.sent_fd = tcp.ours;
		engine_hand_over(engine, helper.engine, tcp.ours, GIVEN, GIVEN_AWAY);
		event = fixture_next(engine);
		cr_expect_eq(event.token, GIVEN_AWAY);
		cr_assert_geq(event.result, 0, "%d", event.result);
		cr_expect(!event.more);
		tcp.ours = -1; /* the other thread owns the socket now */
		support_receive(tcp.peer, &answer, 1);
		cr_expect_eq(answer, '!');
		while (helper.done_count <= i)
			sched_yield();
		fixture_close_tcp(engine, &tcp);
	}
	stop(&helper);
	cr_expect_eq(helper.done_count, 100);
	engine_destroy(engine);
}

Test(engine_threads, a_hand_over_that_fails_leaves_the_socket_ours)
{
	struct engine *engine = fixture_open(), *disabled = fixture_create();
	struct engine_event event;
	struct support_tcp tcp;

	support_tcp_open(&tcp, 0, 0);
	/* no thread takes the sockets; how many fit depends on the engine */
	for (unsigned i = 0; i < 100000; i++) {
		engine_hand_over(engine, disabled, tcp.ours, GIVEN, GIVEN_AWAY);
		event = fixture_next(engine);
		cr_expect_eq(event.token, GIVEN_AWAY);
		if (event.result < 0)
			break;
	}
	cr_expect_lt(event.result, 0);
	support_send(tcp.ours, "x", 1);
	support_wait_for_bytes(tcp.peer, 1);
	fixture_close_tcp(engine, &tcp);
	engine_destroy(disabled);
	engine_destroy(engine);
}

Test(engine_threads, a_wake_before_the_wait_is_not_lost)
{
	struct engine *engine = fixture_open();
	struct engine_event event;

	for (unsigned i = 0; i < WAKES; i++) {
		for (unsigned times = 0; times <= i % 3; times++)
			engine_wake(engine);
		event = fixture_next(engine);
		cr_assert_eq(engine_token_op(event.token), ENGINE_OP_WAKE);
		/* several wake-ups may be one event; none is left over */
		while (engine_wait(engine, 0, &event, 1) == 1)
			cr_assert_eq(engine_token_op(event.token), ENGINE_OP_WAKE);
	}
	engine_destroy(engine);
}

Test(engine_threads, wakes_a_thread_that_waits)
{
	for (unsigned i = 0; i < 20; i++) {
		struct helper helper;

		start(&helper);
		stop(&helper);
	}
}
