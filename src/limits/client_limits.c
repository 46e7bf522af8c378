/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The table is an array of buckets of eight entries. A client has its entry in
 * one of two buckets: in the one with fewer live entries. An entry is two words:
 *
 *	use     36 bits: tag, the hash of the client key; 0: never used | 28 bits: live connections
 *	tokens  20 bits: the lower bits of the tag                      | 44 bits: debt
 *
 * Tag and count change together, by compare-and-swap, so no entry is given to another client while
 * a connection is counted on it. The word `tokens` names its owner again: a debt that the former
 * owner left does not count for the new one, and needs no clearing, which could come too late.
 *
 * Two threads that seek an entry for the same new client at the same time may take two. Then both
 * entries stay as long as they have live connections; all count, and later connections use the
 * first. So `maxconn` is checked after the counting, when each thread is sure to see the other's
 * entry.
 *
 * The token bucket is kept as the time at which it will be full again (the generic cell rate
 * algorithm), in thousandths of a connection: the clock advances by `rate` each ms, a connection
 * costs a thousand, and the bucket holds a thousand times `rate`. Nothing is rounded. The word
 * keeps 44 bits of that time, enough for 200 days at 1000 a second. A time that is too far ahead to
 * be possible is taken for a past one.
 */
#include "limits/client_limits.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/cidr.h"
#include "base/memory.h"

#define WAYS		 8
#define LIVE_BITS	 28
#define LIVE_MASK	 ((1ULL << LIVE_BITS) - 1)
#define TIME_BITS	 44
#define TIME_MASK	 ((1ULL << TIME_BITS) - 1)
#define OWNER_MASK	 ((1ULL << (64 - TIME_BITS)) - 1)
#define CONNECTION_COST	 1000
#define CLOCKS_DIFFER_MS 10000

struct entry {
	_Atomic uint64_t use;
	_Atomic uint64_t tokens;
};

struct bucket {
	_Alignas(CACHE_LINE_BYTES) struct entry entries[WAYS];
};

struct client_limits {
	struct client_limits_options options;
	uint64_t bucket_mask;
	struct bucket *buckets;
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t uncounted;
};

/* A client key, hashed: its tag, and the buckets in which its entry may be. */
struct client_key {
	uint64_t tag;
	uint32_t buckets[2];
};

/* The result of a search for a client's entry. */
struct finding {
	struct entry *entry;  /* the client's own; or one that the client may take; or NULL */
	uint64_t use;	      /* the word of `entry` */
	client_ticket ticket; /* of `entry` */
	bool own;	      /* `entry` is the client's own */
	uint64_t live;	      /* connections of all own entries */
};

/* The buckets of a table with at least twice as many entries as clients. */
static uint64_t bucket_count_for(uint32_t clients)
{
	uint64_t count = 2;

	while (count * WAYS < 2 * (uint64_t)clients)
		count *= 2;
	return count;
}

int client_limits_create(struct client_limits **limits, const struct client_limits_options *options)
{
	uint64_t count = bucket_count_for(options->clients);
	struct client_limits *self;

	CHECK(options->maxconn <= CLIENT_LIMITS_MAXCONN_MOST);
	CHECK(options->rate <= CLIENT_LIMITS_RATE_MOST);
	CHECK(options->v6_bits <= 128 && options->v4_bits <= 32);
	CHECK(options->clients && options->clients <= CLIENT_LIMITS_CLIENTS_MOST);
	self = memory_alloc_lines(sizeof(*self));
	if (!self)
		return -ENOMEM;
	self->options = *options;
	self->bucket_mask = count - 1;
	self->buckets = memory_alloc_lines(count * sizeof(*self->buckets));
	if (!self->buckets) {
		free(self);
		return -ENOMEM;
	}
	*limits = self;
	return 0;
}

void client_limits_destroy(struct client_limits *limits)
{
	if (!limits)
		return;
	free(limits->buckets);
	free(limits);
}

/* Finding -------------------------------------------------------------------------------------- */

static struct client_key key_of(const struct client_limits *limits, const struct in6_addr *client)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED(client);
	struct in6_addr block = v4 ? cidr_mask(client, 96 + limits->options.v4_bits)
				   : cidr_client_of(client, limits->options.v6_bits).network;
	uint64_t hash = siphash24(limits->options.key, &block, sizeof(block));
	struct client_key key = {.tag = hash >> LIVE_BITS};

	if (!key.tag)
		key.tag = 1;
	/* from all bits of the hash, so that clients with the same tag get other buckets */
	key.buckets[0] = (uint32_t)(hash & limits->bucket_mask);
	key.buckets[1] = (uint32_t)(hash * 0x9e3779b97f4a7c15ULL >> 40 & limits->bucket_mask);
	if (key.buckets[1] == key.buckets[0])
		key.buckets[1] ^= 1;
	return key;
}

/* The time in thousandths of a connection. */
static uint64_t clock_at(const struct client_limits *limits, uint64_t now_ms)
{
	return now_ms * limits->options.rate & TIME_MASK;
}

/* How much the token bucket lacks until it is full, in thousandths of a connection. */
static uint64_t missing_tokens(const struct client_limits *limits, uint64_t tag, uint64_t tokens,
			       uint64_t clock)
{
	uint64_t missing = (tokens - clock) & TIME_MASK;
	uint64_t most = (uint64_t)limits->options.rate * (CONNECTION_COST + CLOCKS_DIFFER_MS);

	if (tokens >> TIME_BITS != (tag & OWNER_MASK))
		return 0;
	return missing <= most ? missing : 0;
}

/* How much is lost if the entry is given to another client: 0 nothing; 3: it must not be given. */
static unsigned rank_of(const struct client_limits *limits, uint64_t use, uint64_t tokens,
			uint64_t clock)
{
	if (!use)
		return 0;
	if (use & LIVE_MASK)
		return 3;
	return missing_tokens(limits, use >> LIVE_BITS, tokens, clock) ? 2 : 1;
}

/* Looks for the client's entry, and for the best entry that the client may take. */
static struct finding find(const struct client_limits *limits, const struct client_key *key,
			   uint64_t clock)
{
	struct finding own = {.own = true}, best[2] = {{0}};
	unsigned best_rank[2] = {3, 3}, live_entries[2] = {0};

	for (unsigned i = 0; i < 2; i++) {
		struct bucket *bucket = &limits->buckets[key->buckets[i]];

		for (unsigned way = 0; way < WAYS; way++) {
			struct entry *entry = &bucket->entries[way];
			uint64_t use = atomic_load(&entry->use);
			client_ticket ticket = key->buckets[i] * WAYS + way;
			struct finding this = {entry, use, ticket, false, 0};
			unsigned rank;

			if (use >> LIVE_BITS == key->tag) {
				own.live += use & LIVE_MASK;
				if (!own.entry) {
					own.entry = entry;
					own.use = use;
					own.ticket = ticket;
				}
				continue;
			}
			rank = rank_of(limits, use, atomic_load(&entry->tokens), clock);
			live_entries[i] += rank == 3;
			if (rank < best_rank[i]) {
				best_rank[i] = rank;
				best[i] = this;
			}
		}
	}
	if (own.entry)
		return own;
	if ((best_rank[0] < 2) != (best_rank[1] < 2) || best_rank[0] == 3 || best_rank[1] == 3)
		return best[best_rank[1] < best_rank[0]];
	return best[live_entries[1] < live_entries[0]];
}

/* Entering and leaving ------------------------------------------------------------------------- */

/* Takes a token. False when the client's token bucket has none. */
static bool take_token(struct client_limits *limits, struct entry *entry, uint64_t tag,
		       uint64_t clock)
{
	uint64_t room = (uint64_t)limits->options.rate * CONNECTION_COST;
	uint64_t tokens = atomic_load(&entry->tokens);
	uint64_t missing, after;

	do {
		missing = missing_tokens(limits, tag, tokens, clock) + CONNECTION_COST;
		if (missing > room)
			return false;
		after = (tag << TIME_BITS) | ((clock + missing) & TIME_MASK);
	} while (!atomic_compare_exchange_weak(&entry->tokens, &tokens, after));
	return true;
}

/* The most connections of a client. */
static uint64_t most_of(const struct client_limits *limits)
{
	return limits->options.maxconn ? limits->options.maxconn : LIVE_MASK;
}

/* A client to count, at a time, unless it has `most` connections. */
struct counting {
	struct client_key key;
	uint64_t clock;
	uint64_t most;
};

/*
 * Counts the connection in an entry; `found->entry` is NULL where the table has no room, which is
 * counted.
 */
static enum client_verdict count_in(struct client_limits *limits, const struct counting *counting,
				    struct finding *found)
{
	const struct client_key *key = &counting->key;
	uint64_t after;

	/* a swap fails only where that of another thread has succeeded */
	do {
		*found = find(limits, key, counting->clock);
		if (!found->entry) {
			atomic_fetch_add_explicit(&limits->uncounted, 1, memory_order_relaxed);
			return CLIENT_OK;
		}
		if (found->live >= counting->most)
			return CLIENT_TOO_MANY;
		after = found->own ? found->use + 1 : key->tag << LIVE_BITS | 1;
	} while (!atomic_compare_exchange_strong(&found->entry->use, &found->use, after));
	return CLIENT_OK;
}

enum client_verdict client_limits_enter(struct client_limits *limits, const struct in6_addr *client,
					uint64_t now_ms, client_ticket *ticket)
{
	const struct counting counting = {key_of(limits, client), clock_at(limits, now_ms),
					  most_of(limits)};
	const struct client_key *key = &counting.key;
	enum client_verdict verdict;
	struct finding found;

	*ticket = CLIENT_UNCOUNTED;
	verdict = count_in(limits, &counting, &found);
	if (verdict != CLIENT_OK || !found.entry)
		return verdict;
	if (limits->options.maxconn &&
	    find(limits, key, counting.clock).live > limits->options.maxconn)
		verdict = CLIENT_TOO_MANY;
	else if (limits->options.rate && !take_token(limits, found.entry, key->tag, counting.clock))
		verdict = CLIENT_TOO_FAST;
	if (verdict == CLIENT_OK)
		*ticket = found.ticket;
	else
		client_limits_leave(limits, found.ticket);
	return verdict;
}

void client_limits_resume(struct client_limits *limits, const struct in6_addr *client,
			  uint64_t now_ms, client_ticket *ticket)
{
	const struct counting counting = {key_of(limits, client), clock_at(limits, now_ms),
					  LIVE_MASK};
	struct finding found;

	enum client_verdict verdict = count_in(limits, &counting, &found);

	CHECK(verdict == CLIENT_OK); /* a process has less than 2^28 descriptors */
	*ticket = found.entry ? found.ticket : CLIENT_UNCOUNTED;
}

void client_limits_leave(struct client_limits *limits, client_ticket ticket)
{
	struct entry *entry;
	uint64_t before;

	if (ticket == CLIENT_UNCOUNTED)
		return;
	CHECK(ticket / WAYS <= limits->bucket_mask);
	entry = &limits->buckets[ticket / WAYS].entries[ticket % WAYS];
	before = atomic_fetch_sub(&entry->use, 1);
	CHECK(before & LIVE_MASK);
}

uint32_t client_limits_live(const struct client_limits *limits, const struct in6_addr *client)
{
	struct client_key key = key_of(limits, client);
	struct finding found = find(limits, &key, 0);

	return found.own ? (uint32_t)found.live : 0;
}

uint64_t client_limits_uncounted(const struct client_limits *limits)
{
	return atomic_load_explicit(&limits->uncounted, memory_order_relaxed);
}
