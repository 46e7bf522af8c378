/* SPDX-License-Identifier: MIT */
/*
 * The parts of a pool, for pool*.c alone.
 *
 * Three atomic words carry all decisions:
 *
 *	claims  of a slot: | total 39 | closed 1 | live 24 |
 *		Sessions so far; whether the slot refuses new sessions; sessions now. A closed slot
 *		without sessions is free: no session can claim it, and none is left that reads its
 *		address. So the control thread may write another address and open the slot. `total`
 *		goes on counting through all members of a slot, so no value of the word returns.
 *	health  of a slot: | off 1 | phase 2 | streak 8 | fails 10 | time 40 |
 *		The one thread that swaps an "up" word for another, or back, is told of the change.
 *	next_position  of the pool: where the sequence goes on.
 *
 * A sequence is a hint: the member that it names is looked at before it is chosen. So a thread that
 * is stopped while the control thread writes two new sequences makes no error with what it reads.
 */
#pragma once

#include <stdatomic.h>

#include "base/util.h"
#include "pool/pool.h"

#define POOL_LIVE_MASK	 ((uint64_t)POOL_LIVE_LIMIT)
#define POOL_CLOSED	 (1ULL << 24)
#define POOL_TOTAL_SHIFT 25

#define POOL_TIME_MASK	 ((1ULL << 40) - 1)

enum pool_phase {
	POOL_PHASE_UP,	    /* time: when the first of `fails` happened */
	POOL_PHASE_DOWN,    /* time: when a probe is due; POOL_TIME_MASK: never */
	POOL_PHASE_PROBING, /* a session is the probe; time as before */
};

/* The word `health`, unpacked. */
struct pool_health {
	uint64_t time_ms;
	unsigned fails;	 /* within the timeout */
	unsigned streak; /* checks in a row that speak against the phase */
	enum pool_phase phase;
	bool off;
};

/* These bits of `health` are 0 where the member is up. */
#define POOL_NOT_UP_MASK (7ULL << 58)

/* The parts of a member's full weight; in slow start it has fewer. */
#define POOL_WHOLE 256U

/* Read by all, written rarely, except `saved_parts` in slow start. `claims` lie elsewhere. */
struct pool_slot {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t health;
	_Atomic uint64_t seed;	       /* of its address, for POOL_SOURCE */
	_Atomic uint64_t ramp_from_ms; /* 0: no slow start */
	_Atomic uint64_t failed_count;
	_Atomic uint32_t down_count;
	_Atomic uint32_t saved_parts; /* parts saved up in slow start: accepts_draw() */
	_Atomic uint32_t maxconn;     /* POOL_LIVE_LIMIT where none is given */
	_Atomic uint32_t generation;
	_Atomic uint16_t weight;
	_Atomic uint8_t tier; /* 1: backup */
	_Atomic bool unchecked;
	_Atomic bool failing;  /* the last connect or check failed */
	_Atomic uint8_t order; /* enum pool_order */
	/* the control thread's; who holds a claim reads `address` too */
	struct addr address;
	unsigned group;
	bool configured_off;   /* `off` of struct pool_member */
	uint64_t total_before; /* sessions of the slot's earlier members */
};

struct pool_sequence {
	_Atomic uint32_t length;
	_Atomic uint8_t *members;
};

#define POOL_TIERS	 2
#define POOL_LOG_ENTRIES 257

struct pool {
	struct pool_settings settings;
	struct pool_slot *slots;
	_Atomic uint64_t *claims;	  /* close together: leastconn reads them all */
	_Atomic uint8_t *sequence_memory; /* memory of the sequences */
	struct pool_sequence sequences[2][POOL_TIERS];
	_Atomic unsigned current; /* which of the two */
	_Atomic unsigned slot_count;
	_Atomic unsigned max_fails; /* as in the settings, until pool_set_max_fails() */
	uint64_t log_table[POOL_LOG_ENTRIES];
	/* every choice changes these: kept away from what is only read */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t next_position[POOL_TIERS];
	_Atomic uint64_t next_by_share;
};

/* pool.c */

/* Puts a member into a free slot, which stays closed. Returns its index, or -ENOSPC. */
int pool_fill_free_slot(struct pool *pool, const struct pool_member *member);

/* pool_health.c */
struct pool_health pool_health_unpack(uint64_t word);

/*
 * Gives a member the health that it had in another pool, whose settings may differ. `was_checked`:
 * checks decided there. No other thread may use the pool yet.
 */
void pool_health_adopt(struct pool *pool, unsigned member, struct pool_health health,
		       bool was_checked, uint64_t now_ms);

/* Whether checks decide when the member is up again. */
bool pool_health_is_checked(const struct pool *pool, const struct pool_slot *slot);

/* The health of a new member. */
uint64_t pool_health_initial(const struct pool_settings *settings, bool off);

/* Makes this session the probe. False: no probe is due, or another session was faster. */
bool pool_health_begin_probe(struct pool_slot *slot, uint64_t now_ms);

/* The probe ended without a report. */
void pool_health_abandon_probe(struct pool_slot *slot);

/* How many of the POOL_WHOLE parts of its weight a member has now. */
uint32_t pool_ramp(const struct pool *pool, const struct pool_slot *slot, uint64_t now_ms);

/* pool_hash.c */
void pool_hash_init(uint64_t table[POOL_LOG_ENTRIES]);

/* The seed of a member for POOL_SOURCE; `twin`: how many before it have the same address. */
uint64_t pool_hash_seed(const struct addr *address, unsigned twin);

/* A member's lot for a client: a hash of both. */
uint64_t pool_hash_lot(uint64_t seed, uint64_t client_key);

/*
 * How far a lot is from the best: its negative binary logarithm as a fixed-point number with 32
 * bits behind the point, at most 2^38. Divided by the weight, the distances are exponentially
 * distributed, so each member has the least in proportion to its weight. Integers only: the same on
 * every machine.
 */
uint64_t pool_hash_distance(const uint64_t table[POOL_LOG_ENTRIES], uint64_t lot);

/* pool_sequence.c */

/* Replaces the sequence by a new one of the open members. */
void pool_sequence_make(struct pool *pool);
