/* SPDX-License-Identifier: MIT */
#include "os/sock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"
#include "os/timer.h"
#include "seccomp_fixture.h"
#include "support.h"

TestSuite(sock, .fini = support_check_leaks);

#define GROUP 3

static const struct sock_tuning untuned;

struct classify_row {
	int error;
	enum sock_failure failure;
};

/*
 * The kernel may choose the backend's port, without a listener, as local port: the socket meets
 * itself.
 */
Test(sock, a_connect_that_meets_itself)
{
	struct sock_tuning tuning = {0};
	struct addr address, other;
	int listener = support_listen(&address, 1), fd, congestion_error;

	close(listener);
	fd = sock_open_backend(&address, &tuning, &congestion_error);
	cr_assert_geq(fd, 0);
	cr_assert(!bind(fd, &address.any, address.length_bytes));
	cr_assert(!connect(fd, &address.any, address.length_bytes) || errno == EINPROGRESS);
	support_poll(fd, POLLOUT);
	cr_assert_eq(sock_take_error(fd), 0);
	other = address;
	addr_set_port(&other, addr_port(&address) ^ 1);
	cr_expect(!sock_met_itself(fd, &other, &tuning));
	tuning.system_ports = (struct sock_ports){1, addr_port(&address) - 1U};
	cr_expect(!sock_met_itself(fd, &address, &tuning), "the kernel chooses among others");
	tuning.system_ports.last++;
	cr_expect(sock_met_itself(fd, &address, &tuning));
	close(fd);
	/* not in TIME_WAIT */
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_expect(!bind(fd, &address.any, address.length_bytes));
	close(fd);
}

Test(sock, classify)
{
	static const struct classify_row rows[] = {
		{ECONNRESET, SOCK_RESET},    {EPIPE, SOCK_RESET},
		{ENOTCONN, SOCK_RESET},	     {ETIMEDOUT, SOCK_LOST},
		{EHOSTUNREACH, SOCK_LOST},   {ENETUNREACH, SOCK_LOST},
		{EHOSTDOWN, SOCK_LOST},	     {ENETDOWN, SOCK_LOST},
		{EMFILE, SOCK_DESCRIPTORS},  {ENFILE, SOCK_DESCRIPTORS},
		{ENOBUFS, SOCK_DESCRIPTORS}, {ENOMEM, SOCK_DESCRIPTORS},
		{ECONNREFUSED, SOCK_OTHER},  {EIO, SOCK_OTHER},
		{EINVAL, SOCK_OTHER},	     {0, SOCK_OTHER},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		cr_expect_eq(sock_classify(rows[i].error), rows[i].failure, "%d", rows[i].error);
		cr_expect_eq(sock_classify(-rows[i].error), rows[i].failure, "%d", -rows[i].error);
	}
}

/* Listeners ------------------------------------------------------------------------------------ */

static void parse(const char *text, struct addr *address)
{
	cr_assert_null(addr_parse(text, address), "%s", text);
}

static bool has_ipv6(void)
{
	struct addr address;
	int fd;

	parse("[::1]:0", &address);
	if (sock_open_listeners(&address, &untuned, 1, &fd, 1))
		return false;
	close(fd);
	return true;
}

static void close_all(const int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
}

Test(sock, port_0_becomes_one_that_the_whole_group_shares)
{
	static const char *const rows[] = {"127.0.0.1:0", "[::1]:0"};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct addr address, local;
		int fds[GROUP];

		parse(rows[i], &address);
		if (address.any.sa_family == AF_INET6 && !has_ipv6())
			continue;
		cr_assert_eq(sock_open_listeners(&address, &untuned, 8, fds, GROUP), 0);
		cr_expect_gt(addr_port(&address), 0, "%s", rows[i]);
		for (unsigned j = 0; j < GROUP; j++) {
			sock_get_local(fds[j], &local);
			cr_expect(addr_equal(&local, &address), "%s: %u", rows[i], j);
			cr_expect_eq(support_option(fds[j], SOL_SOCKET, SO_ACCEPTCONN), 1);
			cr_expect(fcntl(fds[j], F_GETFL) & O_NONBLOCK);
			cr_expect(fcntl(fds[j], F_GETFD) & FD_CLOEXEC);
			for (unsigned k = 0; k < j; k++)
				cr_expect_neq(fds[j], fds[k]);
		}
		close_all(fds, GROUP);
	}
}

/* Opens a listening socket as another program would. */
static int open_other(const struct addr *address, bool reuse_port, bool listening)
{
	int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	cr_assert_geq(fd, 0);
	cr_assert(!setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	if (reuse_port)
		cr_assert(!setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)));
	cr_assert(!bind(fd, &address->any, address->length_bytes));
	if (listening)
		cr_assert(!listen(fd, 1));
	return fd;
}

struct in_use_row {
	const char *name;
	bool reuse_port;
};

/* We could join the SO_REUSEPORT group of another program and would take its connections. */
Test(sock, a_port_in_use_is_found_out)
{
	static const struct in_use_row rows[] = {{"alone", false}, {"a group", true}};
	unsigned before = support_count_descriptors();

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct addr address, wanted;
		int fds[GROUP], other;

		parse("127.0.0.1:0", &address);
		other = open_other(&address, rows[i].reuse_port, true);
		sock_get_local(other, &wanted);
		cr_expect_eq(sock_open_listeners(&wanted, &untuned, 8, fds, GROUP), -EADDRINUSE,
			     "%s", rows[i].name);
		cr_expect_eq(support_count_descriptors(), before + 1, "%s: left open",
			     rows[i].name);
		close(other);
		/* and free again at once */
		cr_expect_eq(sock_open_listeners(&wanted, &untuned, 8, fds, GROUP), 0, "%s",
			     rows[i].name);
		close_all(fds, GROUP);
	}
	cr_expect_eq(support_count_descriptors(), before);
}

Test(sock, two_groups_of_our_own_exclude_each_other)
{
	struct addr address, same;
	int fds[GROUP], more[GROUP];

	parse("127.0.0.1:0", &address);
	cr_assert_eq(sock_open_listeners(&address, &untuned, 8, fds, GROUP), 0);
	same = address;
	cr_expect_eq(sock_open_listeners(&same, &untuned, 8, more, GROUP), -EADDRINUSE);
	close_all(fds, GROUP);
}

/* A connection in TIME_WAIT does not block the port. */
Test(sock, a_port_can_be_had_again_after_connections)
{
	struct addr address;
	int listener = support_listen(&address, 1);
	int client = support_connect(&address), accepted, again;
	char byte;

	support_poll(listener, POLLIN);
	accepted = sock_accept(listener);
	cr_assert_geq(accepted, 0);
	close(accepted); /* this side closes first and so has TIME_WAIT */
	cr_expect_eq(recv(client, &byte, 1, 0), 0);
	close(client);
	close(listener);
	cr_expect_eq(sock_open_listeners(&address, &untuned, 8, &again, 1), 0);
	close(again);
}

Test(sock, ipv6_listeners_leave_the_ipv4_side_alone)
{
	struct addr v6, v4;
	int fds[GROUP], other;

	if (!has_ipv6())
		cr_skip_test("this host has no IPv6");
	parse("[::]:0", &v6);
	cr_assert_eq(sock_open_listeners(&v6, &untuned, 8, fds, GROUP), 0);
	parse("127.0.0.1:0", &v4);
	addr_set_port(&v4, addr_port(&v6));
	cr_expect_eq(sock_open_listeners(&v4, &untuned, 8, &other, 1), 0, "the port is shared");
	close(other);
	close_all(fds, GROUP);
}

struct refused_row {
	const char *address;
	int result;
};

Test(sock, addresses_that_cannot_be_had)
{
	/* an address for documentation, which no host has */
	static const struct refused_row rows[] = {
		{"192.0.2.1:0", -EADDRNOTAVAIL},
		{"[2001:db8::1]:0", -EADDRNOTAVAIL},
	};
	unsigned before = support_count_descriptors();

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct addr address;
		int fds[GROUP];

		parse(rows[i].address, &address);
		if (address.any.sa_family == AF_INET6 && !has_ipv6())
			continue;
		cr_expect_eq(sock_open_listeners(&address, &untuned, 8, fds, GROUP), rows[i].result,
			     "%s", rows[i].address);
		cr_expect_eq(support_count_descriptors(), before, "%s", rows[i].address);
	}
}

Test(sock, a_group_that_cannot_be_complete_leaves_nothing_open)
{
	unsigned before = support_count_descriptors();
	struct rlimit limit;
	struct addr address;
	int fds[GROUP + 4];
	rlim_t first_free = 0;

	while (fcntl((int)first_free, F_GETFD) >= 0)
		first_free++;
	parse("127.0.0.1:0", &address);
	cr_assert(!getrlimit(RLIMIT_NOFILE, &limit));
	for (unsigned room = 0; room < 4; room++) {
		struct rlimit low = {.rlim_cur = first_free + room, .rlim_max = limit.rlim_max};

		cr_assert(!setrlimit(RLIMIT_NOFILE, &low));
		cr_expect_eq(sock_open_listeners(&address, &untuned, 8, fds, GROUP + 4), -EMFILE);
		cr_assert(!setrlimit(RLIMIT_NOFILE, &limit));
		cr_expect_eq(support_count_descriptors(), before, "room for %u", room);
	}
}

/* Connections ---------------------------------------------------------------------------------- */

Test(sock, accept_does_not_block)
{
	struct addr address;
	int listener = support_listen(&address, 1);

	cr_expect_eq(sock_accept(listener), -EAGAIN);
	cr_expect_eq(sock_accept(-1), -EBADF);
	close(listener);
}

Test(sock, names_of_both_ends)
{
	struct support_tcp tcp;
	struct addr ours, peer, theirs;

	support_tcp_open(&tcp, 0, 0);
	sock_get_local(tcp.ours, &ours);
	sock_get_peer(tcp.ours, &peer);
	sock_get_local(tcp.peer, &theirs);
	cr_expect(addr_equal(&peer, &theirs));
	sock_get_peer(tcp.peer, &theirs);
	cr_expect(addr_equal(&ours, &theirs));
	support_reset(tcp.peer);
	tcp.peer = -1;
	support_poll(tcp.ours, POLLIN);
	sock_get_peer(tcp.ours, &peer);
	cr_expect_eq(peer.length_bytes, 0, "a reset socket has no peer");
	sock_get_local(-1, &ours);
	cr_expect_eq(ours.length_bytes, 0, "nor has what is no socket a name");
	support_tcp_close(&tcp);
}

Test(sock, shut_write_is_a_fin)
{
	struct support_tcp tcp;
	char text[6] = "";

	support_tcp_open(&tcp, 0, 0);
	support_send(tcp.ours, "hello", 5);
	cr_expect_eq(sock_shut_write(tcp.ours), 0);
	support_receive(tcp.peer, text, 5);
	cr_expect_str_eq(text, "hello");
	cr_expect_eq(recv(tcp.peer, text, 1, 0), 0);
	support_send(tcp.peer, "back", 4); /* the other direction still works */
	support_wait_for_bytes(tcp.ours, 4);
	support_reset(tcp.peer);
	tcp.peer = -1;
	support_poll(tcp.ours, POLLERR);
	cr_expect_eq(sock_shut_write(tcp.ours), -ENOTCONN);
	support_tcp_close(&tcp);
}

Test(sock, reset_on_close_is_a_rst_and_told_once)
{
	struct support_tcp tcp;

	support_tcp_open(&tcp, 0, 0);
	cr_expect_eq(sock_take_error(tcp.ours), 0);
	sock_reset_on_close(tcp.peer, true);
	close(tcp.peer);
	tcp.peer = -1;
	support_poll(tcp.ours, POLLERR);
	cr_expect_eq(sock_take_error(tcp.ours), ECONNRESET);
	cr_expect_eq(sock_take_error(tcp.ours), 0, "taken");
	support_tcp_close(&tcp);
}

/* A seccomp profile, or an eBPF program of the control group, can forbid it. */
Test(sock, reset_on_close_may_be_forbidden)
{
	struct support_tcp tcp;

	support_tcp_open(&tcp, 0, 0);
	fixture_refuse(SYS_setsockopt, EPERM);
	sock_reset_on_close(tcp.ours, true);
	support_tcp_close(&tcp);
}

Test(sock, room_and_undelivered_bytes)
{
	struct support_tcp tcp;
	uint32_t whole, room;
	bool writable;
	uint64_t sent, undelivered, deadline_ms;
	char *bytes;

	support_tcp_open(&tcp, 65536, 65536);
	whole = sock_room_bytes(tcp.ours, &writable);
	cr_expect_geq(whole, 65536);
	cr_expect(writable);
	cr_expect_eq(sock_undelivered_bytes(tcp.ours), 0);

	sent = support_stuff(&tcp);
	room = sock_room_bytes(tcp.ours, &writable);
	cr_expect_lt(room, whole / 2, "%u of %u", room, whole);
	cr_expect(!writable);
	undelivered = sock_undelivered_bytes(tcp.ours);
	cr_expect(undelivered > 0 && undelivered <= sent);

	bytes = malloc(sent);
	cr_assert_not_null(bytes);
	support_receive(tcp.peer, bytes, sent);
	free(bytes);
	/* poll: there is no event for the acknowledgement of the peer's kernel */
	deadline_ms = timer_now_ms() + SUPPORT_PATIENCE_MS;
	while (sock_undelivered_bytes(tcp.ours) && timer_now_ms() < deadline_ms)
		sched_yield();
	cr_expect_eq(sock_undelivered_bytes(tcp.ours), 0);
	cr_expect_eq(sock_room_bytes(tcp.ours, &writable), whole);
	cr_expect(writable);
	support_tcp_close(&tcp);
}

Test(sock, a_dead_socket_delivers_nothing_more)
{
	struct support_tcp tcp;

	bool writable = true;

	support_tcp_open(&tcp, 0, 0);
	support_stuff(&tcp);
	cr_expect_gt(sock_undelivered_bytes(tcp.ours), 0);
	support_reset(tcp.peer);
	tcp.peer = -1;
	support_poll(tcp.ours, POLLERR);
	cr_expect_eq(sock_undelivered_bytes(tcp.ours), 0);
	support_tcp_close(&tcp);
	cr_expect_eq(sock_undelivered_bytes(-1), 0);
	cr_expect_eq(sock_room_bytes(-1, &writable), 0);
	cr_expect(!writable);
}

static void reset_no_socket(void *fd)
{
	sock_reset_on_close(*(int *)fd, true);
}

Test(sock, resetting_what_is_no_socket_is_a_programming_error)
{
	int fd = STDERR_FILENO;

	cr_expect(support_aborts(reset_no_socket, &fd));
}

/*
 * Local sockets ---------------------------------------------------------------------------------
 */

/* Bytes unread by the peer take room and are untaken, but they are delivered. */
Test(sock, room_of_a_local_socket)
{
	char bytes[40000] = "";
	uint32_t room;
	bool writable;
	int pair[2];

	cr_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair));
	room = sock_room_bytes(pair[0], &writable);
	cr_expect_gt(room, sizeof(bytes));
	cr_expect_eq(sock_untaken_bytes(pair[0]), 0);
	cr_assert_eq(send(pair[0], bytes, sizeof(bytes), 0), sizeof(bytes));
	cr_expect_leq(sock_room_bytes(pair[0], &writable), room - sizeof(bytes));
	cr_expect_geq(sock_untaken_bytes(pair[0]), sizeof(bytes));
	cr_expect_eq(sock_undelivered_bytes(pair[0]), 0);
	cr_assert_eq(recv(pair[1], bytes, sizeof(bytes), 0), sizeof(bytes));
	cr_expect_eq(sock_room_bytes(pair[0], &writable), room);
	cr_expect_eq(sock_untaken_bytes(pair[0]), 0);
	close_all(pair, 2);
}

/* Passed sockets ------------------------------------------------------------------------------ */

static int connect_to(const struct addr *address)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_geq(fd, 0);
	cr_assert(!connect(fd, &address->any, address->length_bytes));
	return fd;
}

/* The second start finds a client with the options of the first, which it cannot tell from later ones. */
Test(sock, early_clients_are_counted_only_by_the_first_that_adopts)
{
	const struct sock_tuning tuning = {0};
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_storage name;
	socklen_t length_bytes = sizeof(name);
	struct addr address;
	int clients[2], accepted[2];
	uint32_t early_count;

	cr_assert(!addr_parse("[::1]:0", &address));
	cr_assert(!bind(listener, &address.any, address.length_bytes));
	cr_assert(!listen(listener, 8));
	cr_assert(!getsockname(listener, (struct sockaddr *)&name, &length_bytes));
	addr_from_sockaddr(&address, &name);
	for (unsigned start = 0; start < ARRAY_COUNT(clients); start++) {
		clients[start] = connect_to(&address);
		cr_assert_eq(sock_adopt_listener(listener, &address, &tuning, 8, &early_count), 0);
		cr_expect_eq(early_count, start ? 0U : 1U, "start %u: %u", start, early_count);
		accepted[start] = sock_accept(listener);
		cr_assert_geq(accepted[start], 0);
		cr_expect_eq(sock_tune_early(accepted[start], &address, &tuning), !start);
	}
	for (unsigned i = 0; i < ARRAY_COUNT(clients); i++) {
		close(clients[i]);
		close(accepted[i]);
	}
	close(listener);
}
