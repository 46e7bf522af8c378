/* SPDX-License-Identifier: MIT */
/*
 * What test_resolver.c and test_resolver_failures.c start from: a resolver that asks a server which
 * the test answers for, in the test's own thread. What must happen and does not fails the test.
 */
#pragma once

#include "control/resolver.h"
#include "dns_peer.h"

#define V4(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

extern struct resolver_fixture {
	struct dns_peer peer;
	struct resolver *resolver;
	struct resolver_name name;
	/* what the resolver has told of the name */
	struct {
		unsigned calls;
		enum resolver_state state;
		const char *error;
		struct addr_set addresses;
	} told;
} fixture;

/* A resolver of the peer, which is open by then; what the options leave 0 is made good for a test. */
void fixture_create(struct resolver_options options);

/* The name, with port 80, of which is told. */
void fixture_add(const char *name);

/* The peer, such a resolver, and the name "a.example". */
void fixture_open(struct resolver_options options);
void fixture_close(void);

/* A turn of the control loop, which `fd` wakes too. False: it has waited for nothing. */
bool fixture_turn_for(int fd, int limit_ms);
void fixture_turn(int fd);

/* Turns until it is so. */
void fixture_await_query(void);
void fixture_await_state(enum resolver_state state);
void fixture_await_calls(unsigned calls);

/* Answers the next query with `count` addresses from `v4` on. */
void fixture_serve(uint32_t ttl_s, uint32_t v4, unsigned count);
void fixture_serve_code(enum dns_code code);

/* Those told of, with a space between any two. */
void fixture_expect_addresses(const char *expected);
