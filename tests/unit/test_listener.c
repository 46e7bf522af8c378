/* listener.c: what a worker's listeners do about connections for other workers. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "config/config_parse.h"
#include "engine_fixture.h"
#include "forward_fixture.h"
#include "relay/listener.h"
#include "support.h"

TestSuite(listener, .fini = support_check_leaks);

#define SLOTS 4

/* Worker 0 of two, whose clients are refused as soon as a session is opened: they send no PROXY header. */
struct desk {
	struct config config;
	struct timer_wheel wheel;
	struct load load;
	struct metrics metrics;
	struct sessions sessions;
	struct listeners listeners;
	struct engine *engines[2];
};

static struct desk *begin(void)
{
	static char words[][24] = {"sixpipe",	     "[::1]:2000", "192.0.2.80:80",
				   "--accept-proxy", "--trust",	   "2001:db8::/32"};
	char *argv[ARRAY_COUNT(words)];
	struct desk *desk = aligned_alloc(CACHE_LINE_BYTES, sizeof(*desk));
	struct command_line line = {0};
	struct fault fault = {0};
	int fd = -1;

	cr_assert_not_null(desk);
	memset(desk, 0, sizeof(*desk));
	for (unsigned i = 0; i < ARRAY_COUNT(words); i++)
		argv[i] = words[i];
	config_init(&desk->config);
	line.config = &desk->config;
	cr_assert_eq(support_parse(&line, ARRAY_COUNT(argv), argv, &fault), 0, "%s",
		     support_text(&fault));
	timer_wheel_init(&desk->wheel, 0);
	cr_assert_eq(load_init(&desk->load, SLOTS, UINT32_MAX, 2), 0);
	for (unsigned i = 0; i < 2; i++)
		desk->engines[i] = fixture_open();
	desk->sessions.config = &desk->config;
	desk->sessions.wheel = &desk->wheel;
	desk->sessions.load = &desk->load;
	desk->sessions.engine = desk->engines[0];
	desk->sessions.metrics = desk->sessions.pump.metrics = &desk->metrics;
	cr_assert_eq(sessions_init(&desk->sessions, SLOTS), 0);
	desk->sessions.forwards = fixture_forwards(&desk->config, SLOTS);
	cr_assert_eq(listeners_init(&desk->listeners, &fd, &desk->sessions, desk->engines, 2), 0);
	return desk;
}

static void finish(struct desk *desk)
{
	listeners_finish(&desk->listeners);
	sessions_finish(&desk->sessions);
	forwards_destroy(desk->sessions.forwards);
	for (unsigned i = 0; i < 2; i++)
		engine_destroy(desk->engines[i]);
	load_finish(&desk->load);
	config_finish(&desk->config);
	free(desk);
}

/*
 * In a drain a worker ends when no session is admitted for it. One that sleeps because a connection is on its way has
 * to be told that it is not any more.
 */
Test(listener, a_hand_over_that_fails_wakes_the_worker_that_waits_for_it)
{
	struct desk *desk = begin();
	struct engine_event event = {.result = -EAGAIN};
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	cr_assert_eq(load_admit_here(&desk->load, 1), 1);
	cr_assert(!load_retire(&desk->load, 1));
	cr_assert(fixture_is_quiet(desk->engines[1]));
	desk->listeners.sending_count = 1;
	event.token = engine_token(ENGINE_OP_HAND_OVER_SENT, 1, 0, (unsigned)fds[0]);
	listeners_on_event(&desk->listeners, &event);
	cr_expect_eq(engine_token_op(fixture_next(desk->engines[1]).token), ENGINE_OP_WAKE);
	cr_expect(load_retire(&desk->load, 1));
	cr_expect_eq(metrics_get(&desk->metrics, METRIC_sessions_opened), 1, "served here");
	cr_expect_eq(load_room(&desk->load), SLOTS, "and over: nobody is trusted");
	cr_expect(listeners_are_closed(&desk->listeners));
	close(fds[1]);
	finish(desk);
}
