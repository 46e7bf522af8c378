/* SPDX-License-Identifier: MIT */
/*
 * The members of one forward's pool: which member a session gets, how many sessions each member
 * has, and which members are up. All workers share a pool, and no function waits: atomics only, no
 * locks, no system calls, no allocation after pool_create(). Times are milliseconds of any clock
 * that does not go back (timer_now_ms()), below 2^40.
 *
 * A session asks pool_choose() for a claim on a member, reports once how the connect went
 * (pool_succeeded(), pool_failed()), and gives the claim back (pool_end()). After a failure the
 * session marks the member tried and asks again. The member's address may be read while the claim
 * is held.
 *
 * Three ways to choose, each among the members that can be chosen:
 *
 *	roundrobin  one after the other, by weight, and evenly mixed: weights 5, 1, 1 give a a b a c
 *		    a a. The sequence is made beforehand. All workers share one position in it, an
 *		    atomic counter. So the shares are exact however the kernel spreads connections
 *		    over workers, and a session costs one atomic addition. Positions of a member
 *		    that cannot be chosen are skipped; after 16 skipped in a row, a member is drawn
 *		    by weight alone.
 *	leastconn   the fewest sessions per weight; among equals, the next member in the sequence.
 *		    Looks at every member.
 *	source      by the client's network (pool_client_key()), weighted rendezvous hashing: each
 *		    member gets a number from the client key and the member's address, and the best
 *		    number per weight wins. So adding or removing a member moves only that member's
 *		    share of the clients. The result depends on the addresses alone, not on their
 *		    order, the machine or the run. Looks at every member.
 *
 * A member can be chosen when it is open, has a weight, is up (or is due for a probe, below), is
 * not full and was not tried. Backups are chosen only when every other member is down, off, without
 * weight, or was tried by the same session; not when another member is only full.
 *
 * Health by traffic: `max_fails` failures within `fail_timeout_ms` of the first failure take a
 * member down for `fail_timeout_ms`. As in nginx, a success in between changes nothing. After that
 * time the pool gives the member one session at a time, as a probe: a success of the probe brings
 * the member up, a failure takes it down again. Until then, reports of sessions that chose the
 * member earlier are ignored.
 *
 * Health by checks (`rise` > 0): `fall` failed checks in a row take a member down, or the first
 * check if none has succeeded yet; `rise` good checks in a row bring it up. The traffic can still
 * take a member down, but then only `rise` good checks bring it up, and no session is a probe.
 *
 * Members begin up. When a member comes up again, its weight grows from an eighth to all of it
 * within `slow_start_ms`.
 *
 * "Control thread" below: only one thread may call the function at a time. Any thread may call the
 * others.
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

/* What an administrator wants of a member at run time, whatever its health is. */
enum pool_order {
	POOL_ORDER_NONE,
	POOL_ORDER_DRAIN, /* no new sessions; sessions go on */
	POOL_ORDER_DOWN,  /* no new sessions; pool_is_out() is true for its sessions */
};

struct pool_settings {
	unsigned slots; /* members at a time, including those that drain; 1 to 256 */
	enum pool_balance balance;
	unsigned max_fails;	  /* up to 1000; 0: no health by traffic */
	uint64_t fail_timeout_ms; /* with max_fails > 0: above 0 */
	unsigned rise, fall;	  /* checks in a row, up to 200; both 0: no checks */
	uint64_t slow_start_ms;	  /* 0: none */
};

struct pool_member {
	struct addr address; /* POOL_SOURCE hashes its printed form */
	unsigned weight;     /* 1 to 256; 0: gets no new sessions */
	unsigned maxconn;    /* sessions; 0: POOL_LIVE_LIMIT */
	bool backup;
	bool off;	/* never gets a session, whatever its health */
	bool unchecked; /* no checks for this member: its health is by traffic */
	enum pool_order order;
	unsigned group; /* the caller's number: pool_replace() replaces the members of one group */
};

struct pool;

/*
 * Makes an empty pool of some 140 bytes per slot, and 1 KiB more per slot for the sequences, of
 * which only the part that the weights need is touched. Returns 0 or -ENOMEM.
 */
int pool_create(struct pool **pool, const struct pool_settings *settings);

/* No claim may be held any more. */
void pool_destroy(struct pool *pool);

/* Choosing ------------------------------------------------------------------------------------- */

/* The members whose connect failed for a session; zeroed: none. */
struct pool_tried {
	uint64_t bits[POOL_MEMBERS_LIMIT / 64];
};

void pool_mark_tried(struct pool_tried *tried, unsigned member);

/* The client key of POOL_SOURCE: from the client's /64, or from an IPv4-mapped address. */
uint64_t pool_client_key(const struct in6_addr *client);

/* One session counted at one member; zeroed: none. */
struct pool_claim {
	uint16_t member;
	bool held;
	bool probe; /* the session is the member's probe */
};

struct pool_ask {
	uint64_t client_key;		/* for POOL_SOURCE alone */
	const struct pool_tried *tried; /* NULL: none */
	uint64_t now_ms;
};

/* Why no member was chosen. */
enum pool_refusal {
	POOL_ALL_DOWN = -1,
	POOL_ALL_FULL = -2,  /* some member is up and untried, and all such members are full */
	POOL_ALL_TRIED = -3, /* the session has tried some member, and all others are down */
};

/*
 * Takes a claim on a member and returns the member's index, or returns an enum pool_refusal without
 * a claim. Whatever other threads do, a member's maxconn is never exceeded, and a member has one
 * probe at a time. Looks at each member at most once, which takes about a microsecond for 256; and
 * once more each time that another thread has just taken the chosen member.
 */
int pool_choose(struct pool *pool, const struct pool_ask *ask, struct pool_claim *claim);

/* The address of the claimed member; valid until pool_end(). The claim must be held. */
const struct addr *pool_address(const struct pool *pool, const struct pool_claim *claim);

/* The group of the claimed member. The claim must be held. */
unsigned pool_group(const struct pool *pool, const struct pool_claim *claim);

/*
 * Gives a claim back; does nothing without a claim. If a probe made no report, the next session is
 * the probe.
 */
void pool_end(struct pool *pool, struct pool_claim *claim);

/* Health --------------------------------------------------------------------------------------- */

/*
 * What a report has changed, for the log and the counters. Each change is returned to exactly one
 * thread. The changes of a member alternate.
 */
enum pool_change { POOL_UNCHANGED, POOL_WENT_DOWN, POOL_CAME_UP };

/* How the connect to the claimed member went; once per claim. */
enum pool_change pool_succeeded(struct pool *pool, struct pool_claim *claim, uint64_t now_ms);
enum pool_change pool_failed(struct pool *pool, struct pool_claim *claim, uint64_t now_ms);

/*
 * Whether the claimed member is down, by its health or by POOL_ORDER_DOWN, so that its sessions may
 * be ended. False for a probe, and for a member that was removed or has POOL_ORDER_DRAIN. The claim
 * must be held.
 */
bool pool_is_out(const struct pool *pool, const struct pool_claim *claim);

/*
 * A check's result. `generation` is from the snapshot that gave the address to check. So a late
 * result does not count for the next member of the slot.
 */
enum pool_change pool_check_result(struct pool *pool, unsigned member, uint32_t generation, bool ok,
				   uint64_t now_ms);

/* Members -------------------------------------------------------------------------------------- */

/*
 * Control thread. Adds each member to a free slot, in a new pool from index 0 on. If a member of
 * the same group and address still drains, its slot is opened again and keeps its health. Returns
 * 0, or -ENOSPC at the first member for which no slot is free.
 *
 * pool_add_all() and pool_replace() make a new sequence: in up to 20 ms for 256 members of weights
 * near 256, and in much less for usual weights.
 */
int pool_add_all(struct pool *pool, const struct pool_member *members, unsigned count);

/* The new members of a group: the addresses of a name. */
struct pool_group {
	struct pool_member terms; /* for each new member; its `address` is not read */
	const struct addr *addresses;
	unsigned count;
};

/*
 * Control thread. Makes `group->addresses` the members of the group `group->terms.group`. Missing
 * addresses are added, and those already there stay untouched. The other members get no more
 * sessions, and their slots are free when their last session has ended. During the change the group
 * always has members, unless the slots run out. Returns 0, or -ENOSPC when some addresses found no
 * slot: call again when other members have drained.
 */
int pool_replace(struct pool *pool, const struct pool_group *group);

/*
 * Control thread. Removes a member: it gets no more sessions, and its slot is free when its last
 * session has ended.
 */
void pool_remove(struct pool *pool, unsigned member);

/*
 * Control thread. Change the weight, the maxconn (0: none) or the order of a member. A member with
 * an order is off: no sessions, checks or changes by reports. When the order is lifted, the member
 * has the health from before; if it is up, slow start begins and one failed check takes it down.
 */
void pool_set_weight(struct pool *pool, unsigned member, unsigned weight);
void pool_set_maxconn(struct pool *pool, unsigned member, unsigned maxconn);
void pool_set_order(struct pool *pool, unsigned member, enum pool_order order, uint64_t now_ms);

/*
 * Control thread. Replaces `max_fails` of the settings, from the next failure on. Nothing changes
 * for members that are down.
 */
void pool_set_max_fails(struct pool *pool, unsigned max_fails);

/* Looking at a pool ---------------------------------------------------------------------------- */

enum pool_state {
	POOL_EMPTY, /* a free slot */
	POOL_UP,
	POOL_FULL, /* up, with maxconn sessions */
	POOL_DOWN,
	POOL_CHECKING, /* down; a probe is under way or comes next, or a check has succeeded */
	POOL_OFF,
	POOL_DRAINING, /* removed, with sessions */
};

struct pool_snapshot {
	enum pool_state state;
	/*
	 * The member is up or full. With `max_fails` 0, its last connect or check has also
	 * succeeded: then failures take no member down, and a failed member is still chosen.
	 */
	bool answers;
	struct addr address;
	unsigned group;
	enum pool_order order; /* POOL_OFF without an order: `off` of struct pool_member */
	uint32_t generation;   /* changes with each new member of the slot */
	unsigned weight;
	unsigned maxconn; /* 0: none */
	unsigned live;	  /* sessions */
	uint64_t total;	  /* sessions so far */
	uint64_t failed;  /* pool_failed() so far */
	unsigned downs;	  /* POOL_WENT_DOWN so far */
};

/* All slots in use are below this index. */
unsigned pool_slot_count(const struct pool *pool);

/* The slots that the pool was created with. */
unsigned pool_slot_limit(const struct pool *pool);

/* The generation of a slot's member, as in a snapshot. Any thread. */
uint32_t pool_generation(const struct pool *pool, unsigned member);

/* Members that are open, up and not off, including full ones. Any thread; looks at each slot. */
unsigned pool_up_count(const struct pool *pool);

/* Control thread. Reads a slot, its parts one after the other. */
void pool_snapshot(const struct pool *pool, unsigned member, uint64_t now_ms,
		   struct pool_snapshot *snapshot);
