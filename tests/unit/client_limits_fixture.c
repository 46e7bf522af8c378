/* SPDX-License-Identifier: MIT */
#include "client_limits_fixture.h"

#include <criterion/criterion.h>
#include <string.h>

struct client_limits *fixture_limits(uint32_t maxconn, uint32_t rate, uint32_t clients)
{
	struct client_limits_options options = {.maxconn = maxconn,
						.rate = rate,
						.v6_bits = 64,
						.v4_bits = 32,
						.clients = clients,
						.key = "fifteen letters"};
	struct client_limits *limits;

	cr_assert_eq(client_limits_create(&limits, &options), 0);
	return limits;
}

/* An address of client `number`: `host` is its lower half. */
static struct in6_addr client_address(uint64_t number, uint64_t host)
{
	struct in6_addr address = {.s6_addr = {0x20, 0x01}};

	for (unsigned i = 0; i < 6; i++)
		address.s6_addr[7 - i] = (uint8_t)(number >> 8 * i);
	memcpy(&address.s6_addr[8], &host, sizeof(host));
	return address;
}

enum client_verdict fixture_enter(struct client_limits *limits, uint64_t number, uint64_t now_ms,
				  client_ticket *ticket)
{
	struct in6_addr address = client_address(number, now_ms);

	return client_limits_enter(limits, &address, now_ms, ticket);
}

uint32_t fixture_live(const struct client_limits *limits, uint64_t number)
{
	struct in6_addr address = client_address(number, 0);

	return client_limits_live(limits, &address);
}
