/*
 * Limits for each source of connections: how many it may have at a time, and how many it may open
 * per second. A source is a block of addresses, for whoever has one IPv6 address has a /64 of them.
 * Shared by all workers; atomics, no lock, no allocation after creation.
 *
 * The table's memory is fixed: whatever a flood of addresses does, it does not grow. A source with
 * live connections is never forgotten; one without is when its place is needed, those whose rate
 * has recovered first. So a flood can at worst make other sources' recent connections forgotten,
 * which is in their favour.
 *
 * A table made for as many sources as there may be connections at a time (--maxconn) has room for
 * all that can be live: it is at most half full, and a place is sought among sixteen. If all sixteen
 * are live nonetheless, the connection is let pass uncounted, and that is counted. Refusing instead
 * would let whoever fills the table shut out everybody who is not in it yet, which is worse than
 * what these limits prevent; --maxconn still holds for everyone together.
 *
 * Where an address goes in the table depends on a secret key, so nobody can choose addresses that
 * crowd one place. Two sources share an entry if 36 bits and a place agree by chance: the odds for a
 * connection are 16 in 2^36.
 */
#pragma once

#include <netinet/in.h>
#include <stdint.h>

#include "base/siphash.h"

#define CLIENT_LIMITS_MAXCONN_MOST 100000000
#define CLIENT_LIMITS_RATE_MOST	   1000000
#define CLIENT_LIMITS_CLIENTS_MOST (1U << 24)

struct client_limits_options {
	uint32_t maxconn; /* connections of a source at a time; 0: no limit */
	/*
	 * New connections of a source per second; 0: no limit. After a pause as many may come at
	 * once.
	 */
	uint32_t rate;
	unsigned v6_bits; /* how long a prefix makes a source: 0 to 128, 64 as a rule */
	unsigned v4_bits; /* ... 0 to 32, 32 as a rule */
	/* Sources at a time that there is room for, at least 1; each costs 32 to 64 bytes. */
	uint32_t clients;
	uint8_t key[SIPHASH_KEY_BYTES]; /* random: getrandom(2) */
};

enum client_verdict {
	CLIENT_OK,
	CLIENT_TOO_MANY, /* it has `maxconn` connections */
	CLIENT_TOO_FAST, /* it has opened more than `rate` allows */
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
 * A new connection from `client` (cidr_address_of() gives an endpoint's) at `now_ms`, of
 * CLOCK_MONOTONIC; the workers' clocks may differ by seconds. On CLIENT_OK it is counted, and
 * `ticket` must be given back by client_limits_leave() when it ends. Otherwise it counts for
 * nothing, and `ticket` is CLIENT_UNCOUNTED: refused connections do not keep a source from what it
 * may have.
 *
 * The limits are exact, with one exception: when several workers meet a source's first connections
 * in the same instant, it may get one start at `rate` for each of them, and near `maxconn` be
 * refused a connection that it could have had. It never gets more than `maxconn`.
 */
enum client_verdict client_limits_enter(struct client_limits *limits, const struct in6_addr *client,
					uint64_t now_ms, client_ticket *ticket);

/* The connection has ended. Any thread may say so; CLIENT_UNCOUNTED is allowed. */
void client_limits_leave(struct client_limits *limits, client_ticket ticket);

/* Connections counted for the source that `client` belongs to, now. */
uint32_t client_limits_live(const struct client_limits *limits, const struct in6_addr *client);

/* Connections let pass uncounted, ever: other than 0, the table is too small. */
uint64_t client_limits_uncounted(const struct client_limits *limits);
