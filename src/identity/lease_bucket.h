/* SPDX-License-Identifier: MIT */
/*
 * A bucket of leases that many threads change at once, without locks. This file has the single
 * steps and the reason why they are correct; lease_pool.c puts the steps together.
 *
 * A lease binds a client's prefix to an address. Two leases conflict if they have the same prefix
 * or the same address. Leases that can ever conflict are in the same bucket (lease_block.h).
 *
 * A bucket is an array of slots. Each slot has a 64-bit word with three parts: the number of
 * references (sessions that use the lease), the stage, and the generation, which counts how often
 * the slot was claimed. All steps are atomic operations on this word.
 *
 *	EMPTY	  no lease. lease_claim() -> WRITING
 *	WRITING	  only the thread that claimed the slot writes prefix and address; no thread reads
 *		  them. lease_propose() -> PROPOSED, lease_drop() -> EMPTY
 *	PROPOSED  prefix and address are fixed, but the lease does not count yet. Any thread may
 *		  decide by lease_bucket_settle() -> GRANTED, or -> EMPTY
 *	GRANTED	  the lease counts. Without references: lease_claim() -> WRITING
 *
 * The following holds in any order of execution, even if a thread sleeps for long between two
 * instructions.
 *
 * 1. No value of a word comes back, except that the references of a GRANTED lease go up and down.
 *    Every claim increments the generation, and within a generation the stages only advance. So if
 *    a compare-and-swap succeeds, it changes the same lease that the thread looked at before. (The
 *    generation has 38 bits. With a claim every 100 ns, a thread would have to sleep for exactly 7
 *    hours to see the same generation again.)
 *
 * 2. A look (lease_look()) reads the word, then prefix and address, then the word again. If both
 *    words have the same generation and a stage of PROPOSED or GRANTED, then prefix and address
 *    belong to that lease. Reason: prefix and address are written only in WRITING. These writes are
 *    releases that follow the claim, and the reads are acquires. So if a read returns a value that
 *    was written after a later claim, the second read of the word returns the generation of that
 *    claim.
 *
 * 3. Of two leases that conflict, at most one is GRANTED at any time. All operations on words are
 *    sequentially consistent, so they have one order. Let X be proposed before Y in that order. The
 *    thread that grants Y has first seen Y PROPOSED and then looked at X. It has found one of
 *    these:
 *	- X is PROPOSED. Then the thread takes X back (X -> EMPTY), or it does not grant Y. Taking
 *	  X back and granting X are compare-and-swaps that expect the same word, so only one of
 *	  the two can succeed.
 *	- X is GRANTED. Then the thread does not grant Y.
 *	- X is gone, or goes during the look. By 1, X does not come back. If its slot has a new
 *	  lease, the thread either looks at that lease instead, or the new lease was proposed after
 *	  Y. In the second case the thread that settles the new lease finds Y.
 *    So X is not GRANTED when Y becomes GRANTED.
 *
 * 4. A reference keeps a lease, because lease_claim() expects a word without references. A proposal
 *    starts with one reference, which belongs to its proposer. So if another thread grants the
 *    lease, the proposer still finds the lease there.
 *
 * 5. No thread waits for another. If a thread sleeps while its slot is WRITING, one slot is out of
 *    use. If a thread sleeps while its slot is PROPOSED, threads that need the same prefix settle
 *    the proposal, and threads that need the same address choose another address. If two proposals
 *    conflict, the one in the slot with the lower index stays and the other is taken back. So two
 *    proposals do not take each other back again and again: whenever an attempt fails, a lease of
 *    another client or a proposal in a lower slot has succeeded.
 */
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LEASE_BUCKET_LEASES  64
#define LEASE_REFERENCES_MAX ((1U << 24) - 1)

enum lease_stage { LEASE_EMPTY, LEASE_WRITING, LEASE_PROPOSED, LEASE_GRANTED };

/* A slot of a bucket. */
struct lease {
	_Atomic uint64_t word;	    /* references: 24 bits, stage: 2, generation: 38 */
	_Atomic uint64_t prefix[2]; /* the bytes of an IPv6 address, unchanged */
	_Atomic uint32_t address;   /* host byte order */
	_Atomic int32_t used_s;	    /* time of the last acquire or release */
};

/* A zeroed bucket is empty. */
struct lease_bucket {
	struct lease leases[LEASE_BUCKET_LEASES];
};

/* The result of a look at a lease. */
struct lease_view {
	uint64_t word;
	struct in6_addr prefix;
	uint32_t address;
	int32_t used_s;
};

enum lease_stage lease_stage_of(uint64_t word);
uint32_t lease_references_of(uint64_t word);

/*
 * Looks at a lease. Returns whether the lease is PROPOSED or GRANTED. If so, all fields of `view`
 * but `used_s` were true at the same moment. Otherwise only `view->word` is set.
 */
bool lease_look(const struct lease *lease, struct lease_view *view);

/*
 * Claims a slot that was seen as `word` for writing. Returns false if the slot was neither EMPTY
 * nor GRANTED without references, or if its word has changed since.
 */
bool lease_claim(struct lease *lease, uint64_t word);

/*
 * Ends a lease that was seen as `word`. Returns false, and does nothing, where lease_claim() would.
 */
bool lease_drop(struct lease *lease, uint64_t word);

/*
 * After lease_claim(): writes prefix, address and time of `view` into the slot and proposes the
 * lease, with one reference. Sets `view->word` to the word of the proposal.
 */
void lease_propose(struct lease *lease, struct lease_view *view);

/*
 * Decides about the lease in slot `index` that was seen PROPOSED as `view`. Returns true if this
 * call granted the lease. False only means that the lease is not PROPOSED any more.
 */
bool lease_bucket_settle(struct lease_bucket *bucket, unsigned index,
			 const struct lease_view *view);

/*
 * Adds a reference to a lease that was seen GRANTED as `word`. Returns the number of references
 * before, or -EAGAIN if the lease has ended. CHECKs that there are fewer than LEASE_REFERENCES_MAX.
 */
int lease_join(struct lease *lease, uint64_t word);

/* Gives back a reference of the caller. Returns the number of references that are left. */
uint32_t lease_leave(struct lease *lease);

/*
 * Whether the lease that was seen as `word` is GRANTED now. If the caller holds a reference, the
 * lease stays GRANTED until the caller gives the reference back.
 */
bool lease_is_granted(const struct lease *lease, uint64_t word);

/* Sets the time of the last use. The caller must hold a reference. */
void lease_touch(struct lease *lease, int32_t now_s);
