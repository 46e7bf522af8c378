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

#define SLOTS	     4
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
	cr_assert_eq(pipe_pool_create(&sessions->pump.pipes, 2, PIPE_BYTES), 0);
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

Test(session_ready, bulk_sessions_take_long_turns)
{
	struct party parties[2];
	struct desk desk;
	unsigned changes = 0, ticks = 0;
	uint64_t before[2] = {0};

	desk_open(&desk);
	for (unsigned i = 0; i < 2; i++) {
		party_open(&desk, &parties[i], 40 << 20, true);
		session_make_ready(&desk.sessions, parties[i].session);
	}
	/* until the first has had 20 MiB: its turn of 16 slices has ended, and the other's has begun */
	while (moved(&parties[0]) <= 20 << 20) {
		unsigned ran = 0;

		cr_assert_lt(ticks++, 1000);
		sessions_run_ready(&desk.sessions);
		for (unsigned i = 0; i < 2; i++) {
			ran += moved(&parties[i]) > before[i];
			before[i] = moved(&parties[i]);
		}
		changes += ran == 2;
	}
	cr_expect_gt(moved(&parties[1]), 4 << 20, "the other had a turn too");
	cr_expect_leq(changes, 2, "they do not take turns in every tick");
	for (unsigned i = 0; i < 2; i++)
		party_close(&desk, &parties[i]);
	desk_close(&desk);
}

Test(session_ready, a_small_session_with_much_to_move_goes_on_as_bulk)
{
	struct party party;
	struct desk desk;

	desk_open(&desk);
	party_open(&desk, &party, 8 << 20, false);
	session_make_ready(&desk.sessions, party.session);
	cr_expect_not_null(desk.sessions.small.first);
	sessions_run_ready(&desk.sessions);
	cr_expect_gt(moved(&party), LANE_SMALL_BYTES, "its first slice comes in the same tick");
	cr_expect_null(desk.sessions.small.first);
	cr_expect_eq(desk.sessions.bulk.first, party.session);
	party_close(&desk, &party);
	desk_close(&desk);
}
