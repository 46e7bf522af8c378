/* SPDX-License-Identifier: MIT */
/* engine.h: readiness and cancelling. test_engine_threads.c and test_engine.c have the rest. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "engine_fixture.h"
#include "os/engine.h"
#include "support.h"

TestSuite(engine_wait, .fini = support_check_leaks);

#define TOKEN engine_token(ENGINE_OP_READY, 1, 77, 4711)

/* Expects one event for TOKEN, with the condition met, and no further event. */
static void expect_met(struct engine *engine, const char *name)
{
	struct engine_event event = fixture_next(engine);

	cr_expect_eq(event.token, TOKEN, "%s", name);
	cr_expect_neq(event.result, 0, "%s", name);
	cr_expect(!event.more, "%s", name);
	cr_expect(fixture_is_quiet(engine), "%s: told twice", name);
}

/* Readiness ------------------------------------------------------------------------------------ */

/* Things that happen to a socket before or after the wait begins. */
static void do_nothing(struct support_tcp *tcp)
{
	(void)tcp;
}

static void send_a_byte(struct support_tcp *tcp)
{
	support_send(tcp->peer, "x", 1);
}

static void end_peer(struct support_tcp *tcp)
{
	cr_assert(!shutdown(tcp->peer, SHUT_WR));
}

static void end_both(struct support_tcp *tcp)
{
	cr_assert(!shutdown(tcp->peer, SHUT_WR));
	cr_assert(!shutdown(tcp->ours, SHUT_WR));
}

static void reset_peer(struct support_tcp *tcp)
{
	support_reset(tcp->peer);
	tcp->peer = -1;
}

static void stuff(struct support_tcp *tcp)
{
	support_stuff(tcp);
}

/* The peer's FIN acknowledges bytes and so makes room: fill the socket afterwards. */
static void stuff_and_end_peer(struct support_tcp *tcp)
{
	end_peer(tcp);
	support_poll(tcp->ours, POLLIN);
	support_stuff(tcp);
}

/* Reads all bytes that fill the socket, until no more come. */
static void read_at_peer(struct support_tcp *tcp)
{
	static char bytes[65536];

	while (!(poll(&(struct pollfd){.fd = tcp->ours, .events = POLLOUT}, 1, 0) == 1))
		cr_assert_gt(recv(tcp->peer, bytes, sizeof(bytes), 0), 0);
}

typedef void action(struct support_tcp *tcp);

struct ready_row {
	const char *name;
	action *before; /* NULL: `after` happens before the wait begins */
	action *after;
	enum engine_condition condition;
	bool peer_ended;
};

static const struct ready_row ready_rows[] = {
	{"bytes are there", NULL, send_a_byte, ENGINE_READABLE, false},
	{"bytes come", do_nothing, send_a_byte, ENGINE_READABLE, false},
	{"bytes come, multishot", do_nothing, send_a_byte, ENGINE_READABLE, true},
	{"the end is there", NULL, end_peer, ENGINE_READABLE, false},
	{"the end comes", do_nothing, end_peer, ENGINE_READABLE, false},
	{"a reset is there", NULL, reset_peer, ENGINE_READABLE, false},
	{"a reset comes", do_nothing, reset_peer, ENGINE_READABLE, false},
	{"writable", NULL, do_nothing, ENGINE_WRITABLE, false},
	{"writable, multishot", NULL, do_nothing, ENGINE_WRITABLE, true},
	{"writable after the peer's end", NULL, end_peer, ENGINE_WRITABLE, false},
	{"writable after the peer's end, multishot", NULL, end_peer, ENGINE_WRITABLE, true},
	{"becomes writable", stuff, read_at_peer, ENGINE_WRITABLE, false},
	{"becomes writable, multishot", stuff, read_at_peer, ENGINE_WRITABLE, true},
	{"becomes writable after the peer's end", stuff_and_end_peer, read_at_peer, ENGINE_WRITABLE,
	 true},
	{"full, and reset", stuff, reset_peer, ENGINE_WRITABLE, false},
	{"full, and reset, multishot", stuff, reset_peer, ENGINE_WRITABLE, true},
	{"full, and reset after the peer's end", stuff_and_end_peer, reset_peer, ENGINE_WRITABLE,
	 true},
	{"failed already", NULL, reset_peer, ENGINE_FAILED, true},
	{"fails", do_nothing, reset_peer, ENGINE_FAILED, true},
	{"fails after the peer's end", end_peer, reset_peer, ENGINE_FAILED, true},
	{"both directions have ended", NULL, end_both, ENGINE_FAILED, true},
	{"both directions end", do_nothing, end_both, ENGINE_FAILED, true},
};

Test(engine_wait, readiness)
{
	struct engine *engine = fixture_open();

	for (size_t i = 0; i < ARRAY_COUNT(ready_rows); i++) {
		const struct ready_row *row = &ready_rows[i];
		struct support_tcp tcp;

		support_tcp_open(&tcp, 65536, 65536);
		if (row->before)
			row->before(&tcp);
		else
			row->after(&tcp);
		engine_wait_for(engine, tcp.ours, row->condition, row->peer_ended, TOKEN);
		if (row->before) {
			cr_expect(fixture_is_quiet(engine), "%s: told too early", row->name);
			row->after(&tcp);
		}
		expect_met(engine, row->name);
		fixture_close_tcp(engine, &tcp);
	}
	engine_destroy(engine);
}

/*
 * A full socket whose peer has ended its stream: the plain wait may answer that the condition is
 * not met, and then only the other kind waits.
 */
Test(engine_wait, the_peers_end_is_no_room)
{
	struct engine *engine = fixture_open();
	struct engine_event event;
	struct support_tcp tcp;

	support_tcp_open(&tcp, 65536, 65536);
	stuff_and_end_peer(&tcp);
	engine_wait_for(engine, tcp.ours, ENGINE_WRITABLE, false, TOKEN);
	if (engine_wait(engine, 0, &event, 1) == 1) {
		cr_expect_eq(event.token, TOKEN);
		cr_expect_eq(event.result, 0, "%d", event.result);
		cr_expect(!event.more);
		engine_wait_for(engine, tcp.ours, ENGINE_WRITABLE, true, TOKEN);
	}
	cr_expect(fixture_is_quiet(engine));
	read_at_peer(&tcp);
	expect_met(engine, "read");
	fixture_close_tcp(engine, &tcp);
	engine_destroy(engine);
}

/* A session uses the same token for each wait: no answer to one wait reaches the next. */
Test(engine_wait, tokens_can_be_used_again)
{
	struct engine *engine = fixture_open();
	struct support_tcp tcp;

	support_tcp_open(&tcp, 65536, 65536);
	for (unsigned i = 0; i < 50; i++) {
		stuff(&tcp);
		engine_wait_for(engine, tcp.ours, ENGINE_WRITABLE, true, TOKEN);
		cr_assert(fixture_is_quiet(engine), "round %u", i);
		read_at_peer(&tcp);
		expect_met(engine, "writable");
		engine_wait_for(engine, tcp.ours, ENGINE_READABLE, i % 2, TOKEN);
		cr_assert(fixture_is_quiet(engine), "round %u", i);
		send_a_byte(&tcp);
		expect_met(engine, "readable");
		support_wait_for_bytes(tcp.ours, 1);
		cr_assert_eq(recv(tcp.ours, &(char){0}, 1, 0), 1);
	}
	fixture_close_tcp(engine, &tcp);
	engine_destroy(engine);
}

struct cancel_row {
	enum engine_condition condition;
	bool peer_ended;
};

Test(engine_wait, cancel)
{
	static const struct cancel_row rows[] = {
		{ENGINE_READABLE, false}, {ENGINE_READABLE, true}, {ENGINE_WRITABLE, false},
		{ENGINE_WRITABLE, true},  {ENGINE_FAILED, false},  {ENGINE_FAILED, true},
	};
	struct engine *engine = fixture_open();
	struct support_tcp tcp;

	support_tcp_open(&tcp, 65536, 65536);
	stuff(&tcp);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		for (unsigned submitted = 0; submitted < 2; submitted++) {
			struct engine_event event;

			engine_wait_for(engine, tcp.ours, rows[i].condition, rows[i].peer_ended,
					TOKEN);
			if (submitted)
				cr_expect(fixture_is_quiet(engine), "row %zu", i);
			engine_cancel(engine, tcp.ours, TOKEN);
			event = fixture_next(engine);
			cr_expect_eq(event.token, TOKEN, "row %zu", i);
			cr_expect_eq(event.result, -ECANCELED, "row %zu: %d", i, event.result);
			cr_expect(!event.more, "row %zu", i);
			cr_expect(fixture_is_quiet(engine), "row %zu", i);
		}
	/* cancelling a wait that does not exist gives no event */
	engine_cancel(engine, tcp.ours, TOKEN);
	cr_expect(fixture_is_quiet(engine));
	fixture_close_tcp(engine, &tcp);
	engine_destroy(engine);
}

Test(engine_wait, events_beyond_the_limit_come_with_the_next_wait)
{
	struct engine *engine = fixture_open();
	struct engine_event events[5];
	struct support_tcp tcp[5];
	int total = 0;

	for (unsigned i = 0; i < 5; i++) {
		support_tcp_open(&tcp[i], 0, 0);
		engine_wait_for(engine, tcp[i].ours, ENGINE_WRITABLE, false,
				engine_token(ENGINE_OP_READY, 0, i, 0));
	}
	while (total < 5) {
		int count = engine_wait(engine, -1, events, 2);

		cr_assert(count > 0 && count <= 2, "%d", count);
		total += count;
	}
	cr_expect(fixture_is_quiet(engine));
	for (unsigned i = 0; i < 5; i++)
		fixture_close_tcp(engine, &tcp[i]);
	engine_destroy(engine);
}

/* Watches -------------------------------------------------------------------------------------- */

/* An arrival can have several events: takes the rest of them. */
static void settle(struct engine *engine)
{
	struct engine_event event;

	while (engine_wait(engine, 0, &event, 1))
		cr_expect_eq(event.token, TOKEN);
	cr_expect(fixture_is_quiet(engine));
}

static struct engine_event expect_arrival(struct engine *engine, const char *what)
{
	struct engine_event event = fixture_next(engine);

	cr_expect_eq(event.token, TOKEN, "%s", what);
	cr_expect(event.result & ENGINE_FOUND_CONDITION, "%s: %d", what, event.result);
	cr_expect(event.more, "%s", what);
	return event;
}

Test(engine_wait, a_watch_tells_of_every_arrival_until_cancelled)
{
	struct engine *engine = fixture_open();
	struct support_tcp tcp;
	struct engine_event event;

	support_tcp_open(&tcp, 0, 0);
	send_a_byte(&tcp);
	support_wait_for_bytes(tcp.ours, 1);
	engine_watch(engine, tcp.ours, TOKEN);
	expect_arrival(engine, "what is there already");
	for (unsigned i = 0; i < 50; i++) {
		settle(engine);
		cr_assert_eq(recv(tcp.ours, &(char){0}, 1, 0), 1);
		cr_assert(fixture_is_quiet(engine), "round %u", i);
		send_a_byte(&tcp);
		event = expect_arrival(engine, "a byte");
		cr_expect(!(event.result & ENGINE_FOUND_END));
		support_wait_for_bytes(tcp.ours, 1);
	}
	settle(engine);
	send_a_byte(&tcp); /* the byte before is still unread */
	expect_arrival(engine, "another byte");
	settle(engine);
	engine_cancel(engine, tcp.ours, TOKEN);
	event = fixture_next(engine);
	cr_expect_eq(event.result, -ECANCELED, "%d", event.result);
	cr_expect(!event.more);
	send_a_byte(&tcp);
	cr_expect(fixture_is_quiet(engine));
	fixture_close_tcp(engine, &tcp);
	engine_destroy(engine);
}

struct end_row {
	const char *name;
	void (*act)(struct support_tcp *tcp);
};

Test(engine_wait, a_watch_tells_of_the_end)
{
	static const struct end_row rows[] = {{"FIN", end_peer}, {"RST", reset_peer}};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		for (unsigned before = 0; before < 2; before++) {
			struct engine *engine = fixture_open();
			struct support_tcp tcp;
			struct engine_event event;

			support_tcp_open(&tcp, 0, 0);
			if (before) {
				rows[i].act(&tcp);
				support_poll(tcp.ours, POLLIN);
			}
			engine_watch(engine, tcp.ours, TOKEN);
			if (!before) {
				cr_expect(fixture_is_quiet(engine), "%s", rows[i].name);
				rows[i].act(&tcp);
			}
			do
				event = fixture_next(engine);
			while (event.more && !(event.result & ENGINE_FOUND_END));
			cr_expect(event.result & ENGINE_FOUND_END, "%s: %d", rows[i].name,
				  event.result);
			if (event.more)
				engine_cancel(engine, tcp.ours, TOKEN);
			while (event.more)
				event = fixture_next(engine);
			cr_expect(fixture_is_quiet(engine), "%s", rows[i].name);
			fixture_close_tcp(engine, &tcp);
			engine_destroy(engine);
		}
}

/* A wait finds bytes that were left unread after an event of a watch. */
Test(engine_wait, a_wait_after_a_watch_sees_what_is_there)
{
	struct engine *engine = fixture_open();
	struct support_tcp tcp;

	support_tcp_open(&tcp, 0, 0);
	engine_watch(engine, tcp.ours, TOKEN);
	send_a_byte(&tcp);
	expect_arrival(engine, "a byte");
	engine_cancel(engine, tcp.ours, TOKEN);
	while (fixture_next(engine).more)
		;
	engine_wait_for(engine, tcp.ours, ENGINE_READABLE, false, TOKEN);
	expect_met(engine, "left behind");
	fixture_close_tcp(engine, &tcp);
	engine_destroy(engine);
}

/* engine_has_events(), which a worker calls between two bulk slices. */
Test(engine_wait, has_events_tells_without_a_wait)
{
	struct engine *engine = fixture_open();
	struct support_tcp tcp;

	support_tcp_open(&tcp, 0, 0);
	engine_wait_for(engine, tcp.ours, ENGINE_READABLE, false, TOKEN);
	if (!fixture_is_epoll())
		cr_expect(engine_has_events(engine), "the request is not submitted yet");
	cr_expect(fixture_is_quiet(engine));
	cr_expect(!engine_has_events(engine), "nothing has happened");
	send_a_byte(&tcp);
	support_poll(tcp.ours, POLLIN);
	cr_expect(engine_has_events(engine), "a byte has come");
	cr_expect(engine_has_events(engine), "asking takes nothing");
	expect_met(engine, "the event itself");
	cr_expect(!engine_has_events(engine), "it was taken");
	fixture_close_tcp(engine, &tcp);
	engine_destroy(engine);
}

/* Another process still has the socket: its events are not taken for those of the next socket. */
Test(engine_wait, a_shared_socket_is_forgotten)
{
	struct engine *engine = fixture_open();
	struct support_tcp shared, next;
	int copy, fd;

	support_tcp_open(&shared, 0, 0);
	engine_wait_for(engine, shared.ours, ENGINE_READABLE, false,
			engine_token(ENGINE_OP_READY, 0, 1, 1));
	engine_cancel(engine, shared.ours, engine_token(ENGINE_OP_READY, 0, 1, 1));
	cr_expect_eq(fixture_next(engine).result, -ECANCELED);
	copy = dup(shared.ours);
	engine_forget_shared(engine, shared.ours);
	fd = shared.ours;
	close(fd);
	support_tcp_open(&next, 0, 0);
	cr_assert_eq(dup2(next.ours, fd), fd);
	engine_wait_for(engine, fd, ENGINE_READABLE, false, engine_token(ENGINE_OP_READY, 0, 2, 1));
	cr_assert(fixture_is_quiet(engine));
	support_send(shared.peer, "x", 1);
	support_poll(copy, POLLIN);
	cr_expect(fixture_is_quiet(engine));
	support_send(next.peer, "x", 1);
	cr_expect_eq(engine_token_slot(fixture_next(engine).token), 2);
	engine_forget(engine, fd);
	close(fd);
	close(copy);
	shared.ours = -1;
	support_tcp_close(&shared);
	support_tcp_close(&next);
	engine_destroy(engine);
}
