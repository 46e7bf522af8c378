/* SPDX-License-Identifier: MIT */
#include "resolver_fixture.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

struct resolver_fixture fixture;

static void on_change(struct resolver_name *name)
{
	cr_assert_eq(name, &fixture.name);
	fixture.told.calls++;
	fixture.told.state = name->state;
	fixture.told.error = name->error;
	fixture.told.addresses = name->addresses;
}

void fixture_create(struct resolver_options options)
{
	struct fault fault = {0};

	options.lookup.servers =
		options.lookup.servers ? options.lookup.servers : fixture.peer.server;
	options.lookup.timeout_ms = options.lookup.timeout_ms ? options.lookup.timeout_ms : 5000;
	options.lookup.tries = options.lookup.tries ? options.lookup.tries : 4;
	options.min_ttl_ms = options.min_ttl_ms ? options.min_ttl_ms : 1;
	options.retry_ms = options.retry_ms ? options.retry_ms : 1000;
	options.max_ttl_ms = options.max_ttl_ms ? options.max_ttl_ms : 3600000;
	cr_assert_eq(resolver_create(&fixture.resolver, &options, &fault), 0, "%s",
		     support_text(&fault));
	memset(&fixture.told, 0, sizeof(fixture.told));
}

void fixture_add(const char *name)
{
	fixture.name = (struct resolver_name){.text = name, .on_change = on_change};
	resolver_add(fixture.resolver, &fixture.name);
}

void fixture_open(struct resolver_options options)
{
	dns_peer_open(&fixture.peer);
	fixture_create(options);
	fixture_add("a.example");
}

void fixture_close(void)
{
	resolver_destroy(fixture.resolver);
	dns_peer_close(&fixture.peer);
}

bool fixture_turn_for(int fd, int limit_ms)
{
	struct poll_set set;
	bool woken;

	poll_set_begin(&set);
	poll_set_add(&set, fd, POLLIN);
	resolver_prepare_poll(fixture.resolver, &set);
	woken = support_wait(&set, limit_ms);
	resolver_run(fixture.resolver, &set);
	return woken;
}

void fixture_turn(int fd)
{
	cr_assert(fixture_turn_for(fd, SUPPORT_PATIENCE_MS),
		  "nothing happens: %u calls, %u queries", fixture.told.calls,
		  fixture.peer.query_count);
}

void fixture_await_query(void)
{
	while (!dns_peer_take(&fixture.peer))
		fixture_turn(fixture.peer.udp_fd);
}

void fixture_await_state(enum resolver_state state)
{
	while (fixture.name.state != state)
		fixture_turn(-1);
}

void fixture_await_calls(unsigned calls)
{
	while (fixture.told.calls < calls)
		fixture_turn(-1);
	cr_assert_eq(fixture.told.calls, calls);
}

void fixture_serve(uint32_t ttl_s, uint32_t v4, unsigned count)
{
	struct dns_message answer;

	fixture_await_query();
	dns_begin(&answer, &fixture.peer, DNS_OK);
	for (unsigned i = 0; i < count; i++)
		dns_put_a(&answer, ttl_s, v4 + i);
	dns_send(&fixture.peer, &answer);
}

void fixture_serve_code(enum dns_code code)
{
	struct dns_message answer;

	fixture_await_query();
	dns_begin(&answer, &fixture.peer, code);
	dns_send(&fixture.peer, &answer);
}

void fixture_expect_addresses(const char *expected)
{
	const struct addr_set *set = &fixture.told.addresses;
	char text[2048] = "", one[ADDR_TEXT_BYTES];

	for (unsigned i = 0; i < set->count; i++) {
		strcat(text, i ? " " : "");
		strcat(text, addr_print_host(&set->list[i], one));
	}
	cr_expect_str_eq(text, expected);
}
