/* SPDX-License-Identifier: MIT */
#include "identity/lease_carry.h"

#include <errno.h>
#include <string.h>

/* A record has at most the leases of one bucket, of 32 bytes each. */
_Static_assert(LEASE_BUCKET_LEASES * 48 < CARRIER_RECORD_BYTES, "a bucket fits");

static void begin(const struct lease_pool *pool, struct carrier *carrier, enum carrier_kind kind)
{
	carrier_begin(carrier, kind);
	carrier_put_bytes(carrier, &pool->block.cidr.network, sizeof(pool->block.cidr.network));
	carrier_put(carrier, pool->block.cidr.bits);
	carrier_put(carrier, pool->client_bits);
	carrier_put_bytes(carrier, pool->block.key, sizeof(pool->block.key));
}

static void put_lease(struct carrier *carrier, const struct lease_record *lease)
{
	carrier_put_bytes(carrier, &lease->client.network, sizeof(lease->client.network));
	carrier_put(carrier, (uint64_t)(uint32_t)lease->used_s << 32 | lease->address.s_addr);
}

static void take_lease(struct carrier *carrier, struct lease_record *lease)
{
	uint64_t both;

	carrier_take_bytes(carrier, &lease->client.network, sizeof(lease->client.network));
	both = carrier_take(carrier);
	lease->used_s = (int32_t)(both >> 32);
	lease->address.s_addr = (uint32_t)both;
}

/* Moves the leases that were used since `since_s` to the front, and returns their number. */
static unsigned keep_used(struct lease_record *leases, unsigned count, int32_t since_s)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < count; i++)
		if (leases[i].used_s >= since_s)
			leases[kept++] = leases[i];
	return kept;
}

/* Whether any slot was used since; quicker than a look at each lease. */
static bool is_used(const struct lease_bucket *bucket, int32_t since_s)
{
	bool used = false;

	for (unsigned i = 0; i < LEASE_BUCKET_LEASES; i++)
		used |= atomic_load_explicit(&bucket->leases[i].used_s, memory_order_relaxed) >=
			since_s;
	return used;
}

static uint64_t count_grants(const struct lease_pool *pool)
{
	struct lease_pool_stats stats = {0};

	lease_pool_add_stats(pool, &stats);
	return stats.in_use + stats.evictions;
}

void lease_pool_write(struct lease_pool *pool, struct carrier *carrier, uint64_t since_ms)
{
	struct lease_record leases[LEASE_BUCKET_LEASES];
	int32_t since_s = since_ms ? (int32_t)(since_ms / 1000) : INT32_MIN;

	if (since_ms && count_grants(pool) == pool->written_grants)
		return;
	if (!since_ms)
		pool->written_grants = count_grants(pool);
	begin(pool, carrier, CARRIER_LEASE_POOL);
	carrier_put(carrier, !since_ms);
	carrier_end(carrier);
	for (uint32_t i = 0; i < pool->bucket_count; i++) {
		unsigned count;

		if (!is_used(&pool->buckets[i], since_s))
			continue;
		count = keep_used(leases, lease_pool_read_bucket(pool, i, leases), since_s);
		if (!count)
			continue;
		begin(pool, carrier, CARRIER_LEASE);
		carrier_put(carrier, count);
		for (unsigned j = 0; j < count; j++)
			put_lease(carrier, &leases[j]);
		carrier_end(carrier);
	}
}

void lease_pool_take_id(struct carrier *carrier, struct lease_pool_id *id)
{
	memset(id, 0, sizeof(*id));
	carrier_take_bytes(carrier, &id->block.network, sizeof(id->block.network));
	id->block.bits = (unsigned)carrier_take(carrier);
	id->client_bits = (unsigned)carrier_take(carrier);
	carrier_take_bytes(carrier, id->key, sizeof(id->key));
}

bool lease_pool_is(const struct lease_pool *pool, const struct lease_pool_id *id)
{
	return cidr_equal(&pool->block.cidr, &id->block) && pool->client_bits == id->client_bits;
}

static int read_leases(struct lease_pool *pool, struct carrier *carrier)
{
	uint64_t count = carrier_take(carrier);
	struct lease_record lease = {0};

	while (count-- && carrier_is_whole(carrier)) {
		take_lease(carrier, &lease);
		if (carrier_is_whole(carrier))
			(void)lease_pool_adopt(pool, &lease, false);
	}
	return carrier_is_whole(carrier) ? 0 : -EBADMSG;
}

int lease_pool_read(struct lease_pool *pool, const struct lease_pool_id *id,
		    struct carrier *carrier, enum carrier_kind kind)
{
	bool all;

	if (kind == CARRIER_LEASE)
		return read_leases(pool, carrier);
	all = carrier_take(carrier) != 0;
	if (!carrier_is_whole(carrier))
		return -EBADMSG;
	if (all)
		lease_pool_reset(pool, id->key);
	return 0;
}
