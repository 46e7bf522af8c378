#include "identity/source_bucket.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"

#define REFERENCE	1
#define STATE_SHIFT	24
#define GENERATION_UNIT (UINT64_C(1) << 26)

enum source_state source_state_of(uint64_t word)
{
	return (enum source_state)(word >> STATE_SHIFT & 3);
}

uint32_t source_references_of(uint64_t word)
{
	return (uint32_t)(word & SOURCE_REFERENCES_MAX);
}

/* The next generation if `claimed`, in a state of its own. */
static uint64_t make_word(uint64_t word, bool claimed, enum source_state state, unsigned references)
{
	uint64_t generation = word & ~(GENERATION_UNIT - 1);

	if (claimed)
		generation += GENERATION_UNIT;
	return generation | (uint64_t)state << STATE_SHIFT | references;
}

static bool same_generation(uint64_t a, uint64_t b)
{
	return (a ^ b) < GENERATION_UNIT;
}

static bool is_visible(uint64_t word)
{
	return source_state_of(word) >= SOURCE_PROPOSED;
}

bool source_lease_look(const struct source_lease *lease, struct source_view *view)
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

bool source_lease_claim(struct source_lease *lease, uint64_t word)
{
	enum source_state state = source_state_of(word);

	if (source_references_of(word) || (state != SOURCE_EMPTY && state != SOURCE_GRANTED))
		return false;
	return atomic_compare_exchange_strong(&lease->word, &word,
					      make_word(word, true, SOURCE_WRITING, 0));
}

void source_lease_propose(struct source_lease *lease, struct source_view *view)
{
	uint64_t prefix[2];

	memcpy(prefix, &view->prefix, sizeof(prefix));
	view->word = atomic_load_explicit(&lease->word, memory_order_relaxed);
	CHECK(source_state_of(view->word) == SOURCE_WRITING);
	atomic_store_explicit(&lease->prefix[0], prefix[0], memory_order_release);
	atomic_store_explicit(&lease->prefix[1], prefix[1], memory_order_release);
	atomic_store_explicit(&lease->address, view->address, memory_order_release);
	atomic_store_explicit(&lease->used_s, view->used_s, memory_order_release);
	view->word = make_word(view->word, false, SOURCE_PROPOSED, REFERENCE);
	atomic_store(&lease->word, view->word);
}

static bool in_conflict(const struct source_view *a, const struct source_view *b)
{
	return a->address == b->address || !memcmp(&a->prefix, &b->prefix, sizeof(a->prefix));
}

static bool take_back(struct source_lease *lease, uint64_t word)
{
	return atomic_compare_exchange_strong(&lease->word, &word,
					      make_word(word, false, SOURCE_EMPTY, 0));
}

bool source_bucket_settle(struct source_bucket *bucket, unsigned index,
			  const struct source_view *view)
{
	uint64_t word = view->word;

	CHECK(source_state_of(word) == SOURCE_PROPOSED);
	for (unsigned i = 0; i < SOURCE_BUCKET_LEASES; i++) {
		struct source_view other;

		if (i == index || !source_lease_look(&bucket->leases[i], &other) ||
		    !in_conflict(&other, view))
			continue;
		if (source_state_of(other.word) == SOURCE_PROPOSED && index < i &&
		    take_back(&bucket->leases[i], other.word))
			continue;
		take_back(&bucket->leases[index], word);
		return false;
	}
	return atomic_compare_exchange_strong(&bucket->leases[index].word, &word,
					      make_word(word, false, SOURCE_GRANTED, REFERENCE));
}

int source_lease_join(struct source_lease *lease, uint64_t word)
{
	uint64_t seen = word;

	do {
		if (!same_generation(seen, word) || source_state_of(seen) != SOURCE_GRANTED)
			return -EAGAIN;
		CHECK(source_references_of(seen) < SOURCE_REFERENCES_MAX);
	} while (!atomic_compare_exchange_weak(&lease->word, &seen, seen + REFERENCE));
	return (int)source_references_of(seen);
}

uint32_t source_lease_leave(struct source_lease *lease)
{
	uint64_t before = atomic_fetch_sub(&lease->word, REFERENCE);

	CHECK(source_state_of(before) == SOURCE_GRANTED && source_references_of(before));
	return source_references_of(before) - REFERENCE;
}

bool source_lease_is_granted(const struct source_lease *lease, uint64_t word)
{
	uint64_t now = atomic_load(&lease->word);

	return same_generation(now, word) && source_state_of(now) == SOURCE_GRANTED;
}

void source_lease_touch(struct source_lease *lease, int32_t now_s)
{
	atomic_store_explicit(&lease->used_s, now_s, memory_order_relaxed);
}
