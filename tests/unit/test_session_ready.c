/* SPDX-License-Identifier: MIT */
/* session_ready.c: which session runs when. A fake engine, and a real pump over socket pairs. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "engine_fake.h"
#include "relay/session_private.h"
#include "support.h"

TestSuite(session_ready, .fini = support_check_leaks);

#define SLOTS	     5
#define PIPE_BYTES   (1U << 20)
#define SOCKET_BYTES (48 << 20) /* a socket takes so many bytes before it is full */

struct setup {
	struct sessions sessions;
	struct metrics metrics;
	struct timer_wheel wheel;
	struct fake_engine fake;
};

/* A session and the sockets of its peers. */
struct party {
	struct session *session;
	int client;
	int backend;
};

static const struct config no_forwards;

static void setup_open(struct setup *setup)
{
	struct sessions *sessions = &setup->sessions;

	memset(setup, 0, sizeof(*setup));
	signal(SIGPIPE, SIG_IGN);
	timer_wheel_init(&setup->wheel, 0);
	sessions->wheel = &setup->wheel;
	sessions->metrics = sessions->pump.metrics = &setup->metrics;
	fake_engine_init(&setup->fake);
	sessions->engine = &setup->fake.engine;
	sessions->pump.scratch = malloc(PUMP_SCRATCH_BYTES);
	cr_assert_not_null(sessions->pump.scratch);
	cr_assert_eq(pipe_pools_create(&sessions->pump.pipes, 1, 2, PIPE_BYTES), 0);
	sessions->config = &no_forwards;
	cr_assert_eq(sessions_init(sessions, SLOTS), 0);
}

static void setup_close(struct setup *setup)
{
	pipe_pool_destroy(setup->sessions.pump.pipes);
	sessions_finish(&setup->sessions);
	free(setup->sessions.pump.scratch);
}

/* Returns a socket for a session; `far` is its peer's end. Each takes SOCKET_BYTES. */
static int open_side(int *far)
{
	int bytes = SOCKET_BYTES;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	for (unsigned i = 0; i < 2; i++)
		if (setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
			cr_skip_test("large socket buffers need CAP_NET_ADMIN");
	*far = fds[1];
	return fds[0];
}

/* A relaying session whose client has sent `count` bytes. */
static void party_open(struct setup *setup, struct party *party, size_t count, bool bulk)
{
	struct session *session = session_table_take(setup->sessions.table);
	char *bytes = calloc(1, count);

	cr_assert_not_null(session);
	cr_assert_not_null(bytes);
	session->fd[SESSION_CLIENT] = open_side(&party->client);
	session->fd[SESSION_BACKEND] = open_side(&party->backend);
	session->state = SESSION_RELAYING;
	lane_init(&session->lane[SESSION_CLIENT], true);
	lane_init(&session->lane[SESSION_BACKEND], false);
	session->lane[SESSION_CLIENT].bulk = bulk;
	party->session = session;
	cr_assert_eq(send(party->client, bytes, count, 0), (ssize_t)count);
	free(bytes);
}

static void party_close(struct setup *setup, struct party *party)
{
	for (unsigned side = 0; side < 2; side++)
		close(party->session->fd[side]);
	close(party->client);
	close(party->backend);
	/* the fake engine never answers */
	party->session->in_flight = 0;
	party->session->queued = false;
	session_table_give(setup->sessions.table, party->session);
}

static uint64_t moved(const struct party *party)
{
	return party->session->lane[SESSION_CLIENT].moved_bytes;
}

Test(session_ready, small_sessions_run_before_bulk)
{
	struct party bulk[2], small;
	struct setup setup;

	setup_open(&setup);
	for (unsigned i = 0; i < 2; i++) {
		party_open(&setup, &bulk[i], 100000, true);
		session_make_ready(&setup.sessions, bulk[i].session);
	}
	party_open(&setup, &small, 100, false);
	session_make_ready(&setup.sessions, small.session);

	setup.fake.has_events = true;
	sessions_run_ready(&setup.sessions);
	cr_expect_eq(moved(&small), 100,
		     "the small session runs first, although it was queued last");
	cr_expect_gt(moved(&bulk[0]), 0, "a tick runs one bulk slice even with an event");
	cr_expect_eq(moved(&bulk[1]), 0, "an event ends the tick after a slice");
	cr_expect(sessions_are_ready(&setup.sessions));

	setup.fake.has_events = false;
	while (sessions_are_ready(&setup.sessions))
		sessions_run_ready(&setup.sessions);
	cr_expect_eq(moved(&bulk[0]), 100000);
	cr_expect_eq(moved(&bulk[1]), 100000);

	for (unsigned i = 0; i < 2; i++)
		party_close(&setup, &bulk[i]);
	party_close(&setup, &small);
	setup_close(&setup);
}

#define PARTIES 3

/* Opens bulk sessions with `count` bytes each, all of them ready. */
static void open_bulk(struct setup *setup, struct party parties[PARTIES], size_t count)
{
	setup_open(setup);
	for (unsigned i = 0; i < PARTIES; i++) {
		party_open(setup, &parties[i], count, true);
		session_make_ready(&setup->sessions, parties[i].session);
	}
}

static void close_all(struct setup *setup, struct party parties[PARTIES])
{
	for (unsigned i = 0; i < PARTIES; i++)
		party_close(setup, &parties[i]);
	setup_close(setup);
}

Test(session_ready, bulk_sessions_run_one_after_another)
{
	struct party parties[PARTIES];
	struct setup setup;

	open_bulk(&setup, parties, 40 << 20);
	for (unsigned ticks = 0; ticks < 20; ticks++) {
		uint64_t least = UINT64_MAX, most = 0, total = 0;

		sessions_run_ready(&setup.sessions);
		for (unsigned i = 0; i < PARTIES; i++) {
			least = MIN(least, moved(&parties[i]));
			most = MAX(most, moved(&parties[i]));
			total += moved(&parties[i]);
		}
		cr_assert_leq(most - least, 1 << 20,
			      "tick %u: a session is ahead by more than a slice", ticks);
		cr_assert_leq(total, (ticks + 1) * (4ULL << 20), "tick %u: more than four slices",
			      ticks);
	}
	cr_expect_gt(moved(&parties[0]), 10 << 20);
	close_all(&setup, parties);
}

/* It runs its first slice before the other bulk sessions. */
Test(session_ready, a_session_that_becomes_bulk_is_next)
{
	struct party parties[PARTIES], fresh;
	struct setup setup;

	open_bulk(&setup, parties, 40 << 20);
	party_open(&setup, &fresh, 600000, false);
	session_make_ready(&setup.sessions, fresh.session);
	/* an event is there all the time: each tick runs one slice */
	setup.fake.has_events = true;
	for (unsigned ticks = 0; moved(&fresh) < 600000; ticks++) {
		cr_assert_lt(ticks, 3, "the session waits for the bulk sessions");
		sessions_run_ready(&setup.sessions);
	}
	party_close(&setup, &fresh);
	close_all(&setup, parties);
}

/* All closing sessions leave the queue in one tick, and none uses up a slice. */
Test(session_ready, closing_sessions_in_the_bulk_queue_end_at_once)
{
	struct party parties[PARTIES];
	struct setup setup;

	open_bulk(&setup, parties, 1 << 20);
	for (unsigned i = 0; i < PARTIES - 1; i++) {
		parties[i].session->state = SESSION_CLOSING;
		/* as if a request were in flight, so that the tick does not free the session */
		parties[i].session->in_flight = 1;
	}
	setup.fake.has_events = true;
	sessions_run_ready(&setup.sessions);
	for (unsigned i = 0; i < PARTIES - 1; i++)
		cr_expect(!parties[i].session->queued, "session %u", i);
	cr_expect_gt(moved(&parties[PARTIES - 1]), 0, "the session behind them runs");
	close_all(&setup, parties);
}

Test(session_ready, a_small_session_with_much_to_move_goes_on_as_bulk)
{
	struct party party;
	struct setup setup;

	setup_open(&setup);
	party_open(&setup, &party, 20 << 20, false);
	session_make_ready(&setup.sessions, party.session);
	cr_expect_not_null(setup.sessions.small.first);
	for (unsigned ticks = 0; moved(&party) <= LANE_SMALL_BYTES; ticks++) {
		cr_assert_lt(ticks, 4);
		sessions_run_ready(&setup.sessions);
	}
	cr_expect_null(setup.sessions.small.first);
	cr_expect_eq(setup.sessions.bulk.first, party.session);
	party_close(&setup, &party);
	setup_close(&setup);
}

/* A session that has used up its bytes of a tick stays small if none of its lanes is bulk. */
Test(session_ready, a_small_session_that_is_cut_does_not_wait_for_bulk)
{
	struct party parties[PARTIES], small;
	struct setup setup;

	open_bulk(&setup, parties, 40 << 20);
	party_open(&setup, &small, 4 * LANE_ROOM_FLOOR_BYTES + 100, false);
	session_make_ready(&setup.sessions, small.session);
	setup.fake.has_events = true;
	for (unsigned ticks = 0; moved(&small) < 4 * LANE_ROOM_FLOOR_BYTES + 100; ticks++) {
		cr_assert_lt(ticks, 4, "the session waits for the bulk sessions");
		sessions_run_ready(&setup.sessions);
	}
	party_close(&setup, &small);
	close_all(&setup, parties);
}
