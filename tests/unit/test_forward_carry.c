/* SPDX-License-Identifier: MIT */
#include "forward/forward_carry.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/util.h"
#include "carry_fixture.h"
#include "forward/history_carry.h"
#include "forward_fixture.h"
#include "os/timer.h"
#include "support.h"

TestSuite(forward_carry, .fini = support_check_leaks);

static struct fixture_side old, new;
static struct carry carry;

static void end(void)
{
	fixture_carry_close(&carry);
	fixture_side_finish(&old);
	fixture_side_finish(&new);
}

static void read_all(void)
{
	enum carrier_kind kind;

	fixture_carry_flush(&carry);
	while (fixture_carry_next(&carry, &kind))
		cr_expect_eq(forwards_read(new.forwards, carry.in, kind), 0, "kind %d", kind);
}

static void take_over(void)
{
	fixture_carry_open(&carry);
	forwards_write_leases(old.forwards, carry.out, 0);
	forwards_write(old.forwards, carry.out);
	read_all();
}

static struct upstream *upstream_of(struct fixture_side *side, unsigned forward)
{
	return side->forwards->list[forward].upstream;
}

/* Opens and ends `count` sessions; those of a port in `bad` fail. */
static void visit(struct fixture_side *side, unsigned forward, unsigned count, unsigned bad)
{
	static const struct addr client;
	struct upstream *upstream = upstream_of(side, forward);

	for (unsigned i = 0; i < count; i++) {
		struct pool_tried tried = {0};
		struct upstream_claim claim = {0};
		const struct upstream_ask ask = {
			.tried = &tried, .client = &client, .now_ms = timer_now_ms()};
		unsigned port;

		cr_assert_eq(upstream_choose(upstream, &claim, &ask), 0);
		port = addr_port(upstream_address(upstream, &claim));
		upstream_answered(upstream, &claim, bad >> port & 1 ? -ECONNREFUSED : 0,
				  ask.now_ms);
		upstream_leave(upstream, &claim);
	}
}

static struct pool_snapshot member_of(struct fixture_side *side, unsigned forward, unsigned member)
{
	struct pool_snapshot now;

	pool_snapshot(upstream_pool(upstream_of(side, forward)), member, timer_now_ms(), &now);
	return now;
}

/* Members have other places, some are new, and some are gone. So do forwards. */
Test(forward_carry, members_are_found_by_address)
{
	FIXTURE_SIDE(&old, {"max-fails", "1"}, {"fail-timeout", "1h"}, {"listen", "[::1]:2000"},
		     {"backend", "127.0.0.1:1"}, {"backend", "127.0.0.1:2"},
		     {"backend", "127.0.0.1:3"}, {"listen", "[::1]:2001"},
		     {"backend", "127.0.0.1:4"}, {"listen", "[::1]:2002"},
		     {"backend", "127.0.0.1:5"});
	FIXTURE_SIDE(&new, {"max-fails", "1"}, {"fail-timeout", "1h"}, {"listen", "[::1]:2000"},
		     {"backend", "127.0.0.1:9"}, {"backend", "127.0.0.1:3"},
		     {"backend", "127.0.0.1:2"}, {"listen", "[::1]:2001"},
		     {"backend", "127.0.0.1:4"});
	visit(&old, 0, 9, 1 << 2);
	visit(&old, 1, 3, 0);
	visit(&old, 2, 2, 0);
	take_over();
	cr_expect_eq(member_of(&new, 0, 0).total, 0);
	cr_expect_eq(member_of(&new, 0, 0).state, POOL_UP);
	cr_expect_eq(member_of(&new, 0, 1).total, member_of(&old, 0, 2).total);
	cr_expect_eq(member_of(&new, 0, 1).state, POOL_UP);
	cr_expect_eq(member_of(&new, 0, 2).total, 1);
	cr_expect_eq(member_of(&new, 0, 2).failed, 1);
	cr_expect_eq(member_of(&new, 0, 2).downs, 1);
	cr_expect_eq(member_of(&new, 0, 2).state, POOL_DOWN);
	cr_expect_eq(member_of(&new, 1, 0).total, 3);
	end();
}

static void set_addresses(struct fixture_side *side, unsigned backend, unsigned first)
{
	struct addr_set set = {0};
	unsigned left_out;

	for (unsigned i = 0; i < 2; i++) {
		struct addr address = addr_from_v4((struct in_addr){htonl(0x7f000000 + first + i)});

		addr_set_port(&address, 1);
		addr_set_insert(&set, &address);
	}
	cr_assert_eq(upstream_set_addresses(upstream_of(side, 0), backend, &set, &left_out), 0);
}

/* Two backends may have the same address: by their names, and where they have none, in order. */
Test(forward_carry, members_with_one_address)
{
	FIXTURE_SIDE(&old, {"listen", "[::1]:2000"}, {"backend", "127.0.0.2:1 weight=3"},
		     {"backend", "127.0.0.2:1"}, {"backend", "a.example:1 weight=2"});
	FIXTURE_SIDE(&new, {"listen", "[::1]:2000"}, {"backend", "127.0.0.2:1"},
		     {"backend", "127.0.0.2:1"}, {"backend", "A.example:1"});
	set_addresses(&old, 2, 2);
	set_addresses(&new, 2, 1);
	visit(&old, 0, 8, 0); /* 3, 1, and 2 for each address of the name */
	take_over();
	cr_expect_eq(member_of(&new, 0, 0).total, 3);
	cr_expect_eq(member_of(&new, 0, 1).total, 1);
	cr_expect_eq(member_of(&new, 0, 2).total, 0, "127.0.0.1");
	cr_expect_eq(member_of(&new, 0, 3).total, 2, "127.0.0.2");
	end();
}

/* An upgrade keeps what an administrator has changed; a reload undoes it. */
Test(forward_carry, changes_at_run_time)
{
	for (unsigned keep = 0; keep < 2; keep++) {
		FIXTURE_SIDE(&old, {"listen", "[::1]:2000"}, {"backend", "127.0.0.1:1 weight=7"},
			     {"backend", "127.0.0.1:2 maxconn=9"}, {"backend", "127.0.0.1:3"});
		FIXTURE_SIDE(&new, {"listen", "[::1]:2000"}, {"backend", "127.0.0.1:2 maxconn=8"},
			     {"backend", "127.0.0.1:1 weight=5"}, {"backend", "127.0.0.1:3"});
		new.forwards->keeps_changes = keep;
		upstream_set_weight(upstream_of(&old, 0), 0, 0);
		upstream_set_maxconn(upstream_of(&old, 0), 2, 4);
		upstream_set_order(upstream_of(&old, 0), 2, POOL_ORDER_DRAIN);
		take_over();
		cr_expect_eq(member_of(&new, 0, 0).maxconn, 8, "not changed at run time");
		cr_expect_eq(member_of(&new, 0, 1).weight, keep ? 0 : 5);
		cr_expect_eq(member_of(&new, 0, 2).maxconn, keep ? 4 : 0);
		cr_expect_eq(member_of(&new, 0, 2).state, keep ? POOL_OFF : POOL_UP);
		end();
	}
}

/* Leases ------------------------------------------------------------------------------------ */

static struct in_addr lease_of(struct fixture_side *side, const char *text)
{
	struct source_address *source = side->forwards->list->source;
	struct source_address_choice choice;
	struct source_address_ask ask = {.now_ms = timer_now_ms()};
	struct addr client;

	cr_assert_null(addr_parse(text, &client));
	ask.client = &client;
	cr_assert_eq(source_address_choose(source, &ask, &choice), 0);
	source_address_release(source, &choice.address, ask.now_ms);
	return choice.address.v4.sin_addr;
}

static const char *const clients[] = {"[2001:db8::1]:1", "[2001:db8:0:1::1]:1",
				      "[2001:db8:0:2::1]:1"};

/* Also a client without a lease gets the address that the old process would have given. */
Test(forward_carry, clients_keep_their_addresses)
{
	struct in_addr addresses[ARRAY_COUNT(clients)];

	FIXTURE_SIDE(&old, {"source", "loopback"}, {"listen", "[::1]:2000"},
		     {"backend", "127.0.0.1:1"});
	FIXTURE_SIDE(&new, {"source", "loopback"}, {"listen", "[::1]:2000"},
		     {"backend", "127.0.0.1:1"});
	lease_of(&new, "[2001:db8:7::1]:1"); /* as of a state file that is older */
	for (unsigned i = 0; i < 2; i++)
		addresses[i] = lease_of(&old, clients[i]);
	take_over();
	cr_expect_eq(forwards_metric(new.forwards, METRIC_source_leases), 2);
	cr_expect_eq(forwards_metric(new.forwards, METRIC_source_leases_live), 0);
	addresses[2] = lease_of(&old, clients[2]);
	for (unsigned i = 0; i < ARRAY_COUNT(clients); i++)
		cr_expect_eq(lease_of(&new, clients[i]).s_addr, addresses[i].s_addr);
	end();
}

/* The second part has the leases that were used since. */
Test(forward_carry, leases_come_in_two_parts)
{
	uint64_t since_ms = timer_now_ms();

	FIXTURE_SIDE(&old, {"source", "loopback"}, {"listen", "[::1]:2000"},
		     {"backend", "127.0.0.1:1"});
	FIXTURE_SIDE(&new, {"source", "loopback"}, {"listen", "[::1]:2000"},
		     {"backend", "127.0.0.1:1"});
	lease_of(&old, clients[0]);
	take_over();
	lease_of(&old, clients[1]);
	forwards_write_leases(old.forwards, carry.out, since_ms);
	read_all();
	cr_expect_eq(forwards_metric(new.forwards, METRIC_source_leases), 2);
	forwards_write_leases(old.forwards, carry.out, timer_now_ms() + 5000);
	read_all();
	cr_expect_eq(forwards_metric(new.forwards, METRIC_source_leases), 2);
	end();
}

/* The pool starts empty. */
Test(forward_carry, another_pool_takes_no_lease)
{
	char path[] = "/tmp/test_forward_carry.XXXXXX";
	const struct fixture_setting others[] = {
		{"source", "loopback:127.8.0.0/16"},
		{"pseudo-prefix", "128"},
		{"pseudo-key", path},
	};
	int key = mkstemp(path);

	cr_assert_eq(write(key, "000102030405060708090a0b0c0d0e0f", 32), 32);
	close(key);
	for (unsigned i = 0; i < ARRAY_COUNT(others); i++) {
		FIXTURE_SIDE(&old, {"source", "loopback"}, {"listen", "[::1]:2000"},
			     {"backend", "127.0.0.1:1"});
		FIXTURE_SIDE(&new, {"source", "loopback"}, others[i], {"listen", "[::1]:2000"},
			     {"backend", "127.0.0.1:1"});
		lease_of(&old, clients[0]);
		take_over();
		cr_expect_eq(forwards_metric(new.forwards, METRIC_source_leases), 0, "%s",
			     others[i].name);
		end();
	}
	unlink(path);
}

/* History ----------------------------------------------------------------------------------- */

Test(forward_carry, history)
{
	struct history *before, *after;
	struct session_record record = {.opened_ms = 1,
					.closed_ms = 2,
					.bytes_up = 3,
					.bytes_down = 4,
					.forward = 1,
					.reason = CLOSE_idle_timeout,
					.has_own_source = true,
					.is_embedded = true};
	const struct session_record *read;

	FIXTURE_SIDE(&old, {"listen", "[::1]:2000"}, {"backend", "unix:/run/kept"},
		     {"backend", "unix:/run/gone"}, {"listen", "[::1]:2001"},
		     {"backend", "127.0.0.1:1"}, {"listen", "[::1]:2002"},
		     {"backend", "127.0.0.1:1"});
	FIXTURE_SIDE(&new, {"listen", "[::1]:2000"}, {"backend", "unix:/run/kept"},
		     {"listen", "[::1]:2001"}, {"backend", "127.0.0.1:1"});
	cr_assert_eq(history_create(&before, HISTORY_LIMIT), 0);
	cr_assert_eq(history_create(&after, HISTORY_LIMIT), 0);
	cr_assert_null(addr_parse("[2001:db8::1]:5", &record.client));
	cr_assert_null(addr_parse("192.0.2.1:6", &record.source));
	record.backend = old.config.forwards[1].backends[0].addr;
	history_add(before, &record);
	record.forward = 2;
	history_add(before, &record);
	record.forward = 0;
	record.backend = old.config.forwards[0].backends[0].addr;
	history_add(before, &record);
	record.backend = old.config.forwards[0].backends[1].addr;
	history_add(before, &record);
	fixture_carry_open(&carry);
	history_write(before, old.forwards, carry.out);
	fixture_carry_flush(&carry);
	for (unsigned i = 0; i < 4; i++) {
		fixture_carry_expect(&carry, CARRIER_HISTORY);
		cr_expect_eq(history_read(after, new.forwards, carry.in), 0);
	}
	cr_assert_eq(history_end(after), 3, "without that of the third forward");
	read = history_find(after, 0);
	cr_expect_eq(read->opened_ms, 1);
	cr_expect_eq(read->closed_ms, 2);
	cr_expect_eq(read->bytes_up, 3);
	cr_expect_eq(read->bytes_down, 4);
	cr_expect_eq(read->forward, 1);
	cr_expect_eq(read->reason, CLOSE_idle_timeout);
	cr_expect(read->has_own_source && read->is_embedded);
	cr_expect(addr_equal(&read->client, &record.client));
	cr_expect(addr_equal(&read->source, &record.source));
	cr_expect(addr_equal(&read->backend, &new.config.forwards[1].backends[0].addr));
	read = history_find(after, 1);
	cr_expect_eq(read->backend.local.name, new.config.forwards[0].backends[0].addr.local.name);
	cr_expect_eq(history_find(after, 2)->backend.length_bytes, 0);
	history_destroy(before);
	history_destroy(after);
	end();
}

/* What is not a record of the forwards, or breaks off. */
Test(forward_carry, records_that_make_no_sense)
{
	static const struct {
		enum carrier_kind kind;
		const char *forward;
		int result;
	} rows[] = {
		{CARRIER_SESSION, "1", -ENOTSUP},    {CARRIER_FORWARD, "1", -EBADMSG},
		{CARRIER_MEMBER, "1", -EBADMSG},     {CARRIER_MEMBER, "none", 0},
		{CARRIER_LEASE_POOL, "1", -EBADMSG}, {CARRIER_LEASE, "1", -EBADMSG},
	};

	FIXTURE_SIDE(&old, {"listen", "[::1]:2000"}, {"backend", "127.0.0.1:1"});
	FIXTURE_SIDE(&new, {"source", "loopback"}, {"listen", "[::1]:2000"},
		     {"backend", "127.0.0.1:1"});
	fixture_carry_open(&carry);
	for (unsigned i = 0; i < ARRAY_COUNT(rows); i++) {
		carrier_begin(carry.out, rows[i].kind);
		carrier_put_text(carry.out, rows[i].forward);
		carrier_end(carry.out);
		fixture_carry_flush(&carry);
		fixture_carry_expect(&carry, rows[i].kind);
		cr_expect_eq(forwards_read(new.forwards, carry.in, rows[i].kind), rows[i].result,
			     "row %u", i);
	}
	cr_expect_eq(member_of(&new, 0, 0).state, POOL_UP);
	end();
}
