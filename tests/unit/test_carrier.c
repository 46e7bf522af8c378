/* SPDX-License-Identifier: MIT */
#include "os/carrier.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/util.h"
#include "carry_fixture.h"
#include "os/timer.h"
#include "support.h"

static struct carrier *writer, *reader;

static void set_up(void)
{
	struct carry carry;

	fixture_carry_open(&carry);
	writer = carry.out;
	reader = carry.in;
}

static void tear_down(void)
{
	carrier_destroy(writer);
	carrier_destroy(reader);
	support_check_leaks();
}

TestSuite(carrier, .init = set_up, .fini = tear_down);

static void expect_next(enum carrier_kind expected)
{
	enum carrier_kind kind = CARRIER_KIND_COUNT;

	cr_expect_eq(carrier_next(reader, &kind), 0);
	cr_expect_eq(kind, expected);
}

static void send_empty(enum carrier_kind kind)
{
	carrier_begin(writer, kind);
	carrier_end(writer);
	cr_expect_eq(carrier_flush(writer), 0);
}

Test(carrier, carries_each_kind_of_value)
{
	char text[8], bytes[3];

	carrier_begin(writer, CARRIER_HELLO);
	carrier_put(writer, UINT64_MAX - 1);
	carrier_put_text(writer, "seven b");
	carrier_put_text(writer, NULL);
	carrier_put_bytes(writer, "\0\1\2", 3);
	carrier_end(writer);
	cr_expect_eq(carrier_flush(writer), 0);

	expect_next(CARRIER_HELLO);
	cr_expect_eq(carrier_take(reader), UINT64_MAX - 1);
	cr_expect_str_eq(carrier_take_text(reader, text, sizeof(text)), "seven b");
	cr_expect_str_eq(carrier_take_text(reader, text, sizeof(text)), "");
	carrier_take_bytes(reader, bytes, sizeof(bytes));
	cr_expect_arr_eq(bytes, "\0\1\2", 3);
	cr_expect(carrier_is_whole(reader));
	cr_expect_eq(carrier_take(reader), 0, "beyond the end");
	cr_expect_not(carrier_is_whole(reader));
}

Test(carrier, carries_addresses)
{
	static const char *const texts[] = {"192.0.2.1:80", "[2001:db8::1]:65535", "[fe80::1%1]:1"};
	static const char *const names[] = {"unix:/run/x", "unix:@hidden"};
	struct sockaddr_un name, name_taken;
	struct addr address, taken;

	for (unsigned i = 0; i < ARRAY_COUNT(texts) + ARRAY_COUNT(names) + 2; i++) {
		if (i < ARRAY_COUNT(texts))
			cr_assert_null(addr_parse(texts[i], &address));
		else if (i < ARRAY_COUNT(texts) + ARRAY_COUNT(names))
			cr_assert_null(addr_parse_local(names[i - ARRAY_COUNT(texts)],
							strlen(names[i - ARRAY_COUNT(texts)]),
							&name, &address));
		else if (i == ARRAY_COUNT(texts) + ARRAY_COUNT(names))
			address = (struct addr){0};
		else /* a local peer */
			address = (struct addr){.local = {.family = AF_UNIX},
						.length_bytes = sizeof(struct addr_local)};
		carrier_begin(writer, CARRIER_MEMBER);
		carrier_put_addr(writer, &address);
		carrier_put(writer, 7);
		carrier_end(writer);
		cr_expect_eq(carrier_flush(writer), 0);
		expect_next(CARRIER_MEMBER);
		carrier_take_addr(reader, &taken, &name_taken);
		cr_expect(taken.length_bytes == address.length_bytes &&
				  (!address.length_bytes || addr_equal(&taken, &address)),
			  "address %u", i);
		cr_expect_eq(carrier_take(reader), 7);
		cr_expect(carrier_is_whole(reader));
	}
}

Test(carrier, leaves_out_what_the_reader_does_not_know)
{
	carrier_begin(writer, CARRIER_HELLO);
	carrier_put(writer, 1);
	carrier_put_text(writer, "a later version has added this");
	carrier_put_fd(writer, STDERR_FILENO);
	carrier_end(writer);
	carrier_begin(writer, (enum carrier_kind)999);
	carrier_put_fd(writer, STDERR_FILENO);
	carrier_end(writer);
	send_empty(CARRIER_GREETED);

	expect_next(CARRIER_HELLO);
	cr_expect_eq(carrier_take(reader), 1);
	expect_next((enum carrier_kind)999);
	expect_next(CARRIER_GREETED);
	cr_expect_eq(carrier_take_fd(reader), -1);
	cr_expect_not(carrier_is_whole(reader));
}

Test(carrier, refuses_a_text_or_bytes_of_another_length)
{
	char text[4] = "x", bytes[2];

	carrier_begin(writer, CARRIER_HELLO);
	carrier_put_text(writer, "four");
	carrier_end(writer);
	carrier_begin(writer, CARRIER_HELLO);
	carrier_put_bytes(writer, "123", 3);
	carrier_end(writer);
	cr_expect_eq(carrier_flush(writer), 0);
	expect_next(CARRIER_HELLO);
	cr_expect_str_eq(carrier_take_text(reader, text, sizeof(text)), "");
	cr_expect_not(carrier_is_whole(reader));
	expect_next(CARRIER_HELLO);
	carrier_take_bytes(reader, bytes, sizeof(bytes));
	cr_expect_not(carrier_is_whole(reader));
}

static void *write_many(void *count)
{
	for (unsigned i = 0; i < *(const unsigned *)count; i++) {
		carrier_begin(writer, CARRIER_SESSION);
		carrier_put(writer, i);
		for (unsigned j = 0; j < i % 4; j++)
			carrier_put_fd(writer, STDERR_FILENO);
		carrier_end(writer);
	}
	cr_expect_eq(carrier_flush(writer), 0);
	return NULL;
}

Test(carrier, carries_more_than_fits_in_flight)
{
	unsigned count = 4000; /* many messages, and more descriptors than may be open */
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, write_many, &count), 0);
	for (unsigned i = 0; i < count; i++) {
		expect_next(CARRIER_SESSION);
		cr_expect_eq(carrier_take(reader), i);
		for (unsigned j = 0; j < i % 4; j++) {
			int fd = carrier_take_fd(reader);

			cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
			close(fd);
		}
		cr_expect(carrier_is_whole(reader));
	}
	pthread_join(thread, NULL);
}

Test(carrier, tells_that_the_other_end_is_gone)
{
	enum carrier_kind kind;
	int result;

	send_empty(CARRIER_COMMIT);
	carrier_destroy(writer);
	writer = NULL;
	expect_next(CARRIER_COMMIT);
	cr_expect_eq(carrier_next(reader, &kind), -EPIPE);
	carrier_begin(reader, CARRIER_HAVE_ALL);
	carrier_end(reader);
	result = carrier_flush(reader);
	cr_expect(result == -EPIPE || result == -ECONNRESET, "%d", result);
}

Test(carrier, gives_up_in_time)
{
	enum carrier_kind kind;

	carrier_set_due(reader, timer_now_ms());
	cr_expect_eq(carrier_next(reader, &kind), -ETIMEDOUT);
	carrier_set_due(writer, timer_now_ms());
	for (unsigned i = 0; i < 10000; i++) { /* until the socket is full */
		carrier_begin(writer, CARRIER_SESSION);
		carrier_put_text(writer, "some bytes");
		carrier_end(writer);
	}
	cr_expect_eq(carrier_flush(writer), -ETIMEDOUT);
}

Test(carrier, tells_that_descriptors_were_lost)
{
	struct rlimit before, few;
	enum carrier_kind kind;
	int first_free = dup(STDERR_FILENO);

	close(first_free);
	cr_assert(!getrlimit(RLIMIT_NOFILE, &before));
	few = (struct rlimit){.rlim_cur = (rlim_t)first_free + 1, .rlim_max = before.rlim_max};
	carrier_begin(writer, CARRIER_SESSION);
	for (unsigned i = 0; i < 3; i++)
		carrier_put_fd(writer, STDERR_FILENO);
	carrier_end(writer);
	cr_expect_eq(carrier_flush(writer), 0);
	cr_assert(!setrlimit(RLIMIT_NOFILE, &few));
	cr_expect_eq(carrier_next(reader, &kind), -EMFILE);
	cr_assert(!setrlimit(RLIMIT_NOFILE, &before));
}
