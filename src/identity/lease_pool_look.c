/* SPDX-License-Identifier: MIT */
/* Questions about a pool as a whole: lease_pool.h. */
#include <string.h>

#include "base/check.h"
#include "identity/lease_pool.h"

void lease_pool_add_stats(const struct lease_pool *pool, struct lease_pool_stats *sum)
{
	const struct lease_counters *counters = &pool->counters;
	int64_t in_use = atomic_load_explicit(&counters->in_use, memory_order_relaxed);
	int64_t live = atomic_load_explicit(&counters->live, memory_order_relaxed);

	sum->in_use += (uint64_t)MAX(in_use, 0);
	sum->live += (uint64_t)MAX(live, 0);
	sum->collisions += atomic_load_explicit(&counters->collisions, memory_order_relaxed);
	sum->evictions += atomic_load_explicit(&counters->evictions, memory_order_relaxed);
	sum->exhausted += atomic_load_explicit(&counters->exhausted, memory_order_relaxed);
}

/* Drops records that `view` has replaced: those of the same address or prefix. */
static unsigned drop_replaced(struct lease_record *records, unsigned count,
			      const struct lease_view *view)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < count; i++)
		if (records[i].address.s_addr != htonl(view->address) &&
		    memcmp(&records[i].client.network, &view->prefix, sizeof(view->prefix)) != 0)
			records[kept++] = records[i];
	return kept;
}

unsigned lease_pool_read_bucket(const struct lease_pool *pool, uint32_t index,
				struct lease_record records[LEASE_BUCKET_LEASES])
{
	unsigned count = 0;

	CHECK(index < pool->bucket_count);
	for (unsigned i = 0; i < LEASE_BUCKET_LEASES; i++) {
		struct lease_view view;

		if (!lease_look(&pool->buckets[index].leases[i], &view) ||
		    lease_stage_of(view.word) != LEASE_GRANTED)
			continue;
		count = drop_replaced(records, count, &view);
		records[count++] =
			(struct lease_record){cidr_client_of(&view.prefix, pool->client_bits),
					      {htonl(view.address)},
					      view.used_s};
	}
	return count;
}
