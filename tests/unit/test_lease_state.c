/* SPDX-License-Identifier: MIT */
#include "identity/lease_state.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

#define KEY_TEXT   "000102030405060708090a0b0c0d0e0f"
#define OTHER_TEXT "000102030405060708090a0b0c0d0e10"
#define BEFORE_KEY "sixpipe-sources 1\nblock 192.0.2.16/28\nclient-prefix 64\nkey "
#define HEADER	   BEFORE_KEY KEY_TEXT "\n"

static char directory[64];
static char state_path[80], key_path[80];

static void enter(void)
{
	snprintf(directory, sizeof(directory), "/tmp/test_lease_state.XXXXXX");
	cr_assert_not_null(mkdtemp(directory));
	snprintf(state_path, sizeof(state_path), "%s/state", directory);
	snprintf(key_path, sizeof(key_path), "%s/key", directory);
}

static void leave(void)
{
	unlink(state_path);
	unlink(key_path);
	cr_expect_eq(rmdir(directory), 0, "something was left in %s", directory);
	support_check_leaks();
}

TestSuite(lease_state, .init = enter, .fini = leave);

static void write_file(const char *path, const char *text, size_t length, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(fchmod(fd, mode), 0);
	cr_assert_eq(write(fd, text, length), (ssize_t)length);
	close(fd);
}

static char *read_file(const char *path)
{
	static char text[65536];
	FILE *file = fopen(path, "re");

	cr_assert_not_null(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	return text;
}

static struct lease_pool_options make_options(const char *block, unsigned client_bits)
{
	struct lease_pool_options options = {.client_bits = client_bits, .lease_count = 64};

	cr_assert_null(cidr_parse(block, &options.block));
	return options;
}

static int open_pool(const struct lease_pool_options *options, bool with_key,
		     const struct lease_clock *clock, struct lease_pool **pool, struct fault *fault)
{
	const struct lease_files files = {with_key ? key_path : NULL, state_path};
	uint64_t dropped;
	int result;

	*fault = (struct fault){0};
	result = lease_pool_open(options, &files, clock, pool, &dropped, fault);
	cr_expect(result || !dropped);
	return result;
}

static struct in6_addr make_client(uint32_t number)
{
	struct in6_addr client = {.s6_addr = {0x20, 0x01, 0x0d, 0xb8}};

	number = htonl(number);
	memcpy(client.s6_addr + 4, &number, sizeof(number));
	return client;
}

/* A pool of 192.0.2.16/28 with the key of HEADER. */
static struct lease_pool *make_pool(void)
{
	static const uint8_t key[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	struct lease_pool_options options = make_options("192.0.2.16/28", 64);
	struct fault fault = {0};
	struct lease_pool *pool;

	cr_assert_eq(lease_pool_create(&options, key, &pool, &fault), 0, "%s",
		     support_text(&fault));
	return pool;
}

/* Opens such a pool with the leases of the state file. */
static int load_pool(const struct lease_clock *clock, struct lease_pool **pool, struct fault *fault)
{
	struct lease_pool_options options = make_options("192.0.2.16/28", 64);

	*pool = NULL;
	write_file(key_path, KEY_TEXT, strlen(KEY_TEXT), 0600);
	return open_pool(&options, true, clock, pool, fault);
}

/* "lease ADDRESS CLIENT" of a client's candidate in that pool. */
static const char *lease_line(uint32_t number, unsigned candidate)
{
	static char lines[4][128];
	static unsigned next;
	char *line = lines[next++ % 4], address[INET_ADDRSTRLEN], client[INET6_ADDRSTRLEN];
	struct in6_addr prefix = make_client(number);
	struct lease_pool *pool = make_pool();
	struct lease_draw draw;
	struct in_addr drawn;

	lease_draw_init(&draw, &pool->block, &prefix);
	for (unsigned i = 0; i <= candidate; i++)
		cr_assert(lease_draw_next(&draw, &drawn.s_addr));
	lease_pool_destroy(pool);
	drawn.s_addr = htonl(drawn.s_addr);
	inet_ntop(AF_INET, &drawn, address, sizeof(address));
	inet_ntop(AF_INET6, &prefix, client, sizeof(client));
	snprintf(line, sizeof(lines[0]), "lease %s %s/64", address, client);
	return line;
}

Test(lease_state, survives_a_restart)
{
	enum { CLIENTS = 200 };
	struct lease_pool_options options = make_options("240.0.0.0/4", 128);
	struct lease_clock clock = {5000000, 1767225600}, later = {1000, 1767225660};
	struct in_addr before[CLIENTS], after;
	struct fault fault = {0};
	struct lease_pool_stats stats = {0};
	struct lease_pool *pool;
	struct in6_addr mapped;
	struct stat status;
	char first[65536];

	options.lease_count = 1000;
	write_file(key_path, KEY_TEXT, strlen(KEY_TEXT), 0600);
	inet_pton(AF_INET6, "::ffff:192.0.2.1", &mapped);
	cr_assert_eq(open_pool(&options, true, &clock, &pool, &fault), 0, "%s",
		     support_text(&fault));
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct in6_addr client = i ? make_client(i) : mapped;

		cr_assert_eq(lease_pool_acquire(pool, &client, 4000000 + i * 1000, &before[i]), 0);
		if (i % 2)
			lease_pool_release(pool, before[i], 4000000 + i * 1000);
	}
	cr_assert_eq(lease_pool_save(pool, state_path, &clock, &fault), 0, "%s",
		     support_text(&fault));
	lease_pool_destroy(pool);
	cr_assert_eq(stat(state_path, &status), 0);
	cr_expect_eq(status.st_mode & 07777, 0600);
	snprintf(first, sizeof(first), "%s", read_file(state_path));
	cr_expect_not_null(strstr(first, " 192.0.2.1 1767224600\n")); /* 1000 s before */

	unlink(key_path);
	/* after a reboot the clock begins at 0, so the leases are from before its beginning */
	cr_assert_eq(open_pool(&options, false, &later, &pool, &fault), 0, "%s",
		     support_text(&fault));
	lease_pool_add_stats(pool, &stats);
	cr_expect(stats.in_use == CLIENTS && !stats.live && !stats.evictions && !stats.collisions);
	cr_assert_eq(lease_pool_save(pool, state_path, &later, &fault), 0, "%s",
		     support_text(&fault));
	cr_expect_str_eq(read_file(state_path), first);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct in6_addr client = i ? make_client(i) : mapped;

		cr_assert_eq(lease_pool_acquire(pool, &client, 0, &after), 0);
		cr_expect_eq(after.s_addr, before[i].s_addr, "client %u", i);
	}
	lease_pool_destroy(pool);
}

/* A client keeps its leased candidate, although its first candidate is free now. */
Test(lease_state, keeps_a_second_choice)
{
	struct lease_clock clock = {1000, 1000};
	struct fault fault = {0};
	char text[512], wanted[INET_ADDRSTRLEN];
	struct lease_pool *pool;
	struct in6_addr client = make_client(1);
	struct in_addr leased;
	unsigned candidate = 1;

	while (!strcmp(lease_line(1, candidate), lease_line(1, 0)))
		candidate++;
	snprintf(text, sizeof(text), HEADER "%s 990\nend 1\n", lease_line(1, candidate));
	write_file(state_path, text, strlen(text), 0600);
	cr_assert_eq(load_pool(&clock, &pool, &fault), 0, "%s", support_text(&fault));
	cr_assert_eq(lease_pool_acquire(pool, &client, 1000, &leased), 0);
	inet_ntop(AF_INET, &leased, wanted, sizeof(wanted));
	cr_expect_not_null(strstr(lease_line(1, candidate), wanted));
	lease_pool_destroy(pool);
}

/* In the text, ONE stands for the lease of client 1 without its time. */
static const struct fault_row {
	const char *text;
	const char *says; /* NULL: taken */
} fault_rows[] = {
	{"", ":1: the file ends before"},
	{"sixpipe-sources 2\n", ":1: is of a version"},
	{"sixpipe-sources x\n", ":1: is of a version"},
	{"sixpipe-sources\n", ":1: there should be a line 'sixpipe-sources"},
	{"sixpipe-sources 1", ":1: the line is too long, holds a NUL or has no newline"},
	{"sixpipe-sources 1\n", ":2: the file ends before"},
	{"sixpipe-sources 1\nkey x\n", ":2: there should be a line 'block"},
	{"sixpipe-sources 1\nblock x\n", ":2: is not an IPv4 block"},
	{"sixpipe-sources 1\nblock ::/8\n", ":2: is not an IPv4 block"},
	{"sixpipe-sources 1\nblock 10.0.0.0/8\nclient-prefix 65\n", ":3: the prefix length"},
	{BEFORE_KEY "00\n", ":4: the key must be"},
	{BEFORE_KEY "000102030405060708090a0b0c0d0e0g\n", ":4: the key must be"},
	{"sixpipe-sources 1\nblock 10.0.0.0/8\nclient-prefix 64\nkey " KEY_TEXT "\nend 0\n",
	 "holds addresses of 10.0.0.0/8, not of 192.0.2.16/28; give that block, or remove"},
	{"sixpipe-sources 1\nblock 192.0.2.16/28\nclient-prefix 128\nkey " KEY_TEXT "\nend 0\n",
	 "holds clients by /128, not /64; give that prefix length, or remove"},
	{BEFORE_KEY OTHER_TEXT "\nend 0\n",
	 "was written with another key; give that key, or remove"},
	{HEADER, ":5: the file ends before"},
	{HEADER "end 0\n", NULL},
	{HEADER "end 0\n\n", ":5: should be the last line"},
	{HEADER "end 1\n", ":5: does not count"},
	{HEADER "end\n", ":5: is neither"},
	{HEADER "\n", ":5: is neither"},
	{HEADER "lease\n", ":5: is neither"},
	{HEADER "lease 192.0.2.17\n", ":5: a lease has address"},
	{HEADER "lease 192.0.2.17 2001:db8::/64\n", ":5: a lease has address"},
	{HEADER "lease 192.0.2 2001:db8::/64 1\n", ":5: the address is not an IPv4"},
	{HEADER "lease 192.0.2.17 2001:db8::1/64 1\n", ":5: the client has bits set"},
	{HEADER "lease 192.0.2.17 x 1\n", ":5: the client is not an address block; write it as in "
					  "2001:db8::/32 or 192.0.2.0/24, or remove the line"},
	{HEADER "lease 192.0.2.17 2001:db8::/65 1\n", ":5: the client's prefix"},
	{HEADER "lease 192.0.2.17 2001:db8::/32 1\n", ":5: the client's prefix"},
	{HEADER "lease 192.0.2.17 192.0.2.0/24 1\n", ":5: the client's prefix"},
	{HEADER "lease 192.0.2.17 2001:db8::/64 -1\n", ":5: the time"},
	{HEADER "lease 192.0.2.17 2001:db8::/64 1 1\n", ":5: the time"},
	{HEADER "lease 192.0.2.32 2001:db8::/64 1\n", ":5: the address is not one of"},
	{HEADER "lease 192.0.2.16 2001:db8::/64 1\n", ":5: the address is not one of"},
	{HEADER "lease 192.0.2.31 2001:db8::/64 1\n", ":5: the address is not one of"},
	{HEADER "ONE 1\nend 1\n", NULL},
	{HEADER "ONE 99999999999999999999\nend 1\n", ":5: the time"},
	{HEADER "ONE 18446744073709551615\nend 1\n", NULL},
	{HEADER "ONE 0\nend 1\n", NULL},
	{HEADER "ONE 1\n", ":6: the file ends before"},
	{HEADER "ONE 1\nend 2\n", ":6: does not count"},
	{HEADER "ONE 1\nONE 2\nend 2\n", ":6: the client has a line already"},
};

Test(lease_state, faults)
{
	const char *one = lease_line(1, 0), *two = lease_line(1, 0);

	cr_assert_str_eq(one, two);
	for (size_t i = 0; i < ARRAY_COUNT(fault_rows); i++) {
		const struct fault_row *row = &fault_rows[i];
		struct fault fault = {0};
		char text[1024] = "";
		struct lease_clock clock = {1000, 1767225600};
		struct lease_pool *pool;
		const char *at = row->text, *mark;
		int result;

		while ((mark = strstr(at, "ONE"))) {
			strncat(text, at, (size_t)(mark - at));
			strcat(text, one);
			at = mark + 3;
		}
		strcat(text, at);
		write_file(state_path, text, strlen(text), 0600);
		result = load_pool(&clock, &pool, &fault);
		cr_expect_eq(result, row->says ? -EINVAL : 0, "%zu: %s", i, support_text(&fault));
		cr_expect(!row->says ||
				  (strstr(support_text(&fault), row->says) &&
				   !strncmp(support_text(&fault), state_path, strlen(state_path))),
			  "%zu: %s\n%s", i, support_text(&fault), text);
		lease_pool_destroy(pool);
	}
}

/* Two clients with the same address: of 15 clients and 14 addresses, two share a candidate. */
Test(lease_state, duplicate_address)
{
	struct lease_clock clock = {1000, 1000};
	struct fault fault = {0};
	char text[512], first[32];
	struct lease_pool *pool;
	uint32_t other = 2;

	snprintf(first, sizeof(first), "%.*s", (int)strlen("lease 192.0.2.17"), lease_line(1, 0));
	while (strncmp(lease_line(other, 0), first, strlen(first)) != 0)
		other++;
	snprintf(text, sizeof(text), HEADER "%s 1\n%s 1\nend 2\n", lease_line(1, 0),
		 lease_line(other, 0));
	write_file(state_path, text, strlen(text), 0600);
	cr_expect_eq(load_pool(&clock, &pool, &fault), -EINVAL);
	cr_expect_not_null(strstr(support_text(&fault), ":6: the address has a line already"), "%s",
			   support_text(&fault));
}

/* Cut off after any byte, and with any byte turned into a NUL, a file is refused. */
Test(lease_state, damage)
{
	struct lease_clock clock = {1000, 1000};
	struct fault fault = {0};
	char text[512];
	size_t length;

	snprintf(text, sizeof(text), HEADER "%s 1\nend 1\n", lease_line(1, 0));
	length = strlen(text);
	for (size_t i = 0; i < 2 * length; i++) {
		struct lease_pool *pool;
		char saved = text[i % length];

		text[i % length] = '\0';
		write_file(state_path, text, i < length ? i : length, 0600);
		text[i % length] = saved;
		cr_expect_eq(load_pool(&clock, &pool, &fault), -EINVAL, "%zu", i);
	}
}

Test(lease_state, key_file)
{
	static const struct {
		const char *text;
		mode_t mode;
		const char *says; /* NULL: taken */
	} rows[] = {
		{KEY_TEXT, 0600, NULL},
		{KEY_TEXT "\n", 0400, NULL},
		{"000102030405060708090A0B0C0D0E0F\n", 0600, NULL},
		{KEY_TEXT "\n\n", 0600, "is not a key"},
		{KEY_TEXT "0", 0600, "is not a key"},
		{KEY_TEXT "00", 0600, "is not a key"},
		{"00", 0600, "is not a key"},
		{"", 0600, "is not a key"},
		{"\n", 0600, "is not a key"},
		{"0x0102030405060708090a0b0c0d0e0f", 0600, "is not a key"},
		{KEY_TEXT, 0640, NULL},
		{KEY_TEXT, 0660, NULL},
		{KEY_TEXT, 0604, "run: chmod 600 "},
		{KEY_TEXT, 0602, "run: chmod 600 "},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct fault fault = {0};
		uint8_t key[SIPHASH_KEY_BYTES];
		int result;

		write_file(key_path, rows[i].text, strlen(rows[i].text), rows[i].mode);
		result = lease_key_read(key_path, key, &fault);
		cr_expect_eq(result, rows[i].says ? -EINVAL : 0, "%zu: %s", i,
			     support_text(&fault));
		cr_expect(!rows[i].says || strstr(support_text(&fault), rows[i].says), "%zu: %s", i,
			  support_text(&fault));
		for (uint8_t j = 0; !result && j < sizeof(key); j++)
			cr_expect_eq(key[j], j);
		unlink(key_path);
	}
}

Test(lease_state, files_that_are_none)
{
	struct lease_pool_options options = make_options("192.0.2.16/28", 64);
	const struct lease_clock clock = {1000, 1000};
	struct lease_pool *pool;
	struct fault fault = {0};
	uint8_t key[SIPHASH_KEY_BYTES];

	cr_expect_eq(lease_key_read(key_path, key, &fault), -ENOENT);
	cr_expect_not_null(strstr(support_text(&fault), "there is no such key file; make one: "),
			   "%s", support_text(&fault));
	cr_expect_eq(lease_key_read(directory, key, &fault), -EINVAL);
	cr_expect_not_null(strstr(support_text(&fault), "is not a regular file"), "%s",
			   support_text(&fault));
	cr_assert_eq(mkfifo(key_path, 0600), 0);
	cr_expect_eq(lease_key_read(key_path, key, &fault), -EINVAL);
	cr_expect_not_null(strstr(support_text(&fault), "is not a regular file"), "%s",
			   support_text(&fault));
	write_file(state_path, HEADER, strlen(HEADER), 0644);
	cr_expect_eq(open_pool(&options, false, &clock, &pool, &fault), -EINVAL);
	cr_expect_not_null(strstr(support_text(&fault), "run: chmod 600 "), "%s",
			   support_text(&fault));
}

/* Key file, else state file, else a random one; key file and state file must agree. */
Test(lease_state, whose_key)
{
	struct lease_pool_options options = make_options("192.0.2.16/28", 64);
	const struct lease_clock clock = {1000, 1000};
	static const char state[] = HEADER "end 0\n";
	struct lease_pool *pool, *other;
	struct fault fault = {0};

	cr_assert_eq(open_pool(&options, false, &clock, &pool, &fault), 0, "%s",
		     support_text(&fault));
	cr_assert_eq(open_pool(&options, false, &clock, &other, &fault), 0, "%s",
		     support_text(&fault));
	cr_expect_neq(memcmp(pool->block.key, other->block.key, 16), 0);
	lease_pool_destroy(pool);
	lease_pool_destroy(other);

	write_file(state_path, state, strlen(state), 0600);
	cr_assert_eq(open_pool(&options, false, &clock, &pool, &fault), 0, "%s",
		     support_text(&fault));
	cr_expect_eq(pool->block.key[15], 0x0f);
	lease_pool_destroy(pool);

	write_file(key_path, KEY_TEXT, strlen(KEY_TEXT), 0600);
	cr_assert_eq(open_pool(&options, true, &clock, &pool, &fault), 0, "%s",
		     support_text(&fault));
	lease_pool_destroy(pool);

	write_file(key_path, OTHER_TEXT, strlen(OTHER_TEXT), 0600);
	cr_expect_eq(open_pool(&options, true, &clock, &pool, &fault), -EINVAL);
	cr_expect_not_null(strstr(support_text(&fault), "was written with another key"), "%s",
			   support_text(&fault));
	unlink(state_path);
	cr_assert_eq(open_pool(&options, true, &clock, &pool, &fault), 0, "%s",
		     support_text(&fault));
	cr_expect_eq(pool->block.key[15], 0x10);
	lease_pool_destroy(pool);
	write_file(key_path, KEY_TEXT, sizeof(KEY_TEXT), 0600); /* with a NUL */
	cr_expect_eq(open_pool(&options, true, &clock, &pool, &fault), -EINVAL);
}

/* While workers acquire and release ------------------------------------------------------------ */

struct churn {
	struct lease_pool *pool;
	atomic_bool over;
};

static void *churn(void *argument)
{
	struct churn *churn = argument;
	uint64_t seed = 1;

	for (uint64_t now_ms = 0; !churn->over; now_ms += 1000) {
		struct in6_addr client = make_client(support_random(&seed) % 40);
		struct in_addr leased;

		if (!lease_pool_acquire(churn->pool, &client, now_ms, &leased))
			lease_pool_release(churn->pool, leased, now_ms);
	}
	return NULL;
}

Test(lease_state, saved_while_in_use)
{
	struct churn all = {.pool = make_pool()};
	const struct lease_clock clock = {1000, 1767225600};
	struct fault fault = {0};
	pthread_t threads[2];

	for (unsigned i = 0; i < ARRAY_COUNT(threads); i++)
		cr_assert(!pthread_create(&threads[i], NULL, churn, &all));
	for (unsigned i = 0; i < 100; i++) {
		struct lease_pool *copy;

		cr_assert_eq(lease_pool_save(all.pool, state_path, &clock, &fault), 0, "%s",
			     support_text(&fault));
		cr_assert_eq(load_pool(&clock, &copy, &fault), 0, "%s", support_text(&fault));
		lease_pool_destroy(copy);
	}
	all.over = true;
	for (unsigned i = 0; i < ARRAY_COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	lease_pool_destroy(all.pool);
}
