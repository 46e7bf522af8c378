/* SPDX-License-Identifier: MIT */
/* tenancy_write() and tenancy_read(): what a session holds, in a process that takes over. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "base/util.h"
#include "carry_fixture.h"
#include "forward/forward_carry.h"
#include "forward/tenancy.h"
#include "forward_fixture.h"
#include "os/timer.h"
#include "support.h"

TestSuite(tenancy_carry, .fini = support_check_leaks);

static struct fixture_side old, new;
static struct carry carry;
static struct addr client;

static void begin(void)
{
	cr_assert_null(addr_parse("[2001:db8::1]:5", &client));
	fixture_carry_open(&carry);
}

static void end(void)
{
	struct fixture_side *sides[] = {&old, &new};

	fixture_carry_close(&carry);
	for (size_t i = 0; i < ARRAY_COUNT(sides); i++) {
		cr_expect_eq(forwards_metric(sides[i]->forwards, METRIC_source_leases_live), 0);
		fixture_side_finish(sides[i]);
	}
}

/* A session of the old process that has taken every step. */
static void open_session(struct tenancy *tenancy, unsigned forward)
{
	struct pool_tried tried = {0};
	uint64_t now_ms = timer_now_ms();

	cr_assert(tenancy_begin(tenancy, &old.forwards->list[forward]));
	cr_assert_eq(tenancy_enter(tenancy, &client, now_ms), ADMISSION_OK);
	cr_assert_eq(tenancy_choose_source(tenancy, &client, true, now_ms), 0);
	cr_assert_eq(tenancy_choose_backend(tenancy, &tried, &client, now_ms), 0);
	upstream_answered(tenancy->forward->upstream, &tenancy->claim, 0, now_ms);
}

static void write_session(const struct tenancy *tenancy)
{
	carrier_begin(carry.out, CARRIER_SESSION);
	tenancy_write(tenancy, carry.out);
	carrier_put(carry.out, 4711);
	carrier_end(carry.out);
}

/* Writes the state of the old process, and reads all but the sessions in the new process. */
static void take_over(const struct tenancy *tenancies, unsigned count)
{
	forwards_write_leases(old.forwards, carry.out, 0);
	forwards_write(old.forwards, carry.out);
	carrier_begin(carry.out, CARRIER_STATE_END);
	carrier_end(carry.out);
	for (unsigned i = 0; i < count; i++)
		write_session(&tenancies[i]);
	fixture_carry_flush(&carry);
	for (;;) {
		enum carrier_kind kind;

		cr_assert(fixture_carry_next(&carry, &kind));
		if (kind == CARRIER_STATE_END)
			return;
		cr_expect_eq(forwards_read(new.forwards, carry.in, kind), 0);
	}
}

static int take_session(struct tenancy *tenancy)
{
	int result;

	fixture_carry_expect(&carry, CARRIER_SESSION);
	result = tenancy_read(tenancy, new.forwards, &client, carry.in);
	if (!result)
		cr_expect_eq(carrier_take(carry.in), 4711, "the values behind it stay in place");
	return result;
}

static void finish(struct tenancy *tenancies, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		tenancy_end(&tenancies[i], timer_now_ms());
}

static enum pool_state state_of(const struct fixture_side *side, unsigned member)
{
	struct pool_snapshot now;

	pool_snapshot(upstream_pool(side->forwards->list->upstream), member, timer_now_ms(), &now);
	return now.state;
}

/* Three sessions; the new process allows one of each. No count underflows. */
Test(tenancy_carry, lowered_limits_end_no_session)
{
	struct tenancy before[3], after[3], refused;
	const struct admission *admission;

	begin();
	FIXTURE_SIDE(&old, {"maxconn-forward", "5"}, {"per-source-maxconn", "4"},
		     {"source", "loopback"}, {"listen", "[::1]:2000"}, {"backend", "127.0.0.1:1"});
	FIXTURE_SIDE(&new, {"maxconn-forward", "1"}, {"per-source-maxconn", "1"},
		     {"source", "loopback"}, {"listen", "[::1]:3000"},
		     {"backend", "127.0.0.1:2 maxconn=1"}, {"backend", "127.0.0.1:1 maxconn=1"});
	for (unsigned i = 0; i < ARRAY_COUNT(before); i++)
		open_session(&before[i], 0);
	take_over(before, ARRAY_COUNT(before));
	admission = new.forwards->list->admission;
	for (unsigned i = 0; i < ARRAY_COUNT(after); i++) {
		cr_assert_eq(take_session(&after[i]), 0);
		cr_expect_eq(after[i].forward, new.forwards->list);
		cr_expect_eq(after[i].claim.stage, UPSTREAM_CONNECTED);
		cr_expect_eq(after[i].claim.choices, 1);
		cr_expect(after[i].leased);
		cr_expect(addr_equal(&after[i].source, &before[i].source));
		cr_expect_eq(addr_port(tenancy_backend_address(&after[i])), 1);
		cr_expect_eq(tenancy_backend(&after[i]), &new.config.forwards->backends[1]);
	}
	cr_expect_eq(forwards_metric(new.forwards, METRIC_source_leases_live), 1);
	cr_expect_eq(admission_room(admission), 0);
	cr_expect_not(tenancy_begin(&refused, new.forwards->list));
	cr_expect_eq(state_of(&new, 1), POOL_FULL);
	finish(after, 2);
	cr_expect_eq(admission_room(admission), 0);
	finish(after + 2, 1);
	cr_expect_eq(admission_room(admission), 1);
	/* the client's tickets were counted, and are given back */
	cr_assert(tenancy_begin(&refused, new.forwards->list));
	cr_expect_eq(tenancy_enter(&refused, &client, timer_now_ms()), ADMISSION_OK);
	finish(&refused, 1);
	finish(before, ARRAY_COUNT(before));
	end();
}

/* Only an admitted session counts for its client, also if the old process had no such limit. */
Test(tenancy_carry, new_limits_count_admitted_sessions)
{
	static const char *const steps[] = {"accepted", "chosen"};

	for (unsigned i = 0; i < ARRAY_COUNT(steps); i++) {
		struct tenancy before, after, next;
		enum admission_verdict verdict;

		begin();
		FIXTURE_SIDE(&old, {"listen", "[::1]:2000"}, {"backend", "127.0.0.1:1"});
		FIXTURE_SIDE(&new, {"per-source-maxconn", "1"}, {"listen", "[::1]:2000"},
			     {"backend", "127.0.0.1:1"});
		if (i)
			open_session(&before, 0);
		else
			cr_assert(tenancy_begin(&before, old.forwards->list));
		take_over(&before, 1);
		cr_assert_eq(take_session(&after), 0);
		cr_assert(tenancy_begin(&next, new.forwards->list));
		verdict = tenancy_enter(&next, &client, timer_now_ms());
		cr_expect_eq(verdict, i ? ADMISSION_SOURCE_MAXCONN : ADMISSION_OK, "%s", steps[i]);
		finish(&next, 1);
		if (!i) /* the session asks later */
			cr_expect_eq(tenancy_enter(&after, &client, timer_now_ms()), ADMISSION_OK);
		finish(&after, 1);
		finish(&before, 1);
		end();
	}
}

/* Its sessions keep it, and it gets no others. A third process takes it over again. */
Test(tenancy_carry, a_removed_backend_drains)
{
	struct tenancy before[2], after[2], next;
	const struct config_backend *backend;
	struct pool_tried tried = {0};

	begin();
	FIXTURE_SIDE(&old, {"listen", "[::1]:2000"}, {"backend", "127.0.0.1:1 send-proxy=v2"});
	FIXTURE_SIDE(&new, {"listen", "[::1]:2000"}, {"backend", "127.0.0.1:2"});
	for (unsigned i = 0; i < ARRAY_COUNT(before); i++)
		open_session(&before[i], 0);
	take_over(before, ARRAY_COUNT(before));
	for (unsigned i = 0; i < ARRAY_COUNT(after); i++) {
		cr_assert_eq(take_session(&after[i]), 0);
		cr_expect_eq(addr_port(tenancy_backend_address(&after[i])), 1);
		backend = tenancy_backend(&after[i]);
		cr_expect_eq(addr_port(&backend->addr), 1);
		cr_expect_eq(backend->send_proxy, CONFIG_SEND_PROXY_V2);
	}
	cr_expect_eq(state_of(&new, 1), POOL_DRAINING);
	cr_assert(tenancy_begin(&next, new.forwards->list));
	cr_assert_eq(tenancy_choose_backend(&next, &tried, &client, timer_now_ms()), 0);
	cr_expect_eq(addr_port(tenancy_backend_address(&next)), 2);
	finish(&next, 1);
	finish(before, ARRAY_COUNT(before));
	fixture_carry_close(&carry);
	forwards_destroy(old.forwards);
	config_finish(&old.config);

	old = new;
	fixture_carry_open(&carry);
	FIXTURE_SIDE(&new, {"listen", "[::1]:2000"}, {"backend", "127.0.0.1:3"});
	for (unsigned i = 0; i < ARRAY_COUNT(before); i++) {
		before[i] = after[i];
		before[i].forward = old.forwards->list;
	}
	take_over(before, ARRAY_COUNT(before));
	for (unsigned i = 0; i < ARRAY_COUNT(after); i++) {
		cr_assert_eq(take_session(&after[i]), 0);
		cr_expect_eq(addr_port(tenancy_backend_address(&after[i])), 1);
		cr_expect_eq(tenancy_backend(&after[i])->send_proxy, CONFIG_SEND_PROXY_V2);
	}
	finish(after, ARRAY_COUNT(after));
	cr_expect_eq(state_of(&new, 1), POOL_EMPTY);
	finish(before, ARRAY_COUNT(before));
	end();
}

Test(tenancy_carry, a_pool_without_a_slot_says_so)
{
	struct tenancy before, after;
	struct fault fault;
	char backend[32];

	begin();
	FIXTURE_SIDE(&old, {"maxconn-forward", "1"}, {"listen", "[::1]:2000"},
		     {"backend", "127.0.0.1:999"});
	config_init(&new.config);
	support_must_set(&new.config, "maxconn-forward", "1");
	support_must_set(&new.config, "listen", "[::1]:2000");
	for (unsigned i = 0; i < POOL_MEMBERS_LIMIT; i++) {
		snprintf(backend, sizeof(backend), "127.0.0.1:%u", i + 1);
		support_must_set(&new.config, "backend", backend);
	}
	cr_assert_eq(support_check(&new.config, &fault), 0);
	new.forwards = fixture_forwards(&new.config, FIXTURE_SIDE_MAXCONN);
	open_session(&before, 0);
	take_over(&before, 1);
	cr_expect_eq(take_session(&after), -ENOSPC);
	cr_expect_eq(admission_room(new.forwards->list->admission), 1, "nothing is held");
	finish(&after, 1);
	finish(&before, 1);
	end();
}

Test(tenancy_carry, a_forward_that_is_gone)
{
	struct tenancy before[2], after[2];

	begin();
	FIXTURE_SIDE(&old, {"listen", "[::1]:2000"}, {"backend", "127.0.0.1:1"},
		     {"listen", "[::1]:2001"}, {"backend", "127.0.0.1:2"});
	FIXTURE_SIDE(&new, {"listen", "[::1]:2000"}, {"backend", "127.0.0.1:1"});
	open_session(&before[0], 1);
	open_session(&before[1], 0);
	take_over(before, ARRAY_COUNT(before));
	cr_expect_eq(take_session(&after[0]), -ENOENT);
	cr_expect_eq(take_session(&after[1]), 0);
	finish(after, ARRAY_COUNT(after));
	finish(before, ARRAY_COUNT(before));
	end();
}

/* The address stays although it is not of the new pool, which does not know it. */
Test(tenancy_carry, another_pool_of_addresses)
{
	static const char *const sources[] = {"loopback:127.9.0.0/16", "127.0.0.9"};

	for (unsigned i = 0; i < ARRAY_COUNT(sources); i++) {
		struct tenancy before, after;

		begin();
		FIXTURE_SIDE(&old, {"source", "loopback"}, {"listen", "[::1]:2000"},
			     {"backend", "127.0.0.1:1"});
		FIXTURE_SIDE(&new, {"source", sources[i]}, {"listen", "[::1]:2000"},
			     {"backend", "127.0.0.1:1"});
		open_session(&before, 0);
		take_over(&before, 1);
		cr_assert_eq(take_session(&after), 0);
		cr_expect(addr_equal(&after.source, &before.source));
		cr_expect_not(after.leased);
		cr_expect_eq(forwards_metric(new.forwards, METRIC_source_leases), 0);
		finish(&after, 1);
		finish(&before, 1);
		end();
	}
}

/* A record that makes no sense leaves nothing held. */
Test(tenancy_carry, records_that_make_no_sense)
{
	static const struct {
		const char *name;
		uint64_t stage, held, member;
		bool whole;
	} rows[] = {
		{"no such stage", 9, 1, 0, true},
		{"connected without a member", UPSTREAM_CONNECTED, 0, 0, true},
		{"a member without a choice", UPSTREAM_NOWHERE, 1, 0, true},
		{"a member that was not read", UPSTREAM_CONNECTED, 1, 7, true},
		{"a member beyond all slots", UPSTREAM_CONNECTED, 1, 1000, true},
		{"cut off", UPSTREAM_CONNECTED, 1, 0, false},
	};

	begin();
	FIXTURE_SIDE(&old, {"maxconn-forward", "1"}, {"listen", "[::1]:2000"},
		     {"backend", "127.0.0.1:1"});
	FIXTURE_SIDE(&new, {"maxconn-forward", "1"}, {"listen", "[::1]:2000"},
		     {"backend", "127.0.0.1:1"});
	take_over(NULL, 0);
	for (unsigned i = 0; i < ARRAY_COUNT(rows); i++) {
		static const struct addr none;
		struct tenancy after;

		carrier_begin(carry.out, CARRIER_SESSION);
		carrier_put_text(carry.out, "1");
		carrier_put(carry.out, 0);
		carrier_put_addr(carry.out, &none);
		carrier_put(carry.out, 0);
		carrier_put(carry.out, 0);
		carrier_put(carry.out, rows[i].stage);
		carrier_put(carry.out, 1);
		carrier_put(carry.out, rows[i].held);
		carrier_put(carry.out, rows[i].member);
		if (rows[i].whole)
			carrier_put(carry.out, 0);
		carrier_end(carry.out);
		fixture_carry_flush(&carry);
		cr_expect_eq(take_session(&after), -EBADMSG, "%s", rows[i].name);
		cr_expect_eq(admission_room(new.forwards->list->admission), 1, "%s", rows[i].name);
		finish(&after, 1);
	}
	end();
}
