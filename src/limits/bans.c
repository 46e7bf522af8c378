/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The writer has a plain list of bans. The readers have a hash table of 64-bit
 * fingerprints, open addressed, with the time of expiry of each; and the set of prefix lengths in
 * use, each of which costs one look-up.
 *
 * A fingerprint is a hash of the block with a random key. Two blocks have the same fingerprint by
 * chance alone, one in 2^64 for each comparison. So the block itself is not compared: it could not
 * be read in one piece.
 *
 * A look-up begins at the slot that the fingerprint names and goes `reach` slots further: as far as
 * any ban was put from its own slot since the table was last empty. So a slot can be emptied
 * without moving other bans, and no reader can miss a ban that stays. A quarter of the slots are
 * used at most, so the reach is short.
 */
#include "limits/bans.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/siphash.h"
#include "base/util.h"

#define SLOT_COUNT   (4 * BANS_LIMIT)
#define LENGTH_COUNT 129 /* prefixes of 0 to 128 bits */
#define LENGTH_WORDS 3

struct bans {
	/* read by all threads, changed rarely */
	_Atomic uint32_t count;
	_Atomic uint32_t reach;
	_Atomic uint64_t lengths[LENGTH_WORDS]; /* a bit for each length in use */
	uint8_t key[SIPHASH_KEY_BYTES];
	_Atomic uint64_t fingerprints[SLOT_COUNT]; /* 0: free */
	_Atomic uint64_t expires_ms[SLOT_COUNT];

	/* for the writer alone */
	struct ban list[BANS_LIMIT];
	uint32_t length_uses[LENGTH_COUNT];
};

_Static_assert((SLOT_COUNT & (SLOT_COUNT - 1)) == 0, "a mask finds the slot");

int bans_create(struct bans **bans)
{
	/* zeroed by the kernel: memory becomes resident as it is used */
	struct bans *made = calloc(1, sizeof(*made));

	if (!made)
		return -ENOMEM;
	if (getrandom(made->key, sizeof(made->key), 0) != (ssize_t)sizeof(made->key)) {
		int error = -errno;

		free(made);
		return error;
	}
	*bans = made;
	return 0;
}

void bans_destroy(struct bans *bans)
{
	free(bans);
}

static uint64_t fingerprint_of(const struct bans *bans, const struct in6_addr *network,
			       unsigned bits)
{
	uint8_t block[sizeof(*network) + 1];
	uint64_t hash;

	memcpy(block, network, sizeof(*network));
	block[sizeof(*network)] = (uint8_t)bits;
	hash = siphash24(bans->key, block, sizeof(block));
	return hash ? hash : 1;
}

static uint32_t slot_at(uint64_t fingerprint, uint32_t distance)
{
	return (uint32_t)(fingerprint + distance) & (SLOT_COUNT - 1);
}

/* Asking --------------------------------------------------------------------------------------- */

static bool is_live(const struct bans *bans, uint32_t slot, uint64_t fingerprint, uint64_t now_ms)
{
	uint64_t expires_ms = atomic_load_explicit(&bans->expires_ms[slot], memory_order_acquire);

	/* the time belongs to this ban only if the slot still does: see put() */
	return now_ms < expires_ms &&
	       atomic_load_explicit(&bans->fingerprints[slot], memory_order_relaxed) == fingerprint;
}

static bool is_banned(const struct bans *bans, const struct in6_addr *client, unsigned bits,
		      uint64_t now_ms)
{
	struct in6_addr network = cidr_mask(client, bits);
	uint64_t fingerprint = fingerprint_of(bans, &network, bits);
	uint32_t reach = atomic_load_explicit(&bans->reach, memory_order_acquire);

	for (uint32_t distance = 0; distance <= reach; distance++) {
		uint32_t slot = slot_at(fingerprint, distance);

		if (atomic_load_explicit(&bans->fingerprints[slot], memory_order_acquire) ==
		    fingerprint)
			return is_live(bans, slot, fingerprint, now_ms);
	}
	return false;
}

bool bans_contains(const struct bans *bans, const struct in6_addr *client, uint64_t now_ms)
{
	if (!atomic_load_explicit(&bans->count, memory_order_relaxed))
		return false;
	for (unsigned i = 0; i < LENGTH_WORDS; i++) {
		uint64_t left = atomic_load_explicit(&bans->lengths[i], memory_order_acquire);

		for (; left; left &= left - 1)
			if (is_banned(bans, client, i * 64 + (unsigned)__builtin_ctzll(left),
				      now_ms))
				return true;
	}
	return false;
}

uint32_t bans_count(const struct bans *bans)
{
	return atomic_load_explicit(&bans->count, memory_order_relaxed);
}

/* Writing -------------------------------------------------------------------------------------- */

/* The position in the list of the ban of this block; bans_count() where there is none. */
static uint32_t index_of(const struct bans *bans, const struct cidr *client)
{
	uint32_t index = 0;

	while (index < bans_count(bans) && !cidr_equal(&bans->list[index].client, client))
		index++;
	return index;
}

static void set_expiry(struct bans *bans, const struct ban *ban)
{
	atomic_store_explicit(&bans->expires_ms[ban->slot], ban->expires_ms, memory_order_release);
}

/*
 * Shows a ban to the readers. The time is stored before the fingerprint. So a reader that sees the
 * fingerprint sees this time or a later one. And a reader that sees this time while it looks at a
 * former ban of the slot no longer finds the former fingerprint.
 */
static void put(struct bans *bans, struct ban *ban)
{
	uint64_t fingerprint = fingerprint_of(bans, &ban->client.network, ban->client.bits);
	uint32_t distance = 0;

	while (atomic_load_explicit(&bans->fingerprints[slot_at(fingerprint, distance)],
				    memory_order_relaxed))
		distance++;
	ban->slot = slot_at(fingerprint, distance);
	if (distance > atomic_load_explicit(&bans->reach, memory_order_relaxed))
		atomic_store_explicit(&bans->reach, distance, memory_order_release);
	set_expiry(bans, ban);
	atomic_store_explicit(&bans->fingerprints[ban->slot], fingerprint, memory_order_release);
}

static void count_length(struct bans *bans, unsigned bits, int change)
{
	_Atomic uint64_t *word = &bans->lengths[bits / 64];
	uint64_t set = atomic_load_explicit(word, memory_order_relaxed) & ~(1ULL << bits % 64);

	bans->length_uses[bits] += (uint32_t)change;
	if (bans->length_uses[bits])
		set |= 1ULL << bits % 64;
	atomic_store_explicit(word, set, memory_order_release);
}

/* Adds a ban of a block that is not banned; there must be room. */
static struct ban *append(struct bans *bans, const struct ban *wanted)
{
	uint32_t count = bans_count(bans);
	struct ban *ban = &bans->list[count];

	*ban = *wanted;
	put(bans, ban);
	count_length(bans, ban->client.bits, 1);
	atomic_store_explicit(&bans->count, count + 1, memory_order_release);
	return ban;
}

const struct ban *bans_add(struct bans *bans, const struct cidr *client, const char *given,
			   uint64_t now_ms, uint64_t expires_ms)
{
	const struct ban wanted = {.client = *client, .since_ms = now_ms, .expires_ms = expires_ms};
	uint32_t count = bans_count(bans);
	uint32_t index = index_of(bans, client);
	struct ban *ban = &bans->list[index];

	if (index < count) {
		ban->expires_ms = MAX(ban->expires_ms, expires_ms);
		set_expiry(bans, ban);
	} else if (count < BANS_LIMIT) {
		ban = append(bans, &wanted);
	} else {
		return NULL;
	}
	snprintf(ban->given, sizeof(ban->given), "%s", given);
	return ban;
}

static void take_out(struct bans *bans, struct ban *ban)
{
	uint32_t left = bans_count(bans) - 1;

	atomic_store_explicit(&bans->fingerprints[ban->slot], 0, memory_order_release);
	count_length(bans, ban->client.bits, -1);
	atomic_store_explicit(&bans->count, left, memory_order_release);
	if (!left)
		atomic_store_explicit(&bans->reach, 0, memory_order_release);
	*ban = bans->list[left];
}

bool bans_remove(struct bans *bans, const struct cidr *client)
{
	uint32_t index = index_of(bans, client);

	if (index == bans_count(bans))
		return false;
	take_out(bans, &bans->list[index]);
	return true;
}

bool bans_take_expired(struct bans *bans, uint64_t now_ms, struct ban *expired)
{
	for (uint32_t i = 0; i < bans_count(bans); i++) {
		if (now_ms < bans->list[i].expires_ms)
			continue;
		*expired = bans->list[i];
		take_out(bans, &bans->list[i]);
		return true;
	}
	return false;
}

uint64_t bans_next_expiry_ms(const struct bans *bans)
{
	uint64_t next_ms = BANS_NEVER;

	for (uint32_t i = 0; i < bans_count(bans); i++)
		next_ms = MIN(next_ms, bans->list[i].expires_ms);
	return next_ms;
}

const struct ban *bans_list(const struct bans *bans, unsigned *count)
{
	*count = bans_count(bans);
	return bans->list;
}

const struct ban *bans_find(const struct bans *bans, const struct cidr *client)
{
	uint32_t index = index_of(bans, client);

	return index < bans_count(bans) ? &bans->list[index] : NULL;
}

const struct ban *bans_find_given(const struct bans *bans, const char *given)
{
	for (uint32_t i = 0; i < bans_count(bans); i++)
		if (!strcmp(bans->list[i].given, given))
			return &bans->list[i];
	return NULL;
}

const struct ban *bans_find_covering(const struct bans *bans, const struct cidr *client)
{
	for (uint32_t i = 0; i < bans_count(bans); i++)
		if (bans->list[i].client.bits <= client->bits &&
		    cidr_contains(&bans->list[i].client, &client->network))
			return &bans->list[i];
	return NULL;
}

/* Takeover ------------------------------------------------------------------------------------- */

void bans_write(const struct bans *bans, struct carrier *carrier)
{
	for (uint32_t i = 0; i < bans_count(bans); i++) {
		const struct ban *ban = &bans->list[i];

		carrier_begin(carrier, CARRIER_BAN);
		carrier_put_bytes(carrier, &ban->client.network, sizeof(ban->client.network));
		carrier_put(carrier, ban->client.bits);
		carrier_put(carrier, ban->since_ms);
		carrier_put(carrier, ban->expires_ms);
		carrier_put_text(carrier, ban->given);
		carrier_end(carrier);
	}
}

int bans_read(struct bans *bans, struct carrier *carrier)
{
	struct ban ban = {0};

	carrier_take_bytes(carrier, &ban.client.network, sizeof(ban.client.network));
	ban.client.bits = (unsigned)carrier_take(carrier);
	ban.since_ms = carrier_take(carrier);
	ban.expires_ms = carrier_take(carrier);
	(void)carrier_take_text(carrier, ban.given, sizeof(ban.given));
	if (!carrier_is_whole(carrier) || ban.client.bits > 128)
		return -EBADMSG;
	if (bans_count(bans) == BANS_LIMIT)
		return -ENOSPC;
	(void)append(bans, &ban);
	return 0;
}
