/*
 * The backends of one forward: which of them a session gets, how many each has, and which are fit
 * for use. All workers share a pool, and nothing in it waits: atomics only, no locks, no system
 * calls, no memory after pool_create(). Times are milliseconds of any clock that does not go back
 * (timer_now_ms()), below 2^40.
 *
 * A session asks pool_choose() for a place with a member, says once how the connect went
 * (pool_succeeded(), pool_failed()), and gives the place back (pool_end()). After a failure it marks
 * the member tried and asks again. Whoever holds a place may read the member's address.
 *
 * Three ways to choose, each among the members that can be chosen:
 *
 *	roundrobin  in turn, by weight, and evenly mixed: weights 5, 1, 1 give a a b a c a a. The
 *		    workers share one turn, an atomic counter into a sequence made beforehand: so
 *		    the shares are exact however the kernel spreads connections over workers, for
 *		    the price of one atomic addition per session. A member that cannot be chosen
 *		    loses its turns; after 16 lost in a row the shares decide alone.
 *	leastconn   the fewest sessions per weight; among equals, roundrobin's turn. Looks at all.
 *	source      by the client's network (pool_client_key()), weighted rendezvous hashing: each
 *		    member draws a number from the client's key and its own address, the best one
 *		    per weight wins. So a member that comes or goes moves its own share of the
 *		    clients and no others; the result depends on the addresses alone, not on their
 *		    order, the machine or the run. Looks at all.
 *
 * A member can be chosen when it is open, has a weight, is up (or is due for a probe, below), is not
 * full and was not tried. Backups are asked only when every other member is down, off, without
 * weight, or was tried by this very session; not when they are merely full.
 *
 * Health, by the traffic: `max_fails` failures within `fail_timeout_ms` of the first (as nginx counts
 * them: a success in between changes nothing) take a member down for that long. Then one session at
 * a time is let through as a probe, in its turn: its success brings the member up, its failure takes
 * it down again. What sessions from before report meanwhile is not heard.
 *
 * Health, by checks (`rise` > 0): `fall` failed ones in a row take a member down, or the first one
 * if none has succeeded yet; `rise` good ones bring it up. The traffic can still take a member
 * down, but then it takes `rise` good checks, and no session is risked on a probe.
 *
 * Members begin up. After an absence a member's weight grows from an eighth to all of it within
 * `slow_start_ms`.
 *
 * "Control thread" below: one thread at a time, any; all other functions are for all threads.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

#define POOL_MEMBERS_LIMIT 256
#define POOL_WEIGHT_LIMIT  256
#define POOL_FAILS_LIMIT   1000
#define POOL_CHECKS_LIMIT  200	     /* of rise and fall */
#define POOL_LIVE_LIMIT	   0xffffffU /* sessions of one member; then it is full */

enum pool_balance { POOL_ROUNDROBIN, POOL_LEASTCONN, POOL_SOURCE };

struct pool_settings {
	unsigned slots; /* members at a time, those still draining included; 1 to 256 */
	enum pool_balance balance;
	unsigned max_fails;	  /* up to 1000; 0: the traffic says nothing about health */
	uint64_t fail_timeout_ms; /* with max_fails > 0: above 0 */
	unsigned rise, fall;	  /* of the checks, up to 200; both 0: there are no checks */
	uint64_t slow_start_ms;	  /* 0: none */
};

struct pool_member {
	struct addr address; /* its printed form is what `source` knows it by */
	unsigned weight;     /* 1 to 256; 0: gets no new sessions */
	unsigned maxconn;    /* sessions; 0: POOL_LIVE_LIMIT */
	bool backup;
	bool off;	/* never gets a session, whatever its health */
	bool unchecked; /* though there are checks, this one has none: the traffic decides alone */
	unsigned group; /* the caller's: whose addresses pool_replace() replaces */
};

struct pool;

/*
 * Makes an empty pool of some 140 bytes per slot, and 1 KiB more per slot of which only what the
 * weights ask for is ever touched. Returns 0 or -ENOMEM.
 */
int pool_create(struct pool **pool, const struct pool_settings *settings);

/* No place may be held any more. */
void pool_destroy(struct pool *pool);

/* Choosing ------------------------------------------------------------------------------------- */

/* Members that a session has been refused by; zeroed: none. */
struct pool_tried {
	uint64_t bits[POOL_MEMBERS_LIMIT / 64];
};

void pool_mark_tried(struct pool_tried *tried, unsigned member);

/* What a client is known by to `source`: its /64, or the address of an IPv4-mapped one. */
uint64_t pool_client_key(const struct in6_addr *client);

/* A session's place with a member; zeroed: none. */
struct pool_claim {
	uint16_t member;
	bool held;
	bool probe; /* its outcome decides whether the member is up again */
};

struct pool_ask {
	uint64_t client_key;		/* for POOL_SOURCE alone */
	const struct pool_tried *tried; /* NULL: none */
	uint64_t now_ms;
};

/* Why no member was chosen. */
enum pool_refusal {
	POOL_ALL_DOWN = -1,
	POOL_ALL_FULL = -2,  /* of those that are up and untried, at least one, each is full */
	POOL_ALL_TRIED = -3, /* at least one was tried, and the others are down */
};

/*
 * Takes a place with a member and returns the member's index; or an enum pool_refusal, and then no
 * place is held. A member's maxconn is never exceeded, nor its probe let through twice, whatever
 * other threads do. Costs at most one look at each member for each one lost to another thread in
 * between; so, in general, one. POOL_ALL_DOWN is one look at each too:
 * about a microsecond for 256.
 */
int pool_choose(struct pool *pool, const struct pool_ask *ask, struct pool_claim *claim);

/* The address of the member whose place is held; valid until pool_end(). */
const struct addr *pool_address(const struct pool *pool, const struct pool_claim *claim);

/* The group of the member whose place is held. */
unsigned pool_group(const struct pool *pool, const struct pool_claim *claim);

/*
 * Gives a held place back; harmless for one that is not held. A probe that said nothing leaves the
 * member to the next probe.
 */
void pool_end(struct pool *pool, struct pool_claim *claim);

/* Health --------------------------------------------------------------------------------------- */

/*
 * What a report has changed. Of all threads, exactly one is told of each change; for each member
 * they alternate. For the log and the counters.
 */
enum pool_change { POOL_UNCHANGED, POOL_WENT_DOWN, POOL_CAME_UP };

/* How the connect for a held place went, once per place. */
enum pool_change pool_succeeded(struct pool *pool, struct pool_claim *claim, uint64_t now_ms);
enum pool_change pool_failed(struct pool *pool, struct pool_claim *claim, uint64_t now_ms);

/*
 * A check's outcome; `generation` is that of the snapshot which gave the address to check, so that
 * a late outcome is not taken for that of the slot's next member.
 */
enum pool_change pool_check_result(struct pool *pool, unsigned member, uint32_t generation, bool ok,
				   uint64_t now_ms);

/* Members ------------------------------------------------------------------------------------- */

/*
 * Control thread. Adds each member to a free slot, in a new pool from index 0 on; or opens the slot
 * again in which the same group's same address is still draining, with its health. Returns 0, or
 * -ENOSPC at the first that found no slot.
 *
 * This and pool_replace() make a new sequence of turns, in up to 20 ms for 256 members of weights
 * near 256, and hardly any time for usual ones.
 */
int pool_add_all(struct pool *pool, const struct pool_member *members, unsigned count);

/* What a name stands for now. */
struct pool_group {
	struct pool_member terms; /* of each that is new; its address is not read */
	const struct addr *addresses;
	unsigned count;
};

/*
 * Control thread. Makes `group->addresses` those of the group that the terms name: the missing are
 * added, those in both stay untouched, the others get no more sessions: their slots are free when
 * their last one has ended. No moment in between is without members unless the slots run out.
 * Returns 0, or -ENOSPC when some found no slot; to be called again then, when others have drained.
 */
int pool_replace(struct pool *pool, const struct pool_group *group);

/*
 * Control thread. As `max_fails` of the settings, from the next failure on: for who wants another
 * number when a name has brought other members. Members that are down come up as they would have.
 */
void pool_set_max_fails(struct pool *pool, unsigned max_fails);

/* A look at it ---------------------------------------------------------------------------------- */

enum pool_state {
	POOL_EMPTY, /* a free slot */
	POOL_UP,
	POOL_FULL, /* up, with maxconn sessions */
	POOL_DOWN,
	POOL_CHECKING, /* down; a probe is under way or let through next, or a check has succeeded */
	POOL_OFF,
	POOL_DRAINING, /* removed, with sessions */
};

struct pool_snapshot {
	enum pool_state state;
	/*
	 * It is up or full and, where failures take nobody down (`max_fails` 0), its last answer to a
	 * connect or a check was no failure: such a member is tried all the same.
	 */
	bool answers;
	struct addr address;
	unsigned group;
	uint32_t generation; /* of the slot: another member, another number */
	unsigned weight;
	unsigned live;	 /* sessions */
	uint64_t total;	 /* sessions so far */
	uint64_t failed; /* pool_failed() so far */
	unsigned downs;	 /* POOL_WENT_DOWN so far */
};

/* Slots that may be in use: 0 to this less 1. */
unsigned pool_slot_count(const struct pool *pool);

/* Members that are open, up and not off, full ones included. Any thread; a look at each. */
unsigned pool_up_count(const struct pool *pool);

/* Control thread. What is known of a slot; the parts may be some moments apart. */
void pool_snapshot(const struct pool *pool, unsigned member, uint64_t now_ms,
		   struct pool_snapshot *snapshot);
