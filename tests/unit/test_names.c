/* SPDX-License-Identifier: MIT */
#include "control/names.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "carry_fixture.h"
#include "dns_peer.h"
#include "os/timer.h"
#include "support.h"

TestSuite(names, .fini = support_check_leaks);

#define TEXT_BYTES 512

static struct dns_peer peer;
static struct config config;
static struct forwards *forwards;
static struct names *names;

static void set(const char *name, const char *value)
{
	support_must_set(&config, name, value);
}

static void begin(void)
{
	dns_peer_open(&peer);
	config_init(&config);
	set("dns-server", peer.server);
	set("dns-min-ttl", "1ms");
}

static void make(void)
{
	struct config_errors errors = {0};
	struct fault fault;

	cr_assert_eq(config_check(&config), 0);
	cr_assert_eq(forwards_create(&forwards, &config, &errors), 0);
	cr_assert_eq(forwards_make_upstreams(forwards), 0);
	cr_assert_eq(names_create(&names, forwards, &fault), 0, "%s", fault.reason);
}

static void finish(void)
{
	if (names)
		names_destroy(names);
	forwards_destroy(forwards);
	config_finish(&config);
	dns_peer_close(&peer);
}

/* One pass of the control loop, which a question to the peer ends too. */
static void pass(int limit_ms)
{
	struct poll_set set;

	poll_set_begin(&set);
	poll_set_add(&set, peer.udp_fd, POLLIN);
	names_prepare_poll(names, &set);
	support_wait(&set, limit_ms);
	names_run(names, &set);
}

static void await_query(void)
{
	uint64_t end_ms = timer_now_ms() + SUPPORT_PATIENCE_MS;

	while (!dns_peer_take(&peer)) {
		cr_assert_lt(timer_now_ms(), end_ms, "no question");
		pass(100);
	}
}

/* Answers the next question with `count` addresses, from 127.0.0.`first` on; 0: there is no such name. */
static void serve(unsigned first, unsigned count, uint32_t ttl_s)
{
	struct dns_message answer;
	uint64_t before = forwards_metric(forwards, METRIC_name_changes) +
			  forwards_metric(forwards, METRIC_name_failures);
	uint64_t end_ms = timer_now_ms() + SUPPORT_PATIENCE_MS;

	await_query();
	dns_begin(&answer, &peer, count ? DNS_OK : DNS_NXDOMAIN);
	for (unsigned i = 0; i < count; i++)
		dns_put_a(&answer, ttl_s, 0x7f000000 + first + i);
	dns_send(&peer, &answer);
	while (forwards_metric(forwards, METRIC_name_changes) +
		       forwards_metric(forwards, METRIC_name_failures) ==
	       before) {
		cr_assert_lt(timer_now_ms(), end_ms, "no change");
		pass(100);
	}
}

/* The members of a forward as "BACKEND=ADDRESS ...", by slot. */
static void expect_members(unsigned forward, const char *expected)
{
	const struct pool *pool = upstream_pool(forwards->list[forward].upstream);
	char text[TEXT_BYTES] = "", address[ADDR_TEXT_BYTES];

	for (unsigned i = 0; i < pool_slot_count(pool); i++) {
		struct pool_snapshot member;
		size_t length = strlen(text);

		pool_snapshot(pool, i, timer_now_ms(), &member);
		if (member.state != POOL_EMPTY)
			snprintf(text + length, sizeof(text) - length, "%s%u=%s", length ? " " : "",
				 member.group, addr_print(&member.address, address));
	}
	cr_expect_str_eq(text, expected);
}

static unsigned member_count(void)
{
	const struct pool *pool = upstream_pool(forwards->list[0].upstream);
	struct pool_snapshot member;
	unsigned count = 0;

	for (unsigned i = 0; i < pool_slot_count(pool); i++) {
		pool_snapshot(pool, i, timer_now_ms(), &member);
		count += member.state != POOL_EMPTY;
	}
	return count;
}

/* Every backend that has the name gets its addresses, with the backend's own port; the name is asked for once. */
Test(names, one_name_of_several_backends)
{
	begin();
	set("listen", "[::1]:2000");
	set("backend", "a.example:80");
	set("listen", "[::1]:2001");
	set("backend", "192.0.2.9:9");
	set("backend", "A.EXAMPLE:81");
	set("backend", "a.example:82");
	make();
	expect_members(1, "0=192.0.2.9:9");
	serve(2, 2, 3600);
	expect_members(0, "0=127.0.0.2:80 0=127.0.0.3:80");
	expect_members(1, "0=192.0.2.9:9 2=127.0.0.2:82 2=127.0.0.3:82 1=127.0.0.2:81 "
			  "1=127.0.0.3:81");
	cr_expect_eq(peer.query_count, 1);
	finish();
}

Test(names, the_listeners_own_address_is_left_out)
{
	begin();
	set("listen", "127.0.0.3:80");
	set("backend", "a.example:80");
	make();
	serve(2, 3, 3600);
	expect_members(0, "0=127.0.0.2:80 0=127.0.0.4:80");
	finish();
}

Test(names, a_new_answer_replaces_and_a_failure_keeps)
{
	begin();
	set("listen", "[::1]:2000");
	set("backend", "a.example:80");
	make();
	serve(2, 2, 0);
	cr_expect_eq(forwards_metric(forwards, METRIC_names_resolved), 1);
	serve(3, 2, 0);
	expect_members(0, "0=127.0.0.3:80 0=127.0.0.4:80");
	serve(0, 0, 0);
	expect_members(0, "0=127.0.0.3:80 0=127.0.0.4:80");
	cr_expect_eq(forwards_metric(forwards, METRIC_names_resolved), 0);
	cr_expect_eq(forwards_metric(forwards, METRIC_names_failing), 1);
	cr_expect_eq(forwards_metric(forwards, METRIC_name_failures), 1);
	finish();
}

/* The pool has 256 slots. An address that finds none gets one when another name gives some back. */
Test(names, more_addresses_than_slots)
{
	uint64_t end_ms = timer_now_ms() + SUPPORT_PATIENCE_MS;
	char name[32];

	begin();
	set("listen", "[::1]:2000");
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "n%u.example:80", i);
		set("backend", name);
	}
	make();
	for (unsigned i = 0; i < 10; i++)
		serve(100, 28, i ? 3600 : 0);
	cr_expect_eq(member_count(), 256);
	serve(100, 1, 3600);
	while (member_count() != 1 + 9 * 28) {
		cr_assert_lt(timer_now_ms(), end_ms, "%u members", member_count());
		pass(100);
	}
	finish();
}

struct start_row {
	const char *resolve_at_start;
	int result;
	unsigned errors;
};

/* Nobody answers within --resolve-timeout. */
Test(names, the_start_without_an_answer)
{
	static const struct start_row rows[] = {{"try", 0, 0}, {"require", -ENOENT, 2}};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct config_errors errors = {0};

		begin();
		set("resolve-timeout", "30ms");
		set("resolve-at-start", rows[i].resolve_at_start);
		set("listen", "[::1]:2000");
		set("backend", "a.example:80");
		set("backend", "b.example:80");
		make();
		cr_expect_eq(names_wait(names, &errors), rows[i].result, "row %zu", i);
		cr_expect_eq(errors.count, rows[i].errors, "row %zu", i);
		config_errors_finish(&errors);
		finish();
	}
}

Test(names, no_backend_has_a_name)
{
	begin();
	set("listen", "[::1]:2000");
	set("backend", "192.0.2.9:9");
	make();
	cr_expect_null(names);
	finish();
}

/* The last good answers of a process in which the names a and b have addresses, and c has none. */
static struct names_answers take_answers(void)
{
	struct names_answers answers = {0};
	enum carrier_kind kind;
	struct carry carry;

	begin();
	set("listen", "[::1]:2000");
	set("backend", "a.example:80");
	set("backend", "b.example:80");
	set("backend", "c.example:80");
	make();
	serve(2, 2, 3600);
	serve(4, 1, 3600);
	serve(0, 0, 0);
	fixture_carry_open(&carry);
	names_write(names, carry.out);
	names_write(NULL, carry.out);
	fixture_carry_flush(&carry);
	while (fixture_carry_next(&carry, &kind))
		cr_expect_eq(names_read(&answers, carry.in), 0);
	cr_expect_eq(answers.count, 2);
	fixture_carry_close(&carry);
	finish();
	return answers;
}

/* DNS is silent: the backends have their last good addresses, and only the new name is missed. */
Test(names, a_process_that_takes_over_has_the_last_answers)
{
	static const struct start_row rows[] = {{"try", 0, 0}, {"require", -ENOENT, 1}};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct names_answers answers = take_answers();
		struct config_errors errors = {0};

		begin();
		set("resolve-timeout", "30ms");
		set("resolve-at-start", rows[i].resolve_at_start);
		set("listen", "[::1]:2000");
		set("backend", "B.example:81");
		set("backend", "c.example:80");
		set("backend", "a.example:80");
		make();
		names_use(names, &answers);
		names_use(NULL, &answers);
		names_answers_finish(&answers);
		expect_members(0, "0=127.0.0.4:81 2=127.0.0.2:80 2=127.0.0.3:80");
		cr_expect_eq(forwards_metric(forwards, METRIC_names_resolved), 2);
		cr_expect_eq(names_wait(names, &errors), rows[i].result, "row %zu", i);
		cr_expect_eq(errors.count, rows[i].errors, "row %zu", i);
		expect_members(0, "0=127.0.0.4:81 2=127.0.0.2:80 2=127.0.0.3:80");
		config_errors_finish(&errors);
		finish();
	}
}

/* With all addresses known, the start does not wait; then the names are asked for. */
Test(names, known_addresses_are_asked_for_later)
{
	struct names_answers answers = take_answers();
	struct config_errors errors = {0};

	begin();
	set("resolve-timeout", "1h");
	set("resolve-at-start", "require");
	set("listen", "[::1]:2000");
	set("backend", "a.example:80");
	make();
	names_use(names, &answers);
	names_answers_finish(&answers);
	cr_expect_eq(names_wait(names, &errors), 0);
	serve(7, 1, 3600);
	expect_members(0, "0=127.0.0.7:80");
	finish();
}
