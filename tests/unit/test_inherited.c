/* SPDX-License-Identifier: MIT */
#include "os/inherited.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/util.h"
#include "carry_fixture.h"
#include "support.h"

static struct carrier *writer, *reader;
static struct inherited inherited;
static unsigned descriptors;

static void set_up(void)
{
	struct carry carry;

	descriptors = support_count_descriptors();
	fixture_carry_open(&carry);
	writer = carry.out;
	reader = carry.in;
}

static void tear_down(void)
{
	inherited_finish(&inherited);
	carrier_destroy(writer);
	carrier_destroy(reader);
	cr_expect_eq(support_count_descriptors(), descriptors);
	support_check_leaks();
}

TestSuite(inherited, .init = set_up, .fini = tear_down);

static void write_hello(uint64_t protocol, uint64_t state_version)
{
	carrier_begin(writer, CARRIER_HELLO);
	carrier_put(writer, protocol);
	carrier_put(writer, state_version);
	carrier_put_text(writer, "1.2.3");
	carrier_put(writer, 1000);
	carrier_put(writer, 4);
	carrier_put(writer, 0xb001);
	carrier_put(writer, 77);
	carrier_put_text(writer, "nobody");
	carrier_end(writer);
}

static void write_empty(enum carrier_kind kind)
{
	carrier_begin(writer, kind);
	carrier_end(writer);
}

static int read_all(void)
{
	cr_assert_eq(carrier_flush(writer), 0);
	return inherited_read(&inherited, reader);
}

/* Writes a record of a new socket, which is closed here afterwards. */
static void write_socket(struct inherited_socket socket)
{
	socket.fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	cr_assert_geq(socket.fd, 0);
	inherited_write(&socket, writer);
	cr_assert_eq(carrier_flush(writer), 0);
	close(socket.fd);
}

Test(inherited, hello_and_sockets)
{
	struct inherited_socket *found;
	struct addr address;
	int fd = support_listen(&address, 1);
	struct inherited_socket socket = {.role = INHERITED_LISTENER,
					  .fd = fd,
					  .owner = 3,
					  .forward = "web",
					  .given = "[::1]:0",
					  .device = "lo",
					  .socket_name = "x y"};

	write_hello(INHERITED_PROTOCOL, INHERITED_STATE_VERSION);
	inherited_write(&socket, writer);
	write_socket((struct inherited_socket){.role = INHERITED_METRICS, .given = "[::1]:9"});
	write_socket((struct inherited_socket){.role = INHERITED_ADMIN, .given = "/run/a"});
	write_empty(CARRIER_GREETED);
	cr_assert_eq(read_all(), 0);
	close(fd);
	cr_expect(!inherited.listeners_only);
	cr_expect_str_eq(inherited.old_version, "1.2.3");
	cr_expect_eq(inherited.old_maxconn, 1000);
	cr_expect_eq(inherited.old_workers, 4);
	cr_expect_eq(inherited.boot_id, 0xb001);
	cr_expect_eq(inherited.old_sessions, 77);
	cr_expect_str_eq(inherited.old_user, "nobody");
	cr_assert_eq(inherited.count, 3);
	cr_expect_eq(inherited.sockets[0].owner, 3);
	cr_expect_str_eq(inherited.sockets[0].forward, "web");
	cr_expect_str_eq(inherited.sockets[0].given, "[::1]:0");
	cr_expect_str_eq(inherited.sockets[0].device, "lo");
	cr_expect_str_eq(inherited.sockets[0].socket_name, "x y");
	cr_expect_null(inherited_find(&inherited, INHERITED_METRICS, "/run/a"));
	found = inherited_find(&inherited, INHERITED_ADMIN, "/run/a");
	cr_assert_not_null(found);
	close(inherited_take(found));
	cr_expect(found->used);
	cr_expect_null(inherited_find(&inherited, INHERITED_ADMIN, "/run/a"), "it was taken");
	cr_expect_null(inherited_find(NULL, INHERITED_ADMIN, "/run/a"));
}

/* Descriptors of one socket count once, among those of a forward. */
Test(inherited, duplicates_are_left_out)
{
	struct addr address;
	int fds[] = {support_listen(&address, 1), support_listen(&address, 1), -1};
	static const unsigned by_forward[][2] = {{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 2}};

	fds[2] = dup(fds[0]);
	write_hello(INHERITED_PROTOCOL, INHERITED_STATE_VERSION);
	for (size_t i = 0; i < ARRAY_COUNT(by_forward); i++)
		inherited_write(&(struct inherited_socket){.owner = by_forward[i][0],
							   .fd = fds[by_forward[i][1]]},
				writer);
	write_empty(CARRIER_GREETED);
	cr_assert_eq(read_all(), 0);
	cr_expect_eq(inherited.count, 3);
	for (size_t i = 0; i < ARRAY_COUNT(fds); i++)
		close(fds[i]);
}

Test(inherited, refusals)
{
	static const struct {
		uint64_t protocol, state_version;
		enum carrier_kind before, after; /* before HELLO, and in the place of GREETED */
		int result;
	} rows[] = {
		{INHERITED_PROTOCOL, INHERITED_STATE_VERSION, 0, CARRIER_GREETED, 0},
		{INHERITED_PROTOCOL, INHERITED_STATE_VERSION + 1, 0, CARRIER_GREETED, 0},
		{INHERITED_PROTOCOL + 1, INHERITED_STATE_VERSION, 0, CARRIER_GREETED,
		 -EPROTONOSUPPORT},
		{INHERITED_PROTOCOL, 0, CARRIER_GREETED, CARRIER_GREETED, -EBADMSG},
		{INHERITED_PROTOCOL, 0, 0, CARRIER_SOCKET, -EBADMSG},
		{INHERITED_PROTOCOL, 0, 0, CARRIER_NAME, -EPIPE},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		if (rows[i].before)
			write_empty(rows[i].before);
		write_hello(rows[i].protocol, rows[i].state_version);
		write_socket((struct inherited_socket){.role = INHERITED_METRICS});
		write_empty(rows[i].after);
		cr_assert_eq(carrier_flush(writer), 0);
		if (rows[i].result) {
			carrier_destroy(writer);
			writer = NULL;
		}
		cr_expect_eq(inherited_read(&inherited, reader), rows[i].result, "row %zu", i);
		if (!rows[i].result)
			cr_expect_eq(inherited.listeners_only,
				     rows[i].state_version != INHERITED_STATE_VERSION);
		inherited_finish(&inherited);
		carrier_destroy(writer);
		carrier_destroy(reader);
		set_up();
	}
}

Test(inherited, answer_says_which_forwards_go_on)
{
	bool adopted[INHERITED_FORWARD_LIMIT];
	enum carrier_kind kind;

	write_hello(INHERITED_PROTOCOL, INHERITED_STATE_VERSION);
	for (unsigned i = 0; i < 3; i++)
		write_socket((struct inherited_socket){.role = INHERITED_LISTENER, .owner = i});
	write_socket((struct inherited_socket){.role = INHERITED_METRICS, .owner = 7});
	write_empty(CARRIER_GREETED);
	cr_assert_eq(read_all(), 0);
	close(inherited_take(&inherited.sockets[1]));
	close(inherited_take(&inherited.sockets[3]));
	inherited_close_rest(&inherited);
	carrier_begin(writer, CARRIER_PREPARED);
	inherited_put_adopted(&inherited, writer);
	carrier_end(writer);
	cr_assert_eq(carrier_flush(writer), 0);
	cr_assert_eq(carrier_next(reader, &kind), 0);
	inherited_take_adopted(reader, adopted);
	cr_expect(carrier_is_whole(reader));
	for (unsigned i = 0; i < INHERITED_FORWARD_LIMIT; i++)
		cr_expect_eq(adopted[i], i == 1, "forward %u", i);
}

Test(inherited, lock_of_the_same_file)
{
	char path[] = "/tmp/sixpipe-lock-XXXXXX", other[] = "/tmp/sixpipe-lock-XXXXXX";
	int fd = mkstemp(path), again = open(path, O_RDWR | O_CLOEXEC), another = mkstemp(other);
	int taken;

	cr_assert(fd >= 0 && again >= 0 && another >= 0);
	cr_assert(!flock(fd, LOCK_EX));
	write_hello(INHERITED_PROTOCOL, INHERITED_STATE_VERSION);
	inherited_write(&(struct inherited_socket){.role = INHERITED_LOCK, .fd = fd}, writer);
	write_empty(CARRIER_GREETED);
	cr_assert_eq(read_all(), 0);
	close(fd); /* the old process ends */
	cr_expect_eq(inherited_take_lock(NULL, again), -1);
	cr_expect_eq(inherited_take_lock(&inherited, another), -1);
	taken = inherited_take_lock(&inherited, again);
	cr_assert_geq(taken, 0);
	cr_expect(flock(again, LOCK_EX | LOCK_NB), "the lock goes on");
	close(taken);
	cr_expect(!flock(again, LOCK_EX | LOCK_NB));
	close(again);
	close(another);
	unlink(path);
	unlink(other);
}
