/* SPDX-License-Identifier: MIT */
#include "os/engine.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/util.h"
#include "engine_fixture.h"
#include "os/sock.h"
#include "os/timer.h"
#include "support.h"

TestSuite(engine, .fini = support_check_leaks);

#define TOKEN engine_token(ENGINE_OP_ACCEPT, 1, 77, 4711)
#define OTHER engine_token(ENGINE_OP_CONNECT, 0, 78, 4712)

/* Tokens --------------------------------------------------------------------------------------- */

struct token_row {
	enum engine_op op;
	unsigned lane, slot, generation;
};

Test(engine, tokens_give_back_what_they_hold)
{
	static const struct token_row rows[] = {
		{ENGINE_OP_NONE, 0, 0, 0},
		{ENGINE_OP_ACCEPT, 0, 1, 0},
		{ENGINE_OP_READY, 3, 1, 1},
		{ENGINE_OP_CONNECT, 0, ENGINE_SLOT_LIMIT - 1, 0},
		{ENGINE_OP_HAND_OVER_SENT, 255, 0, ENGINE_GENERATION_LIMIT - 1},
		{ENGINE_OP_WAKE, 255, ENGINE_SLOT_LIMIT - 1, ENGINE_GENERATION_LIMIT - 1},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct token_row *row = &rows[i];
		uint64_t token = engine_token(row->op, row->lane, row->slot, row->generation);

		cr_expect_eq(engine_token_op(token), row->op, "row %zu", i);
		cr_expect_eq(engine_token_lane(token), row->lane, "row %zu", i);
		cr_expect_eq(engine_token_slot(token), row->slot, "row %zu", i);
		cr_expect_eq(engine_token_generation(token), row->generation, "row %zu", i);
	}
}

static void make_token(void *argument)
{
	const struct token_row *row = argument;

	engine_token(row->op, row->lane, row->slot, row->generation);
}

Test(engine, values_too_large_for_a_token_are_programming_errors)
{
	struct token_row rows[] = {
		{ENGINE_OP_READY, 256, 0, 0},
		{ENGINE_OP_READY, 0, ENGINE_SLOT_LIMIT, 0},
		{ENGINE_OP_READY, 0, 0, ENGINE_GENERATION_LIMIT},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		cr_expect(support_aborts(make_token, &rows[i]), "row %zu", i);
}

/* Life ----------------------------------------------------------------------------------------- */

Test(engine, leaves_nothing_open)
{
	unsigned before = support_count_descriptors();
	struct engine *engine = fixture_create();
	struct support_tcp tcp;

	cr_expect_str_eq(engine_name(engine), fixture_is_epoll() ? "epoll" : "io_uring");
	cr_expect_gt(strlen(engine_features(engine)), 0);
	engine_destroy(engine); /* never enabled */
	cr_expect_eq(support_count_descriptors(), before);

	engine = fixture_open();
	support_tcp_open(&tcp, 0, 0);
	engine_wait_for(engine, tcp.ours, ENGINE_READABLE, false, TOKEN); /* never submitted */
	engine_destroy(engine);
	support_tcp_close(&tcp);
	cr_expect_eq(support_count_descriptors(), before);
}

Test(engine, a_wait_ends_with_its_time)
{
	static const int64_t rows[] = {0, 1, 20, 1100};
	struct engine *engine = fixture_open();

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		uint64_t start_ms = timer_now_ms();
		struct engine_event event;

		cr_expect_eq(engine_wait(engine, rows[i], &event, 1), 0);
		/* the clock of the kernel's timers can be a tick late */
		cr_expect_geq(timer_now_ms() + 1, start_ms + (uint64_t)rows[i]);
	}
	engine_destroy(engine);
}

enum { REQUESTS = 6000, BATCH = 100 };

/* Takes one event of every request, and the wake-ups between. Returns the number of wake-ups. */
static unsigned take_all(struct engine *engine, bool seen[REQUESTS])
{
	unsigned got = 0, wakes = 0;

	while (got < REQUESTS) {
		struct engine_event events[BATCH];
		int count = engine_wait(engine, SUPPORT_PATIENCE_MS, events, BATCH);

		cr_assert(count > 0 && count <= BATCH, "%d after %u", count, got);
		for (int i = 0; i < count; i++) {
			unsigned slot = engine_token_slot(events[i].token);

			if (engine_token_op(events[i].token) == ENGINE_OP_WAKE) {
				wakes++;
				continue;
			}
			cr_assert(slot < REQUESTS && !seen[slot], "slot %u", slot);
			cr_expect(events[i].result > 0 && !events[i].more);
			seen[slot] = true;
			got++;
		}
	}
	return wakes;
}

/* The kernel keeps events that do not fit into the queue; the wake-up poll is armed again. */
Test(engine, more_requests_than_its_queues_hold)
{
	struct engine *engine = fixture_open();
	bool *seen = calloc(REQUESTS, sizeof(*seen));
	int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	struct engine_event event;
	unsigned wakes;

	if (fixture_is_epoll())
		cr_skip_test("its queue is as long as its descriptors can be many");

	cr_assert(seen && fd >= 0);
	for (unsigned i = 0; i < REQUESTS; i++)
		engine_wait_for(engine, fd, ENGINE_READABLE, false,
				engine_token(ENGINE_OP_READY, 0, i, 0));
	cr_assert_eq(engine_wait(engine, -1, &event, 0), 0);
	engine_wake(engine);
	wakes = take_all(engine, seen);
	if (!wakes)
		cr_expect_eq(engine_token_op(fixture_next(engine).token), ENGINE_OP_WAKE);
	cr_expect(fixture_is_quiet(engine));
	engine_wake(engine);
	cr_expect_eq(engine_token_op(fixture_next(engine).token), ENGINE_OP_WAKE);
	free(seen);
	engine_forget(engine, fd);
	close(fd);
	engine_destroy(engine);
}

/* Accept --------------------------------------------------------------------------------------- */

static void expect_accepted(const struct engine_event *event, bool more)
{
	cr_expect_eq(event->token, TOKEN);
	cr_assert_geq(event->result, 0, "%d", event->result);
	cr_expect_eq(event->more, more);
	cr_expect(fcntl(event->result, F_GETFL) & O_NONBLOCK);
	cr_expect(fcntl(event->result, F_GETFD) & FD_CLOEXEC);
	close(event->result);
}

Test(engine, accepts_once)
{
	struct engine *engine = fixture_open();
	struct addr address;
	int listener = support_listen(&address, 8), clients[2];
	struct engine_event event;

	engine_accept(engine, listener, false, TOKEN);
	cr_expect(fixture_is_quiet(engine));
	for (unsigned i = 0; i < 2; i++)
		clients[i] = support_connect(&address);
	event = fixture_next(engine);
	expect_accepted(&event, false);
	cr_expect(fixture_is_quiet(engine), "the second was not asked for");
	for (unsigned i = 0; i < 2; i++)
		close(clients[i]);
	close(listener);
	engine_destroy(engine);
}

Test(engine, accepts_many_until_cancelled)
{
	struct engine *engine = fixture_open();
	struct addr address;
	int listener = support_listen(&address, 8);
	struct engine_event event;

	engine_accept(engine, listener, true, TOKEN);
	for (unsigned i = 0; i < 5; i++) {
		int client = support_connect(&address);

		event = fixture_next(engine);
		if (event.result == -EINVAL)
			cr_skip_test("this kernel has no multishot accept (before 5.19)");
		expect_accepted(&event, true);
		close(client);
	}
	engine_cancel(engine, listener, TOKEN);
	event = fixture_next(engine);
	cr_expect_eq(event.token, TOKEN);
	cr_expect_eq(event.result, -ECANCELED);
	cr_expect(!event.more);
	cr_expect(fixture_is_quiet(engine));
	close(listener);
	engine_destroy(engine);
}

Test(engine, want_of_descriptors_ends_an_accept)
{
	struct engine *engine = fixture_open();
	struct addr address;
	int listener = support_listen(&address, 8), client;
	struct rlimit limit, low;
	struct engine_event event;

	cr_assert(!getrlimit(RLIMIT_NOFILE, &limit));
	low = limit;
	low.rlim_cur = 3;
	for (unsigned many = 0; many < 2; many++) {
		client = support_connect(&address);
		/* the kernel looks at the limit when the accept is submitted */
		cr_assert(!setrlimit(RLIMIT_NOFILE, &low));
		engine_accept(engine, listener, many, TOKEN);
		event = fixture_next(engine);
		cr_assert(!setrlimit(RLIMIT_NOFILE, &limit));
		cr_expect_eq(event.token, TOKEN);
		cr_expect_eq(event.result, -EMFILE, "%d", event.result);
		cr_expect(!event.more);
		/* the client is still there for the next accept */
		engine_accept(engine, listener, false, TOKEN);
		event = fixture_next(engine);
		expect_accepted(&event, false);
		close(client);
	}
	close(listener);
	engine_destroy(engine);
}

/* The limit was raised since: the engine has no room for the new descriptors and returns EMFILE. */
Test(engine, a_descriptor_beyond_the_limit_of_the_start)
{
	struct rlimit limit, low;
	struct engine *engine;
	struct support_tcp tcp;
	struct engine_event event;
	int beyond;

	if (!fixture_is_epoll())
		cr_skip_test("a ring has no table of descriptors");
	cr_assert(!getrlimit(RLIMIT_NOFILE, &limit));
	low = limit;
	low.rlim_cur = 200;
	cr_assert(!setrlimit(RLIMIT_NOFILE, &low));
	engine = fixture_open();
	cr_assert(!setrlimit(RLIMIT_NOFILE, &limit));
	support_tcp_open(&tcp, 0, 0);
	beyond = fcntl(tcp.ours, F_DUPFD_CLOEXEC, 300);
	cr_assert_geq(beyond, 300);
	engine_wait_for(engine, beyond, ENGINE_WRITABLE, false, TOKEN);
	event = fixture_next(engine);
	cr_expect_eq(event.token, TOKEN);
	cr_expect_eq(event.result, -EMFILE, "%d", event.result);
	engine_cancel(engine, beyond, TOKEN);
	engine_forget(engine, beyond);
	close(beyond);
	support_tcp_close(&tcp);
	engine_destroy(engine);
}

/* Connect -------------------------------------------------------------------------------------- */

static int open_backend(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	cr_assert_geq(fd, 0);
	return fd;
}

static void expect_connect(struct engine *engine, int fd, const struct addr *address, int result)
{
	struct engine_event event;

	engine_connect(engine, fd, &address->any, address->length_bytes, OTHER);
	event = fixture_next(engine);
	cr_expect_eq(event.token, OTHER);
	cr_expect_eq(event.result, result, "%d", event.result);
	cr_expect(!event.more);
}

Test(engine, connects_or_tells_why_not)
{
	struct engine *engine = fixture_open();
	struct addr address;
	int listener = support_listen(&address, 8), fd = open_backend();
	struct addr peer;

	expect_connect(engine, fd, &address, 0);
	sock_get_peer(fd, &peer);
	cr_expect(addr_equal(&peer, &address));
	engine_forget(engine, fd);
	close(fd);
	close(listener);

	fd = open_backend();
	expect_connect(engine, fd, &address, -ECONNREFUSED);
	engine_forget(engine, fd);
	close(fd);
	engine_destroy(engine);
}

/* Begins to connect without the engine, and waits with the engine for the outcome. */
static void expect_awaited(struct engine *engine, const struct addr *address, int error)
{
	int fd = open_backend();
	struct engine_event event;

	cr_assert(!connect(fd, &address->any, address->length_bytes) || errno == EINPROGRESS);
	engine_await_connect(engine, fd, OTHER);
	event = fixture_next(engine);
	cr_expect_eq(event.token, OTHER);
	cr_expect(!event.more);
	if (event.result > 0)
		event.result = -sock_take_error(fd);
	cr_expect_eq(event.result, -error, "%d", event.result);
	engine_forget(engine, fd);
	close(fd);
}

Test(engine, awaits_a_connect_that_was_begun)
{
	struct engine *engine = fixture_open();
	struct addr address;
	int listener = support_listen(&address, 8);

	expect_awaited(engine, &address, 0);
	close(listener);
	expect_awaited(engine, &address, ECONNREFUSED);
	engine_destroy(engine);
}

Test(engine, a_connect_can_be_cancelled)
{
	struct engine *engine = fixture_open();
	struct addr address;
	int listener = support_listen(&address, 0), fd = open_backend();
	/* the backlog has room for one connection: further connects are not answered */
	int first = support_connect(&address);
	struct engine_event event;

	support_poll(listener, POLLIN);
	engine_connect(engine, fd, &address.any, address.length_bytes, OTHER);
	cr_expect(fixture_is_quiet(engine));
	engine_cancel(engine, fd, OTHER);
	event = fixture_next(engine);
	cr_expect_eq(event.token, OTHER);
	cr_expect_eq(event.result, -ECANCELED, "%d", event.result);
	cr_expect(fixture_is_quiet(engine));
	close(first);
	engine_forget(engine, fd);
	close(fd);
	close(listener);
	engine_destroy(engine);
}
