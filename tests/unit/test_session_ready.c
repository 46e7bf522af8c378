/* session_ready.c: which session runs when. Sessions over socket pairs, with a real engine and pump. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "engine_fixture.h"
#include "relay/session.h"
#include "relay/session_parts.h"
#include "support.h"

TestSuite(session_ready, .fini = support_check_leaks);

#define SLOTS	     5
#define PIPE_BYTES   (1U << 20)
#define SOCKET_BYTES (48 << 20) /* what a socket takes in before it is full */

struct desk {
	struct sessions sessions;
	struct metrics metrics;
	struct timer_wheel wheel;
};

/* One session; `client` and `backend` are the far ends of its sockets. */
struct party {
	struct session *session;
	int client;
	int backend;
};

static void desk_open(struct desk *desk)
{
	struct sessions *sessions = &desk->sessions;

	memset(desk, 0, sizeof(*desk));
	signal(SIGPIPE, SIG_IGN);
	timer_wheel_init(&desk->wheel, 0);
	sessions->wheel = &desk->wheel;
	sessions->metrics = sessions->pump.metrics = &desk->metrics;
	sessions->engine = fixture_open();
	sessions->pump.scratch = malloc(PUMP_SCRATCH_BYTES);
	cr_assert_not_null(sessions->pump.scratch);
	cr_assert_eq(pipe_pools_create(&sessions->pump.pipes, 1, 2, PIPE_BYTES), 0);
	cr_assert_eq(session_table_create(&sessions->table, SLOTS), 0);
	sessions_init(sessions);
}

static void desk_close(struct desk *desk)
{
	engine_destroy(desk->sessions.engine);
	pipe_pool_destroy(desk->sessions.pump.pipes);
	session_table_destroy(desk->sessions.table);
	free(desk->sessions.pump.scratch);
}

/* A non-blocking end for a session, whose peer's end is `far`. Both take SOCKET_BYTES. */
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
static void party_open(struct desk *desk, struct party *party, size_t count, bool bulk)
{
	struct session *session = session_table_take(desk->sessions.table);
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

static void party_close(struct desk *desk, struct party *party)
{
	for (unsigned side = 0; side < 2; side++) {
		engine_forget(desk->sessions.engine, party->session->fd[side]);
		close(party->session->fd[side]);
	}
	close(party->client);
	close(party->backend);
	/* the engine is destroyed before it answers */
	party->session->in_flight = 0;
	party->session->queued = false;
	session_table_give(desk->sessions.table, party->session);
}

static uint64_t moved(const struct party *party)
{
	return party->session->lane[SESSION_CLIENT].moved_bytes;
}

/* An event that stays until engine_wait() takes it. */
static void make_event(struct desk *desk)
{
	engine_wake(desk->sessions.engine);
}

static void take_event(struct desk *desk)
{
	cr_assert_eq(engine_token_op(fixture_next(desk->sessions.engine).token), ENGINE_OP_WAKE);
}

Test(session_ready, small_sessions_run_before_bulk)
{
	struct party bulk[2], small;
	struct desk desk;

	desk_open(&desk);
	for (unsigned i = 0; i < 2; i++) {
		party_open(&desk, &bulk[i], 100000, true);
		session_make_ready(&desk.sessions, bulk[i].session);
	}
	party_open(&desk, &small, 100, false);
	session_make_ready(&desk.sessions, small.session);
	/* the wake-up's own request is submitted by the first wait */
	cr_assert(fixture_is_quiet(desk.sessions.engine));

	make_event(&desk);
	sessions_run_ready(&desk.sessions);
	cr_expect_eq(moved(&small), 100, "queued last, it runs first");
	cr_expect_gt(moved(&bulk[0]), 0, "a tick runs one slice of bulk, whatever waits");
	cr_expect_eq(moved(&bulk[1]), 0, "an event ends the tick after a slice");
	cr_expect(sessions_are_ready(&desk.sessions));

	take_event(&desk);
	while (sessions_are_ready(&desk.sessions))
		sessions_run_ready(&desk.sessions);
	cr_expect_eq(moved(&bulk[0]), 100000);
	cr_expect_eq(moved(&bulk[1]), 100000);

	for (unsigned i = 0; i < 2; i++)
		party_close(&desk, &bulk[i]);
	party_close(&desk, &small);
	desk_close(&desk);
}

#define PARTIES 3

/* Opens sessions with `count` bytes each in bulk, all of them ready. */
static void open_bulk(struct desk *desk, struct party parties[PARTIES], size_t count)
{
	desk_open(desk);
	for (unsigned i = 0; i < PARTIES; i++) {
		party_open(desk, &parties[i], count, true);
		session_make_ready(&desk->sessions, parties[i].session);
	}
}

static void close_all(struct desk *desk, struct party parties[PARTIES])
{
	for (unsigned i = 0; i < PARTIES; i++)
		party_close(desk, &parties[i]);
	desk_close(desk);
}

Test(session_ready, bulk_sessions_run_in_turn)
{
	struct party parties[PARTIES];
	struct desk desk;

	open_bulk(&desk, parties, 40 << 20);
	for (unsigned ticks = 0; ticks < 20; ticks++) {
		uint64_t least = UINT64_MAX, most = 0;

		/* submits what the sessions wait for, as a tick does */
		cr_assert(fixture_is_quiet(desk.sessions.engine));
		sessions_run_ready(&desk.sessions);
		for (unsigned i = 0; i < PARTIES; i++) {
			least = MIN(least, moved(&parties[i]));
			most = MAX(most, moved(&parties[i]));
		}
		cr_assert_leq(most - least, 1 << 20, "tick %u: one is ahead by more than a slice",
			      ticks);
	}
	cr_expect_gt(moved(&parties[0]), 10 << 20);
	close_all(&desk, parties);
}

/* Between two slices of others, not after all of them. */
Test(session_ready, a_session_that_becomes_bulk_is_next)
{
	struct party parties[PARTIES], fresh;
	struct desk desk;

	open_bulk(&desk, parties, 40 << 20);
	party_open(&desk, &fresh, 600000, false);
	session_make_ready(&desk.sessions, fresh.session);
	cr_assert(fixture_is_quiet(desk.sessions.engine));
	/* an event is there all the time: a slice a tick */
	make_event(&desk);
	for (unsigned ticks = 0; moved(&fresh) < 600000; ticks++) {
		cr_assert_lt(ticks, 3, "it waits for the others");
		sessions_run_ready(&desk.sessions);
	}
	party_close(&desk, &fresh);
	close_all(&desk, parties);
}

/* However many there are, they end in one tick, and take nobody's slice. */
Test(session_ready, closing_sessions_in_the_bulk_queue_end_at_once)
{
	struct party parties[PARTIES];
	struct desk desk;

	open_bulk(&desk, parties, 1 << 20);
	for (unsigned i = 0; i < PARTIES - 1; i++) {
		parties[i].session->state = SESSION_CLOSING;
		/* what it waits for, so that the tick does not free what the test made by hand */
		parties[i].session->in_flight = 1;
	}
	cr_assert(fixture_is_quiet(desk.sessions.engine));
	make_event(&desk);
	sessions_run_ready(&desk.sessions);
	for (unsigned i = 0; i < PARTIES - 1; i++)
		cr_expect(!parties[i].session->queued, "session %u", i);
	cr_expect_gt(moved(&parties[PARTIES - 1]), 0, "the one behind them runs");
	close_all(&desk, parties);
}

Test(session_ready, a_small_session_with_much_to_move_goes_on_as_bulk)
{
	struct party party;
	struct desk desk;

	desk_open(&desk);
	party_open(&desk, &party, 20 << 20, false);
	session_make_ready(&desk.sessions, party.session);
	cr_expect_not_null(desk.sessions.small.first);
	for (unsigned ticks = 0; moved(&party) <= LANE_SMALL_BYTES; ticks++) {
		cr_assert_lt(ticks, 4);
		sessions_run_ready(&desk.sessions);
	}
	cr_expect_null(desk.sessions.small.first);
	cr_expect_eq(desk.sessions.bulk.first, party.session);
	party_close(&desk, &party);
	desk_close(&desk);
}

/* It has used up its share of the tick, but no lane is bulk: it stays with the small sessions. */
Test(session_ready, a_small_session_that_is_cut_does_not_wait_for_bulk)
{
	struct party parties[PARTIES], small;
	struct desk desk;

	open_bulk(&desk, parties, 40 << 20);
	party_open(&desk, &small, 4 * LANE_ROOM_FLOOR_BYTES + 100, false);
	session_make_ready(&desk.sessions, small.session);
	cr_assert(fixture_is_quiet(desk.sessions.engine));
	make_event(&desk);
	for (unsigned ticks = 0; moved(&small) < 4 * LANE_ROOM_FLOOR_BYTES + 100; ticks++) {
		cr_assert_lt(ticks, 4, "it waits for the others");
		sessions_run_ready(&desk.sessions);
	}
	party_close(&desk, &small);
	close_all(&desk, parties);
}
