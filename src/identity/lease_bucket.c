/* SPDX-License-Identifier: MIT */
#include "identity/lease_bucket.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"

#define REFERENCE	1
#define STAGE_SHIFT	24
#define GENERATION_UNIT (UINT64_C(1) << 26)

enum lease_stage lease_stage_of(uint64_t word)
{
	return (enum lease_stage)(word >> STAGE_SHIFT & 3);
}

uint32_t lease_references_of(uint64_t word)
{
	return (uint32_t)(word & LEASE_REFERENCES_MAX);
}

/* A word of the same generation, or of the next one if `claimed`. */
static uint64_t make_word(uint64_t word, bool claimed, enum lease_stage stage, unsigned references)
{
	uint64_t generation = word & ~(GENERATION_UNIT - 1);

	if (claimed)
		generation += GENERATION_UNIT;
	return generation | (uint64_t)stage << STAGE_SHIFT | references;
}

static bool same_generation(uint64_t a, uint64_t b)
{
	return (a ^ b) < GENERATION_UNIT;
}

static bool is_visible(uint64_t word)
{
	return lease_stage_of(word) >= LEASE_PROPOSED;
}

bool lease_look(const struct lease *lease, struct lease_view *view)
{
	uint64_t prefix[2], again;

	view->word = atomic_load(&lease->word);
	if (!is_visible(view->word))
		return false;
	prefix[0] = atomic_load_explicit(&lease->prefix[0], memory_order_acquire);
	prefix[1] = atomic_load_explicit(&lease->prefix[1], memory_order_acquire);
	view->address = atomic_load_explicit(&lease->address, memory_order_acquire);
	view->used_s = atomic_load_explicit(&lease->used_s, memory_order_acquire);
	memcpy(&view->prefix, prefix, sizeof(prefix));
	again = atomic_load(&lease->word);
	return same_generation(again, view->word) && is_visible(again);
}

bool lease_claim(struct lease *lease, uint64_t word)
{
	enum lease_stage stage = lease_stage_of(word);

	if (lease_references_of(word) || (stage != LEASE_EMPTY && stage != LEASE_GRANTED))
		return false;
	return atomic_compare_exchange_strong(&lease->word, &word,
					      make_word(word, true, LEASE_WRITING, 0));
}

bool lease_drop(struct lease *lease, uint64_t word)
{
	if (!lease_claim(lease, word))
		return false;
	atomic_store(&lease->word, make_word(word, true, LEASE_EMPTY, 0));
	return true;
}

void lease_propose(struct lease *lease, struct lease_view *view)
{
	uint64_t prefix[2];

	memcpy(prefix, &view->prefix, sizeof(prefix));
	view->word = atomic_load_explicit(&lease->word, memory_order_relaxed);
	CHECK(lease_stage_of(view->word) == LEASE_WRITING);
	atomic_store_explicit(&lease->prefix[0], prefix[0], memory_order_release);
	atomic_store_explicit(&lease->prefix[1], prefix[1], memory_order_release);
	atomic_store_explicit(&lease->address, view->address, memory_order_release);
	atomic_store_explicit(&lease->used_s, view->used_s, memory_order_release);
	view->word = make_word(view->word, false, LEASE_PROPOSED, REFERENCE);
	atomic_store(&lease->word, view->word);
}

static bool in_conflict(const struct lease_view *a, const struct lease_view *b)
{
	return a->address == b->address || !memcmp(&a->prefix, &b->prefix, sizeof(a->prefix));
}

static bool take_back(struct lease *lease, uint64_t word)
{
	return atomic_compare_exchange_strong(&lease->word, &word,
					      make_word(word, false, LEASE_EMPTY, 0));
}

bool lease_bucket_settle(struct lease_bucket *bucket, unsigned index, const struct lease_view *view)
{
	uint64_t word = view->word;

	CHECK(lease_stage_of(word) == LEASE_PROPOSED);
	for (unsigned i = 0; i < LEASE_BUCKET_LEASES; i++) {
		struct lease_view other;

		if (i == index || !lease_look(&bucket->leases[i], &other) ||
		    !in_conflict(&other, view))
			continue;
		if (lease_stage_of(other.word) == LEASE_PROPOSED && index < i &&
		    take_back(&bucket->leases[i], other.word))
			continue;
		take_back(&bucket->leases[index], word);
		return false;
	}
	return atomic_compare_exchange_strong(&bucket->leases[index].word, &word,
					      make_word(word, false, LEASE_GRANTED, REFERENCE));
}

int lease_join(struct lease *lease, uint64_t word)
{
	uint64_t seen = word;

	do {
		if (!same_generation(seen, word) || lease_stage_of(seen) != LEASE_GRANTED)
			return -EAGAIN;
		CHECK(lease_references_of(seen) < LEASE_REFERENCES_MAX);
	} while (!atomic_compare_exchange_weak(&lease->word, &seen, seen + REFERENCE));
	return (int)lease_references_of(seen);
}

uint32_t lease_leave(struct lease *lease)
{
	uint64_t before = atomic_fetch_sub(&lease->word, REFERENCE);

	CHECK(lease_stage_of(before) == LEASE_GRANTED && lease_references_of(before));
	return lease_references_of(before) - REFERENCE;
}

bool lease_is_granted(const struct lease *lease, uint64_t word)
{
	uint64_t now = atomic_load(&lease->word);

	return same_generation(now, word) && lease_stage_of(now) == LEASE_GRANTED;
}

void lease_touch(struct lease *lease, int32_t now_s)
{
	atomic_store_explicit(&lease->used_s, now_s, memory_order_relaxed);
}
