/* SPDX-License-Identifier: MIT */
#include "forward/upstream_carry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "forward/upstream_private.h"
#include "os/timer.h"
#include "pool/pool_carry.h"

static bool is_open(const struct pool_snapshot *member)
{
	return member->state != POOL_EMPTY && member->state != POOL_DRAINING;
}

static bool has_name(const struct upstream *upstream, const struct pool_snapshot *member,
		     const char *name)
{
	return !strcasecmp(upstream_configured(upstream, member->group)->name, name);
}

/* Writing -------------------------------------------------------------------------------------- */

/* How many open members before this one have the same address and name. */
static unsigned count_twins(const struct upstream *upstream, unsigned member)
{
	struct pool_snapshot own, other;
	unsigned count = 0;

	pool_snapshot(upstream->pool, member, 0, &own);
	for (unsigned i = 0; i < member; i++) {
		pool_snapshot(upstream->pool, i, 0, &other);
		count += is_open(&other) && addr_equal(&other.address, &own.address) &&
			 has_name(upstream, &other, upstream_configured(upstream, own.group)->name);
	}
	return count;
}

/* What an administrator has changed. */
static void write_changes(const struct config_backend *backend, const struct pool_snapshot *now,
			  struct carrier *carrier)
{
	carrier_put(carrier, now->weight != backend->weight);
	carrier_put(carrier, now->weight);
	carrier_put(carrier, now->maxconn != backend->maxconn);
	carrier_put(carrier, now->maxconn);
	carrier_put(carrier, now->order);
}

static void write_member(const struct upstream *upstream, unsigned member,
			 const struct pool_snapshot *now, struct carrier *carrier)
{
	const struct config_backend *backend = upstream_configured(upstream, now->group);

	carrier_begin(carrier, CARRIER_MEMBER);
	carrier_put_text(carrier, upstream->config->name);
	carrier_put(carrier, member);
	carrier_put(carrier, is_open(now));
	carrier_put(carrier, count_twins(upstream, member));
	carrier_put_text(carrier, backend->name);
	carrier_put_addr(carrier, &now->address);
	carrier_put(carrier, backend->send_proxy);
	carrier_put(carrier, backend->fastopen);
	pool_write_member(upstream->pool, member, carrier);
	write_changes(backend, now, carrier);
	carrier_end(carrier);
}

void upstream_write(const struct upstream *upstream, struct carrier *carrier)
{
	struct pool_snapshot now;

	carrier_begin(carrier, CARRIER_FORWARD);
	carrier_put_text(carrier, upstream->config->name);
	pool_write(upstream->pool, carrier);
	carrier_end(carrier);
	for (unsigned i = 0; i < pool_slot_count(upstream->pool); i++) {
		pool_snapshot(upstream->pool, i, 0, &now);
		if (now.state != POOL_EMPTY)
			write_member(upstream, i, &now, carrier);
	}
}

void upstream_write_claim(const struct upstream_claim *claim, struct carrier *carrier)
{
	carrier_put(carrier, claim->stage);
	carrier_put(carrier, claim->choices);
	carrier_put(carrier, claim->member.held);
	carrier_put(carrier, claim->member.member);
	carrier_put(carrier, claim->member.probe);
}

/* Reading -------------------------------------------------------------------------------------- */

int upstream_read_forward(struct upstream *upstream, struct carrier *carrier)
{
	pool_read(upstream->pool, carrier);
	return carrier_is_whole(carrier) ? 0 : -EBADMSG;
}

/*
 * The open member with the address and name of an arrival, and as many twins before it if there are
 * so many; or else the first member with the address; or -1.
 */
static int find_member(const struct upstream *upstream, const struct upstream_arrival *arrival,
		       unsigned twin)
{
	int same = -1, similar = -1;
	struct pool_snapshot now;
	unsigned seen = 0;

	for (unsigned i = 0; i < pool_slot_count(upstream->pool); i++) {
		pool_snapshot(upstream->pool, i, 0, &now);
		if (!is_open(&now) || !addr_equal(&now.address, &arrival->backend.addr))
			continue;
		if (similar < 0)
			similar = (int)i;
		if (seen <= twin && has_name(upstream, &now, arrival->backend.name)) {
			same = (int)i;
			seen++;
		}
	}
	return same >= 0 ? same : similar;
}

static void read_changes(struct upstream *upstream, unsigned member, struct carrier *carrier)
{
	bool weighed = carrier_take(carrier) != 0;
	uint64_t weight = carrier_take(carrier);
	bool limited = carrier_take(carrier) != 0;
	uint64_t maxconn = carrier_take(carrier);
	uint64_t order = carrier_take(carrier);

	if (!carrier_is_whole(carrier))
		return;
	if (weighed && weight <= POOL_WEIGHT_LIMIT)
		upstream_set_weight(upstream, member, (unsigned)weight);
	if (limited && maxconn <= POOL_LIVE_LIMIT)
		upstream_set_maxconn(upstream, member, (unsigned)maxconn);
	if (order && order <= POOL_ORDER_DOWN)
		upstream_set_order(upstream, member, (enum pool_order)order);
}

int upstream_read_member(struct upstream *upstream, struct carrier *carrier, bool keep_changes)
{
	struct upstream_arrival *arrival;
	uint64_t index = carrier_take(carrier);
	bool open = carrier_take(carrier) != 0;
	unsigned twin = (unsigned)carrier_take(carrier);
	struct config_backend *backend;

	if (index >= POOL_MEMBERS_LIMIT)
		return -EBADMSG;
	if (!upstream->arrivals)
		upstream->arrivals = calloc(POOL_MEMBERS_LIMIT, sizeof(*upstream->arrivals));
	if (!upstream->arrivals)
		return -ENOMEM;
	arrival = &upstream->arrivals[index];
	backend = &arrival->backend;
	(void)carrier_take_text(carrier, backend->name, sizeof(backend->name));
	carrier_take_addr(carrier, &backend->addr, &arrival->local);
	backend->send_proxy = carrier_take(carrier);
	backend->fastopen = carrier_take(carrier) != 0;
	arrival->known = carrier_is_whole(carrier);
	arrival->slot = open ? find_member(upstream, arrival, twin) : -1;
	if (arrival->slot >= 0)
		pool_read_member(upstream->pool, (unsigned)arrival->slot, timer_now_ms(), carrier);
	if (arrival->slot >= 0 && keep_changes)
		read_changes(upstream, (unsigned)arrival->slot, carrier);
	return carrier_is_whole(carrier) ? 0 : -EBADMSG;
}

/* Claims a member that the pool does not have, and adds it for its first session. */
static int hold_former(struct upstream *upstream, struct upstream_arrival *arrival,
		       struct pool_claim *claim)
{
	const struct pool_member member = {
		.address = arrival->backend.addr,
		.unchecked = true,
		.group = upstream->config->backend_count + (unsigned)(arrival - upstream->arrivals),
	};
	int result = pool_hold_former(upstream->pool, &member, claim);

	if (!result)
		arrival->slot = claim->member;
	return result;
}

int upstream_read_claim(struct upstream *upstream, struct upstream_claim *claim,
			struct carrier *carrier)
{
	uint64_t stage = carrier_take(carrier);
	uint64_t choices = carrier_take(carrier);
	bool held = carrier_take(carrier) != 0;
	uint64_t index = carrier_take(carrier);
	bool probe = carrier_take(carrier) != 0;
	struct upstream_arrival *arrival;
	int result = 0;

	memset(claim, 0, sizeof(*claim));
	/* a member is claimed in each stage but the first */
	if (!carrier_is_whole(carrier) || stage > UPSTREAM_FAILED || held == !stage)
		return -EBADMSG;
	if (held) {
		if (index >= POOL_MEMBERS_LIMIT || !upstream->arrivals ||
		    !upstream->arrivals[index].known)
			return -EBADMSG;
		arrival = &upstream->arrivals[index];
		if (arrival->slot < 0)
			result = hold_former(upstream, arrival, &claim->member);
		else
			pool_hold(upstream->pool, (unsigned)arrival->slot, probe, &claim->member);
	}
	if (result)
		return result;
	claim->stage = (uint8_t)stage;
	claim->choices = (uint16_t)choices;
	return 0;
}
