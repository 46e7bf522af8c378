/* SPDX-License-Identifier: MIT */
#include "control/resolver.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "os/sock.h"
#include "os/timer.h"
#include "resolver_fixture.h"
#include "support.h"

TestSuite(resolver, .fini = support_check_leaks);

/* Answers ------------------------------------------------------------------------------------- */

Test(resolver, first_answer)
{
	struct dns_message answer;

	fixture_open((struct resolver_options){0});
	cr_expect_eq(fixture.name.state, RESOLVER_PENDING);
	cr_expect_eq(fixture.name.addresses.count, 0);
	fixture_await_query();
	cr_expect_eq(dns_peer_asked_type(&fixture.peer), DNS_A);
	dns_begin(&answer, &fixture.peer, DNS_OK);
	dns_put_a(&answer, 30, V4(192, 0, 2, 9));
	dns_put_a(&answer, 30, V4(10, 0, 0, 2));
	dns_put_a(&answer, 30, V4(192, 0, 2, 9));
	dns_put_a(&answer, 30, V4(0, 0, 0, 0));
	dns_put_a(&answer, 30, V4(224, 0, 0, 1));
	dns_put_a(&answer, 30, V4(255, 255, 255, 255));
	dns_send(&fixture.peer, &answer);
	fixture_await_calls(1);
	cr_expect_eq(fixture.told.state, RESOLVER_RESOLVED);
	cr_expect_null(fixture.told.error);
	fixture_expect_addresses("10.0.0.2 192.0.2.9");
	cr_expect_eq(fixture.told.addresses.dropped_count, 0);
	cr_expect_eq(fixture.name.wait_ms, 30000);
	fixture_close();
}

Test(resolver, ttl)
{
	static const struct {
		uint32_t ttls_s[2];
		uint32_t cname_ttls_s[2]; /* 0: no such CNAME */
		uint64_t min_ms, max_ms, wait_ms;
	} rows[] = {
		{{60, 60}, {0}, 1000, 300000, 60000},
		{{60, 20}, {0}, 1000, 300000, 20000},
		{{60, 60}, {30}, 1000, 300000, 30000},
		{{60, 60}, {90, 7}, 1000, 300000, 7000},
		{{60, 60}, {90, 100}, 1000, 300000, 60000},
		{{0, 60}, {0}, 1000, 300000, 1000},
		{{900, 900}, {0}, 1000, 300000, 300000},
		{{0x7fffffff, 0x7fffffff}, {0}, 1000, UINT64_MAX, 2147483647000},
		{{0x80000000, 60}, {0}, 5000, 300000, 5000},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct dns_message answer;

		fixture_open((struct resolver_options){.min_ttl_ms = rows[i].min_ms,
						       .max_ttl_ms = rows[i].max_ms});
		fixture_await_query();
		dns_begin(&answer, &fixture.peer, DNS_OK);
		for (unsigned j = 0; j < 2 && rows[i].cname_ttls_s[j]; j++)
			dns_put_cname(&answer, rows[i].cname_ttls_s[j]);
		dns_put_a(&answer, rows[i].ttls_s[0], V4(10, 0, 0, 1));
		if (!rows[i].cname_ttls_s[0])
			dns_put_a(&answer, rows[i].ttls_s[1], V4(10, 0, 0, 2));
		dns_send(&fixture.peer, &answer);
		fixture_await_state(RESOLVER_RESOLVED);
		cr_expect_eq(fixture.name.wait_ms, rows[i].wait_ms, "row %zu: %zu", i,
			     (size_t)fixture.name.wait_ms);
		fixture_close();
	}
}

/* Asked again when the TTL ends, never before; told of once as long as the answer is the same. */
Test(resolver, asked_again_after_its_ttl)
{
	uint64_t answered_ms;

	fixture_open((struct resolver_options){.min_ttl_ms = 20});
	fixture_serve(0, V4(10, 0, 0, 1), 2);
	fixture_await_calls(1);
	for (unsigned i = 0; i < 3; i++) {
		answered_ms = timer_now_ms();
		fixture_serve(0, V4(10, 0, 0, 1), 2);
		cr_expect_geq(timer_now_ms() - answered_ms, i ? 20 : 0);
	}
	cr_expect_eq(fixture.told.calls, 1);
	fixture_serve(0, V4(10, 0, 0, 1), 3);
	fixture_await_calls(2);
	fixture_expect_addresses("10.0.0.1 10.0.0.2 10.0.0.3");
	fixture_serve(0, V4(10, 0, 0, 3), 1);
	fixture_await_calls(3);
	fixture_expect_addresses("10.0.0.3");
	cr_expect_eq(fixture.peer.query_count, 6);
	fixture_close();
}

/* Answers the A question with `v4_code` and the AAAA question with `v6_code`, whichever is first. */
static void serve_both(enum dns_code v4_code, enum dns_code v6_code)
{
	for (unsigned i = 0; i < 2; i++) {
		struct dns_message answer;
		bool v6;

		fixture_await_query();
		v6 = dns_peer_asked_type(&fixture.peer) == DNS_AAAA;
		dns_begin(&answer, &fixture.peer, v6 ? v6_code : v4_code);
		if (v6 && !v6_code) {
			dns_put_aaaa(&answer, 0, "2001:db8::1");
			dns_put_aaaa(&answer, 0, "fe80::1");
			dns_put_aaaa(&answer, 0, "::ffff:10.0.0.9");
		} else if (!v6 && !v4_code) {
			dns_put_a(&answer, 0, V4(192, 0, 2, 1));
		}
		dns_send(&fixture.peer, &answer);
	}
}

/* A family that is not answered keeps what it had; one that has no address any more loses it. */
Test(resolver, both_families)
{
	fixture_open((struct resolver_options){.want_v6 = true, .retry_ms = 1});
	serve_both(DNS_OK, DNS_OK);
	fixture_await_calls(1);
	fixture_expect_addresses("192.0.2.1 2001:db8::1");
	serve_both(DNS_OK, DNS_SERVFAIL);
	serve_both(DNS_REFUSED, DNS_OK);
	serve_both(DNS_OK, DNS_NXDOMAIN);
	fixture_await_calls(2);
	fixture_expect_addresses("192.0.2.1");
	serve_both(DNS_NXDOMAIN, DNS_OK);
	fixture_await_calls(3);
	fixture_expect_addresses("2001:db8::1");
	serve_both(DNS_NXDOMAIN, DNS_SERVFAIL);
	fixture_await_calls(4);
	cr_expect_str_eq(fixture.told.error, "SERVFAIL");
	fixture_expect_addresses("2001:db8::1");
	fixture_close();
}

/* One family is good for an hour: the other, which was not answered, is asked for again soon all the same. */
Test(resolver, a_family_that_failed_is_asked_for_again)
{
	fixture_open((struct resolver_options){
		.want_v6 = true, .retry_ms = 20, .min_ttl_ms = 3000, .max_ttl_ms = 3600000});
	serve_both(DNS_SERVFAIL, DNS_OK);
	fixture_await_calls(1);
	fixture_expect_addresses("2001:db8::1");
	cr_expect_eq(fixture.name.wait_ms, 20);
	serve_both(DNS_REFUSED, DNS_OK);
	while (fixture.name.wait_ms == 20)
		fixture_turn(-1);
	cr_expect_eq(fixture.name.wait_ms, 40, "not in haste, where it goes on");
	serve_both(DNS_OK, DNS_OK);
	fixture_await_calls(2);
	fixture_expect_addresses("192.0.2.1 2001:db8::1");
	cr_expect_geq(fixture.name.wait_ms, 3000);
	fixture_close();
}

/* TCP ----------------------------------------------------------------------------------------- */

static void truncate_answer(void)
{
	struct dns_message answer;

	fixture_await_query();
	dns_begin(&answer, &fixture.peer, DNS_OK);
	answer.bytes[2] |= 2;
	dns_send(&fixture.peer, &answer);
}

static int await_connection(void)
{
	int fd;

	while ((fd = sock_accept(fixture.peer.tcp_fd)) == -EAGAIN)
		fixture_turn(fixture.peer.tcp_fd);
	cr_assert_geq(fd, 0);
	return fd;
}

/* Answers the next query by TCP, with `count` addresses from 10.0.0.0 on. */
static void serve_by_tcp(unsigned count)
{
	struct dns_message answer;
	uint8_t head[2];
	ssize_t got;
	int fd;

	truncate_answer();
	fd = await_connection();
	while ((got = recv(fd, head, sizeof(head), MSG_DONTWAIT)) < 0)
		fixture_turn(fd);
	cr_assert_eq(got, sizeof(head));
	got = recv(fd, fixture.peer.query.bytes, sizeof(fixture.peer.query.bytes), 0);
	cr_assert_eq(got, head[0] << 8 | head[1]);
	fixture.peer.query.length = (size_t)got;
	dns_begin(&answer, &fixture.peer, DNS_OK);
	for (unsigned i = 0; i < count; i++)
		dns_put_a(&answer, 60, V4(10, 0, 0, 0) + i);
	head[0] = (uint8_t)(answer.length >> 8);
	head[1] = (uint8_t)answer.length;
	support_send(fd, head, sizeof(head));
	support_send(fd, answer.bytes, answer.length);
	fixture_await_calls(1);
	close(fd);
}

Test(resolver, a_truncated_answer_is_asked_for_by_tcp)
{
	fixture_open((struct resolver_options){0});
	serve_by_tcp(50);
	cr_expect_eq(fixture.told.addresses.count, 50);
	cr_expect_eq(fixture.told.addresses.dropped_count, 0);
	fixture_close();
}

Test(resolver, more_addresses_than_are_kept)
{
	fixture_open((struct resolver_options){0});
	serve_by_tcp(ADDR_SET_MOST + 36);
	cr_expect_eq(fixture.told.addresses.count, ADDR_SET_MOST);
	cr_expect_eq(fixture.told.addresses.dropped_count, 36);
	cr_expect_eq(ntohl(fixture.told.addresses.list[ADDR_SET_MOST - 1].v4.sin_addr.s_addr),
		     V4(10, 0, 0, ADDR_SET_MOST - 1));
	fixture_close();
}

/* Running ------------------------------------------------------------------------------------- */

static void prepare(struct poll_set *set)
{
	poll_set_begin(set);
	resolver_prepare_poll(fixture.resolver, set);
}

Test(resolver, nothing_to_wait_for)
{
	unsigned before = support_count_descriptors();
	uint64_t begin_ms = timer_now_ms();
	struct poll_set set;

	dns_peer_open(&fixture.peer);
	fixture_create((struct resolver_options){0});
	prepare(&set);
	cr_expect_eq(set.due_ms, POLL_SET_NEVER);
	cr_expect_eq(support_count_descriptors(), before + 2);
	fixture_add("a.example");
	prepare(&set);
	cr_expect_leq(set.due_ms, begin_ms);
	fixture_serve(60, V4(10, 0, 0, 1), 1);
	fixture_await_calls(1);
	prepare(&set);
	cr_expect_eq(set.count, 0);
	cr_expect_geq(set.due_ms, begin_ms + 60000);
	cr_expect(!fixture_turn_for(-1, 0));
	cr_expect_eq(support_count_descriptors(), before + 2);
	fixture_close();
	cr_expect_eq(support_count_descriptors(), before);
}

Test(resolver, destroyed_while_asking)
{
	unsigned before = support_count_descriptors();
	int fd;

	fixture_open((struct resolver_options){.want_v6 = true});
	fixture_await_query();
	fixture_close();
	cr_expect_eq(fixture.told.calls, 0);

	fixture_open((struct resolver_options){0});
	truncate_answer();
	fd = await_connection();
	fixture_close();
	close(fd);
	cr_expect_eq(fixture.told.calls, 0);
	cr_expect_eq(support_count_descriptors(), before);
}

static void ignore_change(struct resolver_name *name)
{
	(void)name;
}

/* A crowd of names does not become a burst of questions. */
Test(resolver, questions_at_a_time_are_bounded)
{
	static struct resolver_name names[RESOLVER_ASKED_MOST + 20];
	static char texts[ARRAY_COUNT(names)][32];

	fixture_open((struct resolver_options){0});
	for (unsigned i = 1; i < ARRAY_COUNT(names); i++) {
		snprintf(texts[i], sizeof(texts[i]), "n%u.example", i);
		names[i] = (struct resolver_name){.text = texts[i], .on_change = ignore_change};
		resolver_add(fixture.resolver, &names[i]);
	}
	while (fixture.peer.query_count < RESOLVER_ASKED_MOST)
		fixture_await_query();
	while (fixture_turn_for(fixture.peer.udp_fd, 0))
		cr_assert(!dns_peer_take(&fixture.peer), "one too many");
	for (unsigned i = 0; i < 20; i++) {
		struct dns_message answer;

		dns_begin(&answer, &fixture.peer, DNS_NXDOMAIN);
		dns_send(&fixture.peer, &answer);
		fixture_await_query();
	}
	cr_expect_eq(fixture.peer.query_count, RESOLVER_ASKED_MOST + 20);
	fixture_close();
}

/* A name of /etc/hosts is known without a question, and has a TTL of our own. */
Test(resolver, hosts)
{
	if (system("grep -Eqs '^127\\.0\\.0\\.1[[:space:]].*localhost' /etc/hosts"))
		cr_skip_test("/etc/hosts does not have 127.0.0.1 localhost");
	dns_peer_open(&fixture.peer);
	fixture_create((struct resolver_options){0});
	fixture_add("localhost");
	cr_expect_eq(fixture.name.state, RESOLVER_PENDING);
	fixture_await_calls(1);
	fixture_expect_addresses("127.0.0.1");
	cr_expect_eq(fixture.name.wait_ms, 10000);
	cr_expect(!dns_peer_take(&fixture.peer));
	fixture_close();
}

Test(resolver, what_is_refused)
{
	struct resolver_options options = {
		.lookup.servers = "127.0.0.1,nonsense",
		.min_ttl_ms = 1,
		.max_ttl_ms = 1,
		.retry_ms = 1,
	};
	struct fault fault = {0};

	cr_expect_eq(resolver_create(&fixture.resolver, &options, &fault), -EINVAL);
	cr_expect_not_null(strstr(support_text(&fault), "'nonsense': is not an address"), "%s",
			   support_text(&fault));
	options.lookup.servers = NULL;
	cr_assert_eq(resolver_create(&fixture.resolver, &options, &fault), 0, "%s",
		     support_text(&fault));
	resolver_destroy(fixture.resolver);
}
