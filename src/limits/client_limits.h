/* SPDX-License-Identifier: MIT */
/*
 * Limits for each client: how many connections it may have at a time, and how many it may open per
 * second. Clients are told apart by their client key, a block of addresses, because the owner of
 * one IPv6 address has a /64 of them; "client" below means all clients with the same key. Shared by
 * all workers; atomics, no lock, no allocation after creation.
 *
 * The table has a fixed size: a flood of addresses does not make it grow. A client with live
 * connections is never forgotten. One without is forgotten when its entry is needed, clients whose
 * rate has recovered first. So a flood can at worst make the table forget recent connections of
 * other clients, which then may open more.
 *
 * A table for as many clients as there may be connections at a time (--maxconn) has room for all
 * that can be live: it is at most half full, and each client has sixteen entries to choose from. If
 * all sixteen are live nonetheless, the connection is admitted uncounted, and a counter tells so.
 * If it were refused instead, a client that fills the table could shut out all new clients, which
 * is worse than what these limits prevent; --maxconn still holds for all together.
 *
 * A client's entries depend on a secret key, so no client can choose addresses that crowd the same
 * entries. Two clients share an entry if 36 bits of their hashes and the entry agree by chance: for
 * a connection the odds are 16 in 2^36.
 */
#pragma once

#include <netinet/in.h>
#include <stdint.h>

#include "base/siphash.h"

#define CLIENT_LIMITS_MAXCONN_MOST 100000000
#define CLIENT_LIMITS_RATE_MOST	   1000000
#define CLIENT_LIMITS_CLIENTS_MOST (1U << 24)

struct client_limits_options {
	uint32_t maxconn; /* connections of a client at a time; 0: no limit */
	/*
	 * New connections of a client per second; 0: no limit. After a pause of a second, `rate`
	 * connections may come at once.
	 */
	uint32_t rate;
	unsigned v6_bits; /* of an IPv6 address that make the client key: 0 to 128, usually 64 */
	unsigned v4_bits; /* of an IPv4 address: 0 to 32, usually 32 */
	/* Clients that the table has room for, at least 1; each costs 32 to 64 bytes. */
	uint32_t clients;
	uint8_t key[SIPHASH_KEY_BYTES]; /* random: getrandom(2) */
};

enum client_verdict {
	CLIENT_OK,
	CLIENT_TOO_MANY, /* the client has `maxconn` connections */
	CLIENT_TOO_FAST, /* the client has opened connections faster than `rate` */
};

/* Where a connection was counted; belongs to the session, for client_limits_leave(). */
typedef uint32_t client_ticket;
#define CLIENT_UNCOUNTED UINT32_MAX

struct client_limits;

/* Creates an empty table. Returns 0 or -ENOMEM. */
int client_limits_create(struct client_limits **limits,
			 const struct client_limits_options *options);
void client_limits_destroy(struct client_limits *limits);

/*
 * A new connection from the address `client` (see cidr_address_of()) at `now_ms`, of
 * CLOCK_MONOTONIC; the workers' clocks may differ by seconds. On CLIENT_OK the connection is
 * counted, and `ticket` must be given to client_limits_leave() when the connection ends. Otherwise
 * it is not counted, and `ticket` is CLIENT_UNCOUNTED: refused connections use up nothing of the
 * limits.
 *
 * The limits are exact, with one exception: when several workers count the first connections of a
 * client in the same instant, the client may get a full `rate` from each worker, and near `maxconn`
 * a connection may be refused that could have been admitted. `maxconn` is never exceeded.
 */
enum client_verdict client_limits_enter(struct client_limits *limits, const struct in6_addr *client,
					uint64_t now_ms, client_ticket *ticket);

/*
 * Counts a connection that was admitted already, by another process: never refused, and without a
 * cost for the rate. `ticket` as above; CLIENT_UNCOUNTED if the table has no room.
 */
void client_limits_resume(struct client_limits *limits, const struct in6_addr *client,
			  uint64_t now_ms, client_ticket *ticket);

/* The connection with this ticket has ended. Any thread; CLIENT_UNCOUNTED is allowed. */
void client_limits_leave(struct client_limits *limits, client_ticket ticket);

/* The connections now counted for the client with this address. */
uint32_t client_limits_live(const struct client_limits *limits, const struct in6_addr *client);

/* Connections admitted uncounted so far; if not 0, the table is too small. */
uint64_t client_limits_uncounted(const struct client_limits *limits);
