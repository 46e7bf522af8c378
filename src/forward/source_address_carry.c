/* SPDX-License-Identifier: MIT */
#include "forward/source_address_carry.h"

#include <errno.h>
#include <string.h>

#include "forward/source_address_private.h"
#include "identity/lease_carry.h"

void source_addresses_write(const struct source_addresses *sources, struct carrier *carrier,
			    uint64_t since_ms)
{
	for (unsigned i = 0; i < sources->count; i++)
		if (sources->list[i].owns_pool)
			lease_pool_write(sources->list[i].pool, carrier, since_ms);
}

/* The pool of that block, if it has the key or may take it over; or NULL. */
static struct lease_pool *find_pool(const struct source_addresses *sources,
				    const struct lease_pool_id *id)
{
	for (unsigned i = 0; i < sources->count; i++) {
		const struct source_address *source = &sources->list[i];

		if (source->owns_pool && lease_pool_is(source->pool, id) &&
		    (!source->forward->options.pseudo_key ||
		     !memcmp(source->pool->block.key, id->key, sizeof(id->key))))
			return source->pool;
	}
	return NULL;
}

int source_addresses_read(struct source_addresses *sources, struct carrier *carrier,
			  enum carrier_kind kind)
{
	struct lease_pool_id id;
	struct lease_pool *pool;

	lease_pool_take_id(carrier, &id);
	if (!carrier_is_whole(carrier))
		return -EBADMSG;
	pool = find_pool(sources, &id);
	return pool ? lease_pool_read(pool, &id, carrier, kind) : 0;
}

bool source_address_resume(struct source_address *source, const struct addr *client,
			   const struct addr *address, uint64_t now_ms)
{
	struct lease_record lease = {.used_s = (int32_t)(now_ms / 1000)};

	if (!source->pool || address->any.sa_family != AF_INET)
		return false;
	lease.client.network = cidr_address_of(client);
	lease.address = address->v4.sin_addr;
	return lease_pool_adopt(source->pool, &lease, true);
}
