/*
 * What a pool is made of, for pool*.c alone.
 *
 * Three words of a slot carry all the decisions, each changed as a whole by compare-and-swap:
 *
 *	places  | total 39 | closed 1 | live 24 |
 *		Sessions so far, whether the slot refuses new ones, sessions now. A slot that is
 *		closed without sessions is free: nobody can get in and nobody is left who would read
 *		its address, so the control thread may write another one and open it. `total` goes
 *		on counting through all of a slot's members, so that no word ever returns.
 *	health  | off 1 | phase 2 | streak 8 | fails 10 | time 40 |
 *		Whoever swaps a word that is up for one that is not, or back, is the one thread
 *		that is told.
 *	turn    of the pool: where the sequence goes on.
 *
 * A sequence is a hint: whoever it names is looked at before being chosen. So a reader that stands
 * still while the control thread writes two new ones is not misled by what it finds.
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
	POOL_PHASE_UP,	    /* time: when the first of `fails` was */
	POOL_PHASE_DOWN,    /* time: when a probe is due; POOL_TIME_MASK: never */
	POOL_PHASE_PROBING, /* a session is the probe; time as before */
};

/* `health`, taken apart. */
struct pool_health {
	uint64_t time_ms;
	unsigned fails;	 /* within the timeout */
	unsigned streak; /* checks in a row that speak against the phase */
	enum pool_phase phase;
	bool off;
};

/* Of `health`: not 0 where the member is not up. */
#define POOL_NOT_UP_MASK (7ULL << 58)

/* A member's full weight, in parts; slow start takes of them. */
#define POOL_WHOLE 256U

/* Read by all, written rarely, but for `credit` in a slow start; `places` lie elsewhere. */
struct pool_slot {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t health;
	_Atomic uint64_t seed;	       /* what `source` knows it by */
	_Atomic uint64_t ramp_from_ms; /* 0: no slow start */
	_Atomic uint64_t failed_count;
	_Atomic uint32_t down_count;
	_Atomic uint32_t saved_parts; /* parts of a turn saved up in a slow start */
	_Atomic uint32_t maxconn;     /* POOL_LIVE_LIMIT where none is given */
	_Atomic uint32_t generation;
	_Atomic uint16_t weight;
	_Atomic uint8_t tier; /* 1: backup */
	_Atomic bool unchecked;
	_Atomic bool failing; /* the last answer, to a connect or a check, was a failure */
	/* the control thread's; `address` also that of whoever holds a place */
	struct addr address;
	unsigned group;
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
	_Atomic uint64_t *claims;	  /* close together, for leastconn reads them all */
	_Atomic uint8_t *sequence_memory; /* memory of the sequences */
	struct pool_sequence sequences[2][POOL_TIERS];
	_Atomic unsigned current; /* which of the two */
	_Atomic unsigned slot_count;
	_Atomic unsigned max_fails; /* of the settings, until pool_set_max_fails() */
	uint64_t log_table[POOL_LOG_ENTRIES];
	/* each choice changes it: away from what is only read */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t next_position[POOL_TIERS];
	_Atomic uint64_t next_by_share;
};

/* pool_health.c */
struct pool_health pool_health_unpack(uint64_t word);

/* The health of a new member. */
uint64_t pool_health_initial(const struct pool_settings *settings, bool off);

/* Lets this session through as the probe that is due; false: it is not, or another one was. */
bool pool_health_begin_probe(struct pool_slot *slot, uint64_t now_ms);

/* The probe ended without a verdict. */
void pool_health_abandon_probe(struct pool_slot *slot);

/* Parts of POOL_WHOLE that a member's weight is worth now. */
uint32_t pool_ramp(const struct pool *pool, const struct pool_slot *slot, uint64_t now_ms);

/* pool_hash.c */
void pool_hash_init(uint64_t table[POOL_LOG_ENTRIES]);

/* What `source` knows a member by; `twin`: how many before it have the same address. */
uint64_t pool_hash_seed(const struct addr *address, unsigned twin);

/* A member's lot for a client: all bits equally random. */
uint64_t pool_hash_lot(uint64_t seed, uint64_t client_key);

/*
 * How far the lot is from winning: its negative binary logarithm, with 32 bits behind the point and
 * at most 2^38. Per weight, this is exponentially distributed, and the least of several belongs to
 * each in proportion to its weight. Integers only: the same on every machine.
 */
uint64_t pool_hash_distance(const uint64_t table[POOL_LOG_ENTRIES], uint64_t lot);

/* pool_sequence.c */

/* Makes a new sequence of the open members, and puts it in the place of the old one. */
void pool_sequence_make(struct pool *pool);
