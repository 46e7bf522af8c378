/*
 * A bucket of leases that many threads change at once, without locks: the steps, and why they are
 * right. lease_pool.c puts the steps together.
 *
 * A lease binds a client's prefix to an address. Two leases conflict when they have the prefix or
 * the address in common. Leases that can ever conflict are in the same bucket (lease_block.h).
 *
 * The word of a lease says it all: how many sessions refer to it, its state, and its generation,
 * which counts how often the place was taken.
 *
 *	EMPTY	  nobody's. claim -> WRITING
 *	WRITING	  its claimant alone writes prefix and address, and nobody reads them.
 *		  propose -> PROPOSED
 *	PROPOSED  prefix and address are fixed; it counts only once granted. settle -> GRANTED, or
 *		  -> EMPTY; by any thread
 *	GRANTED	  a lease. Without references it may be claimed -> WRITING
 *
 * What holds, whoever runs when, and however long a thread sleeps between two instructions:
 *
 * 1. A word never has the same generation and state twice, unless GRANTED with other references:
 *    every claim counts the generation up, and within one the states only advance. (It has 38 bits:
 *    at a claim each 100 ns, a thread would have to sleep for 7 hours, to the claim.) So a
 *    compare-and-swap that expects a word acts on the very lease that was looked at.
 *
 * 2. Prefix and address that were read between two looks at a word, both of the same generation and
 *    both PROPOSED or GRANTED, are that lease's: they are written in WRITING only. The writes are
 *    releases that follow the claim and the reads are acquires, so a read that sees a later claim's
 *    write makes the second look see that claim.
 *
 * 3. Of two leases in conflict at most one is GRANTED at any time. Let X have been proposed before
 *    Y, in the one order that all these operations on words have (they are sequentially consistent).
 *    Whoever grants Y has seen it PROPOSED, and after that has looked at X: it has found X
 *    proposed or in a later state of the same generation, or gone.
 *	- PROPOSED: it takes X back, or does not grant Y. Taking back and granting X are
 *	  compare-and-swaps that expect the same word, so once one succeeds the other never does.
 *	- GRANTED: it does not grant Y.
 *	- gone, before the look or between its two halves: X does not come back (1). What is in its
 *	  place then is looked at instead, or was proposed after Y, and meets Y when it is settled.
 *    So X was gone when Y was granted.
 *
 * 4. A reference keeps a lease: claim expects a word without any. A proposal holds one for its
 *    proposer from the beginning, so what others granted on its behalf is still there when it looks.
 *
 * 5. Nobody waits. A thread that sleeps in WRITING costs one place; one that sleeps in PROPOSED is
 *    helped by those who want the prefix, and passed over by those who want the address. Of two
 *    proposals in conflict the one in the lower place stays and the other is taken back, so they do
 *    not take each other back for ever: each round that fails has let another client, or a lower
 *    place, through.
 */
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LEASE_BUCKET_LEASES  64
#define LEASE_REFERENCES_MAX ((1U << 24) - 1)

enum lease_stage { LEASE_EMPTY, LEASE_WRITING, LEASE_PROPOSED, LEASE_GRANTED };

struct lease {
	_Atomic uint64_t word;	    /* references: 24 bits, state: 2, generation: 38 */
	_Atomic uint64_t prefix[2]; /* the bytes of an IPv6 address as they are */
	_Atomic uint32_t address;   /* host byte order */
	_Atomic int32_t used_s;	    /* when it was last acquired or released */
};

/* Zeroed is empty. */
struct lease_bucket {
	struct lease leases[LEASE_BUCKET_LEASES];
};

/* What a look at a lease has shown. */
struct lease_view {
	uint64_t word;
	struct in6_addr prefix;
	uint32_t address;
	int32_t used_s;
};

enum lease_stage lease_stage_of(uint64_t word);
uint32_t lease_references_of(uint64_t word);

/*
 * Looks at a lease. Returns whether it is PROPOSED or GRANTED; then `view` was true of it at one
 * moment (`used_s` at another). Otherwise only `view->word` is set.
 */
bool lease_look(const struct lease *lease, struct lease_view *view);

/*
 * Takes a place, seen as `word`, for writing: one that was EMPTY, or GRANTED without references.
 * Returns false when it has changed since, and when it was neither.
 */
bool lease_claim(struct lease *lease, uint64_t word);

/*
 * After lease_claim(): writes and proposes the lease of `view`, all of it but the word, with
 * one reference. `view->word` becomes the lease's.
 */
void lease_propose(struct lease *lease, struct lease_view *view);

/*
 * Decides about a lease seen PROPOSED as `view`, in place `index`. Returns whether this call granted
 * it; false says no more than that it is no longer PROPOSED.
 */
bool lease_bucket_settle(struct lease_bucket *bucket, unsigned index,
			 const struct lease_view *view);

/*
 * Adds a reference to a lease that was seen GRANTED as `word`. Returns how many it had before, or
 * -EAGAIN when it is a lease no more. CHECKs that there are fewer than LEASE_REFERENCES_MAX.
 */
int lease_join(struct lease *lease, uint64_t word);

/* Gives a reference back, which the caller has; returns how many are left. */
uint32_t lease_leave(struct lease *lease);

/* Whether the lease seen as `word` is GRANTED now; whoever holds a reference may rely on it. */
bool lease_is_granted(const struct lease *lease, uint64_t word);

/* The time of last use; only with a reference. */
void lease_touch(struct lease *lease, int32_t now_s);
