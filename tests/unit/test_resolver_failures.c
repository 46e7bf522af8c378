/* SPDX-License-Identifier: MIT */
/* resolver.h: answers that are none, or not the right ones. test_resolver.c has the rest. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "base/util.h"
#include "os/timer.h"
#include "resolver_fixture.h"
#include "support.h"

TestSuite(resolver_failures, .fini = support_check_leaks);

Test(resolver_failures, failures)
{
	static const struct {
		enum dns_code code;
		const char *error;
	} rows[] = {
		{DNS_OK, "no address"},	  {DNS_NXDOMAIN, "NXDOMAIN"}, {DNS_SERVFAIL, "SERVFAIL"},
		{DNS_REFUSED, "REFUSED"}, {DNS_FORMERR, "FORMERR"},   {DNS_NOTIMP, "NOTIMP"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		fixture_open((struct resolver_options){.retry_ms = 1});
		fixture_serve_code(rows[i].code);
		fixture_await_calls(1);
		cr_expect_eq(fixture.told.state, RESOLVER_FAILING);
		cr_expect_str_eq(fixture.told.error, rows[i].error, "row %zu: %s", i,
				 fixture.told.error);
		cr_expect_eq(fixture.told.addresses.count, 0);
		fixture_serve(0, V4(10, 0, 0, 1), 2);
		fixture_await_calls(2);
		cr_expect_eq(fixture.told.state, RESOLVER_RESOLVED);
		fixture_serve_code(rows[i].code);
		fixture_await_calls(3);
		cr_expect_eq(fixture.told.state, RESOLVER_FAILING);
		fixture_expect_addresses("10.0.0.1 10.0.0.2");
		/* failing on is not told of, nor that it fails otherwise */
		fixture_serve_code(rows[i].code);
		fixture_serve_code(DNS_SERVFAIL);
		fixture_serve(0, V4(10, 0, 0, 1), 2);
		fixture_await_calls(4);
		cr_expect_eq(fixture.told.state, RESOLVER_RESOLVED);
		cr_expect_null(fixture.told.error);
		fixture_close();
	}
}

/* The right id and question, and a record that ends before its own length. */
Test(resolver_failures, a_malformed_answer)
{
	struct dns_message answer;

	fixture_open((struct resolver_options){0});
	fixture_await_query();
	dns_begin(&answer, &fixture.peer, DNS_OK);
	dns_put_a(&answer, 60, V4(10, 0, 0, 1));
	answer.length -= 2;
	dns_send(&fixture.peer, &answer);
	fixture_await_calls(1);
	cr_expect_str_eq(fixture.told.error, "malformed answer");
	fixture_close();
}

Test(resolver_failures, a_silent_server)
{
	fixture_open((struct resolver_options){
		.lookup.timeout_ms = 5, .lookup.tries = 2, .retry_ms = 1});
	fixture_await_calls(1);
	cr_expect_str_eq(fixture.told.error, "timed out");
	cr_expect_eq(fixture.told.state, RESOLVER_FAILING);
	while (dns_peer_take(&fixture.peer))
		;
	cr_expect_eq(fixture.peer.query_count, 2);
	fixture_serve(60, V4(10, 0, 0, 1), 1);
	fixture_await_calls(2);
	fixture_expect_addresses("10.0.0.1");
	fixture_close();
}

/* Answers the query that comes next, or the one after that, if that is the family's. */
static void await_both(struct dns_message answers[2])
{
	for (unsigned i = 0; i < 2; i++) {
		enum dns_type type;

		fixture_await_query();
		type = dns_peer_asked_type(&fixture.peer);
		dns_begin(&answers[type == DNS_AAAA], &fixture.peer, DNS_OK);
	}
	dns_put_a(&answers[0], 0, V4(10, 0, 0, 1));
	dns_put_aaaa(&answers[1], 0, "2001:db8::1");
}

/* What one family has is used without the other, whose answer is taken when it comes, or kept when it does not. */
Test(resolver_failures, one_family_does_not_wait_for_the_other)
{
	for (unsigned silent = 0; silent < 2; silent++) {
		struct dns_message answers[2];

		fixture_open((struct resolver_options){
			.want_v6 = true, .lookup = {.timeout_ms = 60000, .tries = 1}});
		await_both(answers);
		dns_send(&fixture.peer, &answers[!silent]);
		fixture_await_calls(1);
		cr_expect_eq(fixture.told.state, RESOLVER_RESOLVED);
		fixture_expect_addresses(silent ? "10.0.0.1" : "2001:db8::1");
		dns_send(&fixture.peer, &answers[silent]);
		fixture_await_calls(2);
		fixture_expect_addresses("10.0.0.1 2001:db8::1");
		/* asked for again, and one is silent: what it had is kept, and nothing is told */
		await_both(answers);
		dns_put_a(&answers[0], 0, V4(10, 0, 0, 2));
		dns_put_aaaa(&answers[1], 0, "2001:db8::2");
		dns_send(&fixture.peer, &answers[!silent]);
		fixture_await_calls(3);
		fixture_expect_addresses(silent ? "10.0.0.1 10.0.0.2 2001:db8::1"
						: "10.0.0.1 2001:db8::1 2001:db8::2");
		fixture_close();
	}
}

/* Answers that come within the delay are one change. */
Test(resolver_failures, both_families_at_once_are_told_of_once)
{
	struct dns_message answers[2];

	fixture_open((struct resolver_options){.want_v6 = true});
	await_both(answers);
	dns_send(&fixture.peer, &answers[0]);
	dns_send(&fixture.peer, &answers[1]);
	fixture_await_calls(1);
	fixture_expect_addresses("10.0.0.1 2001:db8::1");
	fixture_close();
}

Test(resolver_failures, no_server)
{
	fixture_open((struct resolver_options){.lookup.timeout_ms = 50});
	close(fixture.peer.udp_fd);
	fixture_await_calls(1);
	cr_expect_str_eq(fixture.told.error, "no server has an answer");
	resolver_destroy(fixture.resolver);
	close(fixture.peer.tcp_fd);
}

/* Each server that has no answer passes the question on to the next. */
Test(resolver_failures, several_servers)
{
	struct dns_peer second;
	char servers[64];

	dns_peer_open(&second);
	dns_peer_open(&fixture.peer);
	snprintf(servers, sizeof(servers), "%s,%s", fixture.peer.server, second.server);
	fixture_create((struct resolver_options){
		.lookup.servers = servers, .lookup.tries = 1, .retry_ms = 1});
	fixture_add("a.example");
	for (unsigned i = 1; i <= 2; i++) {
		struct dns_message answer;

		fixture_serve_code(i == 1 ? DNS_SERVFAIL : DNS_REFUSED);
		while (!dns_peer_take(&second))
			fixture_turn(second.udp_fd);
		dns_begin(&answer, &second, i == 1 ? DNS_OK : DNS_SERVFAIL);
		if (i == 1)
			dns_put_a(&answer, 0, V4(10, 0, 0, 1));
		dns_send(&second, &answer);
		fixture_await_calls(i);
		cr_expect_eq(fixture.told.state, i == 1 ? RESOLVER_RESOLVED : RESOLVER_FAILING);
	}
	cr_expect_str_eq(fixture.told.error, "no server has an answer");
	fixture_expect_addresses("10.0.0.1");
	dns_peer_close(&second);
	fixture_close();
}

Test(resolver_failures, failures_are_further_and_further_apart)
{
	static const uint64_t waits_ms[] = {2, 4, 8, 16, 20, 20};

	uint64_t answered_ms = 0;

	fixture_open((struct resolver_options){.retry_ms = 2, .max_ttl_ms = 20});
	for (size_t i = 0; i < ARRAY_COUNT(waits_ms); i++) {
		uint64_t before_ms = fixture.name.wait_ms;

		fixture_serve_code(DNS_NXDOMAIN);
		if (i)
			cr_expect_geq(timer_now_ms() - answered_ms, waits_ms[i - 1]);
		answered_ms = timer_now_ms();
		/* the last two waits are the same */
		while (fixture.name.wait_ms == before_ms && i + 1 < ARRAY_COUNT(waits_ms))
			fixture_turn(-1);
		cr_expect_eq(fixture.name.wait_ms, waits_ms[i], "failure %zu: %zu ms", i,
			     (size_t)fixture.name.wait_ms);
	}
	fixture_serve(0, V4(10, 0, 0, 1), 1);
	fixture_await_calls(2);
	fixture_serve_code(DNS_NXDOMAIN);
	fixture_await_calls(3);
	cr_expect_eq(fixture.name.wait_ms, 2, "a good answer did not end the series");
	fixture_close();
}

/* However good answers may be for, a failure is not left alone for longer than a minute. */
Test(resolver_failures, a_failure_is_asked_about_soon)
{
	fixture_open((struct resolver_options){.retry_ms = 50000});
	fixture_serve_code(DNS_NXDOMAIN);
	fixture_await_calls(1);
	cr_expect_eq(fixture.name.wait_ms, 50000);
	fixture_close();
	fixture_open((struct resolver_options){.retry_ms = 100000});
	fixture_serve_code(DNS_NXDOMAIN);
	fixture_await_calls(1);
	cr_expect_eq(fixture.name.wait_ms, 60000);
	fixture_close();
}

/* What a server, or somebody else, may send without anybody having asked. */
Test(resolver_failures, garbage_is_passed_over)
{
	struct dns_message good, other;
	int stranger = socket(AF_INET, SOCK_DGRAM, 0);

	fixture_open((struct resolver_options){0});
	fixture_await_query();
	dns_begin(&good, &fixture.peer, DNS_OK);
	dns_put_a(&good, 60, V4(10, 0, 0, 1));
	other = good;
	other.bytes[0] ^= 1; /* the id */
	dns_send(&fixture.peer, &other);
	other = good;
	other.bytes[13] ^= 1; /* the question's first letter */
	dns_send(&fixture.peer, &other);
	other = good;
	for (other.length = 0; other.length < 12; other.length++)
		dns_send(&fixture.peer, &other);
	dns_begin(&other, &fixture.peer, DNS_OK);
	dns_put_a(&other, 60, V4(10, 6, 6, 6));
	sendto(stranger, other.bytes, other.length, 0, (struct sockaddr *)&fixture.peer.asker,
	       sizeof(fixture.peer.asker));
	for (unsigned i = 0; i < 32 && fixture_turn_for(-1, 0); i++)
		;
	cr_expect_eq(fixture.told.calls, 0, "%s", fixture.told.error);
	dns_send(&fixture.peer, &good);
	fixture_await_calls(1);
	fixture_expect_addresses("10.0.0.1");
	close(stranger);
	fixture_close();
}
