/* SPDX-License-Identifier: MIT */
#include "limits/client_limits.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/cidr.h"
#include "base/util.h"
#include "client_limits_fixture.h"
#include "support.h"

TestSuite(client_limits, .fini = support_check_leaks);

static struct in6_addr address_of(const char *text)
{
	struct cidr cidr;

	cr_assert_null(cidr_parse(text, &cidr), "%s", text);
	return cidr.network;
}

/* What one client is --------------------------------------------------------------------------- */

Test(client_limits, clients)
{
	static const struct {
		unsigned v6_bits;
		unsigned v4_bits;
		const char *one;
		const char *other;
		bool same;
	} rows[] = {
		{64, 32, "2001:db8::1", "2001:db8::ffff:1:2:3", true},
		{64, 32, "2001:db8::1", "2001:db8:0:1::1", false},
		{64, 32, "192.0.2.1", "192.0.2.1", true},
		{64, 32, "192.0.2.1", "192.0.2.2", false},
		{64, 32, "192.0.2.1", "::1", false},
		{64, 24, "192.0.2.1", "192.0.2.254", true},
		{64, 24, "192.0.2.1", "192.0.3.1", false},
		{48, 32, "2001:db8:0:1::", "2001:db8:0:2::", true},
		{48, 32, "2001:db8:1::", "2001:db8:2::", false},
		{128, 32, "2001:db8::1", "2001:db8::2", false},
		{0, 0, "2001:db8::1", "2001:db9::1", true},
		{64, 32, "fe80::1", "fe80::2", false},
		{0, 0, "192.0.2.1", "10.0.0.1", true},
		{0, 0, "192.0.2.1", "::1", false},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct client_limits_options options = {.maxconn = 1,
							.v6_bits = rows[i].v6_bits,
							.v4_bits = rows[i].v4_bits,
							.clients = 1};
		struct in6_addr one = address_of(rows[i].one), other = address_of(rows[i].other);
		struct client_limits *limits;
		client_ticket ticket;

		cr_assert_eq(client_limits_create(&limits, &options), 0);
		cr_expect_eq(client_limits_enter(limits, &one, 0, &ticket), CLIENT_OK);
		cr_expect_eq(client_limits_enter(limits, &other, 0, &ticket),
			     rows[i].same ? CLIENT_TOO_MANY : CLIENT_OK, "%s and %s", rows[i].one,
			     rows[i].other);
		cr_expect_eq(client_limits_live(limits, &other), 1);
		client_limits_destroy(limits);
	}
}

/* Stores the entries of clients in a table of many entries, with this secret key. */
static void enter_some(uint8_t key, client_ticket tickets[32])
{
	struct client_limits_options options = {
		.maxconn = 1, .v6_bits = 64, .clients = 100000, .key = {[9] = key}};
	struct client_limits *limits;

	cr_assert_eq(client_limits_create(&limits, &options), 0);
	for (unsigned i = 0; i < 32; i++)
		cr_assert_eq(fixture_enter(limits, i, 0, &tickets[i]), CLIENT_OK);
	client_limits_destroy(limits);
}

Test(client_limits, the_entry_of_a_client_depends_on_the_key)
{
	client_ticket tickets[3][32];
	unsigned same = 0;

	enter_some(1, tickets[0]);
	enter_some(1, tickets[1]);
	enter_some(2, tickets[2]);
	cr_expect_arr_eq(tickets[0], tickets[1], sizeof(tickets[0]));
	for (unsigned i = 0; i < 32; i++)
		same += tickets[0][i] == tickets[2][i];
	cr_expect_leq(same, 1);
}

/* Limits --------------------------------------------------------------------------------------- */

Test(client_limits, maxconn)
{
	struct client_limits *limits = fixture_limits(3, 0, 10);
	client_ticket tickets[3], other;

	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(fixture_enter(limits, 1, 0, &tickets[i]), CLIENT_OK);
	cr_expect_eq(fixture_live(limits, 1), 3);
	cr_expect_eq(fixture_enter(limits, 1, 0, &other), CLIENT_TOO_MANY);
	cr_expect_eq(other, CLIENT_UNCOUNTED);
	cr_expect_eq(fixture_live(limits, 1), 3);
	cr_expect_eq(fixture_live(limits, 2), 0);
	cr_expect_eq(fixture_enter(limits, 2, 0, &other), CLIENT_OK);
	client_limits_leave(limits, tickets[1]);
	cr_expect_eq(fixture_live(limits, 1), 2);
	cr_expect_eq(fixture_enter(limits, 1, 1000000, &tickets[1]), CLIENT_OK);
	cr_expect_eq(fixture_enter(limits, 1, 1000000, &other), CLIENT_TOO_MANY);
	for (unsigned i = 0; i < 3; i++)
		client_limits_leave(limits, tickets[i]);
	cr_expect_eq(fixture_live(limits, 1), 0);
	client_limits_leave(limits, CLIENT_UNCOUNTED);
	cr_expect_eq(client_limits_uncounted(limits), 0);
	client_limits_destroy(limits);
	client_limits_destroy(NULL);
}

/* How many of `tries` connections at `now_ms` are admitted; they end at once. */
static unsigned burst(struct client_limits *limits, uint64_t now_ms, unsigned tries)
{
	unsigned entered = 0;

	while (tries--) {
		client_ticket ticket;
		enum client_verdict verdict = fixture_enter(limits, 1, now_ms, &ticket);

		cr_assert(verdict == CLIENT_OK || verdict == CLIENT_TOO_FAST);
		entered += verdict == CLIENT_OK;
		client_limits_leave(limits, ticket);
	}
	return entered;
}

Test(client_limits, rate)
{
	static const struct {
		uint32_t rate;
		uint64_t pause_ms; /* since a bucket was emptied */
		unsigned entered;
	} rows[] = {
		{1, 0, 0},    {1, 999, 0},  {1, 1000, 1}, {1, 100000, 1},     {3, 333, 0},
		{3, 334, 1},  {3, 666, 1},  {3, 667, 2},  {3, 1000, 3},	      {3, 60000, 3},
		{100, 9, 0},  {100, 10, 1}, {100, 55, 5}, {100, 999, 99},     {100, 5000, 100},
		{1000, 1, 1}, {1500, 1, 1}, {1500, 2, 3}, {1000, 1000, 1000},
	};
	static const uint64_t starts_ms[] = {0, 1, 123456789, 1ULL << 40};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		for (size_t start = 0; start < ARRAY_COUNT(starts_ms); start++) {
			struct client_limits *limits = fixture_limits(0, rows[i].rate, 10);
			uint64_t now_ms = starts_ms[start];

			cr_expect_eq(burst(limits, now_ms, 2 * rows[i].rate), rows[i].rate);
			now_ms += rows[i].pause_ms;
			cr_expect_eq(burst(limits, now_ms, 2 * rows[i].rate), rows[i].entered,
				     "%u/s after %d ms, from %d", rows[i].rate,
				     (int)rows[i].pause_ms, (int)start);
			client_limits_destroy(limits);
		}
	}
}

/* Nothing is rounded: over a long time the rate is exact, and refusals take no tokens. */
Test(client_limits, rate_over_a_long_time)
{
	static const uint32_t rates[] = {1, 3, 7, 30, 333};

	for (size_t i = 0; i < ARRAY_COUNT(rates); i++) {
		struct client_limits *limits = fixture_limits(0, rates[i], 10);
		unsigned entered = 0;

		for (uint64_t now_ms = 5000; now_ms < 1005000; now_ms++)
			entered += burst(limits, now_ms, 2);
		/* what the bucket held at the start, and 999.999 s */
		cr_expect_eq(entered, rates[i] + (999999ULL * rates[i]) / 1000, "%u: %u", rates[i],
			     entered);
		client_limits_destroy(limits);
	}
}

Test(client_limits, a_clock_that_lags_gains_nothing)
{
	struct client_limits *limits = fixture_limits(0, 10, 10);

	cr_expect_eq(burst(limits, 100000, 20), 10);
	for (uint64_t lag_ms = 1; lag_ms <= 9000; lag_ms *= 3)
		cr_expect_eq(burst(limits, 100000 - lag_ms, 20), 0);
	cr_expect_eq(burst(limits, 100100, 20), 1);
	client_limits_destroy(limits);
}

/* The kept time wraps around, for this rate every 203 days. */
Test(client_limits, time_wraps_around)
{
	const uint64_t wrap_ms = (1ULL << 44) / 1000;
	struct client_limits *limits = fixture_limits(0, 1000, 10);

	cr_expect_eq(burst(limits, wrap_ms - 200, 2000), 1000);
	cr_expect_eq(burst(limits, wrap_ms + 200, 2000), 400);
	cr_expect_eq(burst(limits, wrap_ms + wrap_ms / 3, 2000), 1000);
	cr_expect_eq(burst(limits, 3 * wrap_ms, 2000), 1000);
	client_limits_destroy(limits);
}

Test(client_limits, refusals_for_number_take_no_token)
{
	struct client_limits *limits = fixture_limits(1, 2, 10);
	client_ticket first, other;

	cr_assert_eq(fixture_enter(limits, 1, 0, &first), CLIENT_OK);
	for (unsigned i = 0; i < 100; i++)
		cr_expect_eq(fixture_enter(limits, 1, 0, &other), CLIENT_TOO_MANY);
	client_limits_leave(limits, first);
	cr_assert_eq(fixture_enter(limits, 1, 0, &first), CLIENT_OK);
	client_limits_leave(limits, first);
	for (unsigned i = 0; i < 100; i++)
		cr_expect_eq(fixture_enter(limits, 1, 0, &other), CLIENT_TOO_FAST);
	cr_expect_eq(fixture_live(limits, 1), 0);
	client_limits_destroy(limits);
}

/* Against a naive model ------------------------------------------------------------------------ */

#define MODEL_CLIENTS 40
#define MODEL_MAXCONN 6
#define MODEL_RATE    5

struct model_client {
	uint32_t live;
	client_ticket tickets[MODEL_MAXCONN];
	uint64_t tokens; /* thousandths */
	uint64_t at_ms;
};

static enum client_verdict model_enter(struct model_client *client, uint64_t now_ms)
{
	client->tokens =
		MIN(MODEL_RATE * 1000, client->tokens + (now_ms - client->at_ms) * MODEL_RATE);
	client->at_ms = now_ms;
	if (client->live == MODEL_MAXCONN)
		return CLIENT_TOO_MANY;
	if (client->tokens < 1000)
		return CLIENT_TOO_FAST;
	client->tokens -= 1000;
	return CLIENT_OK;
}

Test(client_limits, as_the_model)
{
	struct client_limits *limits = fixture_limits(MODEL_MAXCONN, MODEL_RATE, 200);
	struct model_client clients[MODEL_CLIENTS] = {{0}};
	unsigned verdicts[3] = {0};
	uint64_t state = 1, now_ms = 0;

	for (unsigned i = 0; i < MODEL_CLIENTS; i++)
		clients[i].tokens = MODEL_RATE * 1000;
	for (unsigned i = 0; i < 300000; i++) {
		unsigned number = (unsigned)(support_random(&state) % MODEL_CLIENTS);
		struct model_client *client = &clients[number];
		client_ticket ticket;

		/* now so fast that `rate` refuses, now so slow that `maxconn` does */
		now_ms += support_random(&state) % (i / 5000 % 2 ? 20 : 4);
		if (support_random(&state) % 100 < 35) {
			if (client->live)
				client_limits_leave(limits, client->tickets[--client->live]);
		} else {
			enum client_verdict expected = model_enter(client, now_ms);

			cr_assert_eq(fixture_enter(limits, number, now_ms, &ticket), expected,
				     "step %u", i);
			verdicts[expected]++;
			if (expected == CLIENT_OK)
				client->tickets[client->live++] = ticket;
		}
		cr_assert_eq(fixture_live(limits, number), client->live);
	}
	for (unsigned i = 0; i < ARRAY_COUNT(verdicts); i++)
		cr_expect_gt(verdicts[i], 10000, "%zu: %u", i, verdicts[i]);
	client_limits_destroy(limits);
}

/* Floods --------------------------------------------------------------------------------------- */

Test(client_limits, all_clients_it_is_made_for_have_room)
{
	static const uint32_t counts[] = {1, 2, 7, 16, 64, 100, 1024, 5000, 65536, 262144};

	for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
		uint32_t count = counts[i];
		struct client_limits *limits = fixture_limits(2, 0, count);
		client_ticket *tickets = calloc(count, sizeof(*tickets));
		client_ticket flood;

		for (uint32_t j = 0; j < count; j++) {
			cr_assert_eq(fixture_enter(limits, j, 0, &tickets[j]), CLIENT_OK);
			cr_assert_neq(tickets[j], CLIENT_UNCOUNTED, "%u of %u", j, count);
		}
		cr_expect_eq(client_limits_uncounted(limits), 0);
		/*
		 * ten times as many: some are counted, the rest admitted uncounted; no live client
		 * is forgotten
		 */
		for (uint32_t j = 0; j < 10 * count + 20; j++)
			cr_assert_eq(fixture_enter(limits, count + j, 0, &flood), CLIENT_OK);
		cr_expect_gt(client_limits_uncounted(limits), 0);
		for (uint32_t j = 0; j < count; j++)
			cr_assert_eq(fixture_live(limits, j), 1);
		for (uint32_t j = 0; j < count; j++) {
			client_limits_leave(limits, tickets[j]);
			cr_assert_eq(fixture_live(limits, j), 0);
		}
		free(tickets);
		client_limits_destroy(limits);
	}
}

/* Connections that have ended take no entry from other clients. */
Test(client_limits, a_flood_that_passes)
{
	struct client_limits *limits = fixture_limits(4, 2, 100);
	client_ticket held[50], ticket;

	for (unsigned i = 0; i < 50; i++)
		cr_assert_eq(fixture_enter(limits, i, 0, &held[i]), CLIENT_OK);
	for (unsigned i = 0; i < 100000; i++) {
		cr_assert_eq(fixture_enter(limits, 1000 + i, i / 100, &ticket), CLIENT_OK);
		cr_assert_neq(ticket, CLIENT_UNCOUNTED);
		client_limits_leave(limits, ticket);
	}
	for (unsigned i = 0; i < 50; i++)
		cr_expect_eq(fixture_live(limits, i), 1);
	/* a live client keeps its tokens: one of two was left, at the end there are two again */
	for (unsigned i = 0; i < 2; i++)
		cr_expect_eq(fixture_enter(limits, 7, 1000, &ticket), CLIENT_OK);
	cr_expect_eq(fixture_enter(limits, 7, 1000, &ticket), CLIENT_TOO_FAST);
	client_limits_destroy(limits);
}

/* Of the clients that are not live, those whose rate has recovered are forgotten first. */
Test(client_limits, who_is_forgotten_first)
{
	struct client_limits *limits = fixture_limits(0, 1, 8); /* 16 entries */
	client_ticket ticket;

	for (unsigned i = 0; i < 16; i++) {
		cr_assert_eq(fixture_enter(limits, i, 0, &ticket), CLIENT_OK);
		client_limits_leave(limits, ticket);
	}
	for (unsigned i = 0; i < 6; i++) {
		cr_assert_eq(fixture_enter(limits, i, 10000, &ticket), CLIENT_OK);
		client_limits_leave(limits, ticket);
	}
	for (unsigned i = 100; i < 110; i++) {
		cr_assert_eq(fixture_enter(limits, i, 10000, &ticket), CLIENT_OK);
		client_limits_leave(limits, ticket);
	}
	for (unsigned i = 0; i < 6; i++)
		cr_expect_eq(fixture_enter(limits, i, 10000, &ticket), CLIENT_TOO_FAST, "%u", i);
	client_limits_destroy(limits);
}

/* Misuse --------------------------------------------------------------------------------------- */

static void leave_first(void *limits)
{
	client_limits_leave(limits, 0);
}

Test(client_limits, leaving_what_was_not_entered_aborts)
{
	struct client_limits *limits = fixture_limits(1, 0, 1);

	cr_expect(support_aborts(leave_first, limits));
	client_limits_destroy(limits);
}

/* A connection that another process has admitted: no limit refuses it, and no token is taken. */
Test(client_limits, admitted_connections_count_whatever_the_limits_say)
{
	struct client_limits *limits = fixture_limits(2, 1, 4);
	client_ticket tickets[5], late;
	struct in6_addr client = address_of("2001:db8::1");

	for (unsigned i = 0; i < ARRAY_COUNT(tickets); i++)
		client_limits_resume(limits, &client, 0, &tickets[i]);
	cr_expect_eq(client_limits_live(limits, &client), 5);
	cr_expect_eq(client_limits_enter(limits, &client, 0, &late), CLIENT_TOO_MANY);
	for (unsigned i = 1; i < ARRAY_COUNT(tickets); i++)
		client_limits_leave(limits, tickets[i]);
	cr_expect_eq(client_limits_enter(limits, &client, 0, &late), CLIENT_OK);
	cr_expect_eq(client_limits_live(limits, &client), 2);
	client_limits_leave(limits, late);
	client_limits_leave(limits, tickets[0]);
	cr_expect_eq(client_limits_live(limits, &client), 0);
	client_limits_destroy(limits);
}
