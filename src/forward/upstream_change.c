/* SPDX-License-Identifier: MIT */
/* Changes of a forward's backends at run time, by the commands of an administrator. */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "forward/upstream_private.h"
#include "os/timer.h"

const struct config_backend *upstream_configured(const struct upstream *upstream, unsigned group)
{
	unsigned first = upstream->config->backend_count, added = upstream_first_added(upstream);

	if (group < first)
		return &upstream->config->backends[group];
	if (group >= added) {
		CHECK(group - added < UPSTREAM_ADDED_LIMIT);
		return &upstream->added[group - added].backend;
	}
	CHECK(upstream->arrivals);
	return &upstream->arrivals[group - first].backend;
}

struct upstream_terms *upstream_terms(const struct upstream *upstream, unsigned group)
{
	unsigned first = upstream->config->backend_count, added = upstream_first_added(upstream);

	CHECK(group < first || (group >= added && group - added < UPSTREAM_ADDED_LIMIT));
	return &upstream->terms[group < first ? group : first + group - added];
}

bool upstream_sends_header(const struct upstream *upstream)
{
	const struct config_forward *configured = upstream->config;

	for (unsigned i = 0; i < configured->backend_count; i++)
		if (configured->backends[i].send_proxy != CONFIG_SEND_PROXY_OFF)
			return true;
	return atomic_load_explicit(&upstream->adds_header, memory_order_relaxed);
}

/* A member with this address that gets sessions, or with the group if `address` is NULL; or -1. */
static int find_member(const struct upstream *upstream, const struct addr *address, unsigned group)
{
	uint64_t now_ms = timer_now_ms();
	struct pool_snapshot now;

	for (unsigned i = 0; i < pool_slot_count(upstream->pool); i++) {
		pool_snapshot(upstream->pool, i, now_ms, &now);
		if (now.state == POOL_EMPTY || (address && now.state == POOL_DRAINING))
			continue;
		if (address ? addr_equal(address, &now.address) : now.group == group)
			return (int)i;
	}
	return -1;
}

/* A place of `added` that no session refers to any more; NULL: none. */
static struct config_added *find_place(struct upstream *upstream)
{
	for (unsigned i = 0; i < UPSTREAM_ADDED_LIMIT; i++)
		if (find_member(upstream, NULL, upstream_first_added(upstream) + i) < 0)
			return &upstream->added[i];
	return NULL;
}

static void refuse(const struct config_backend *backend, int result, struct fault *fault)
{
	char text[CONFIG_BACKEND_TEXT_BYTES];

	config_print_backend(backend, text);
	if (result == -ELOOP)
		fault_set(
			fault, NULL, text,
			"leads to the forward's own listener, which would forward to itself; give "
			"the service's address");
	else if (result == -EEXIST)
		fault_set(fault, NULL, text,
			  "is a backend of this forward already; change it by 'sixpipe backend'");
	else
		fault_set(fault, NULL, text,
			  "finds no room: %u backends can be added, and removed ones count until "
			  "their last session ends; add it to the configuration",
			  (unsigned)UPSTREAM_ADDED_LIMIT);
}

/* Puts the backend into its place and a free slot. Returns its group, or -ENOSPC. */
static int place(struct upstream *upstream, const struct config_added *added)
{
	struct config_added *free_place = find_place(upstream);
	struct config_kept *earlier, **end;
	struct pool_member member;
	unsigned group;

	if (!free_place)
		return -ENOSPC;
	earlier = free_place->kept;
	*free_place = *added;
	group = upstream_first_added(upstream) + (unsigned)(free_place - upstream->added);
	*upstream_terms(upstream, group) =
		(struct upstream_terms){.weight = (unsigned)added->backend.weight,
					.maxconn = (unsigned)added->backend.maxconn};
	member = upstream_make_member(upstream, group);
	if (added->backend.send_proxy != CONFIG_SEND_PROXY_OFF)
		atomic_store_explicit(&upstream->adds_header, true, memory_order_relaxed);
	if (pool_add_all(upstream->pool, &member, 1)) {
		free_place->kept = earlier; /* the others are the caller's again */
		return -ENOSPC;
	}
	/* records of ended sessions refer to the names of backends that are gone */
	for (end = &free_place->kept; *end; end = &(*end)->next)
		;
	*end = earlier;
	upstream_follow_count(upstream);
	return (int)group;
}

int upstream_add(struct upstream *upstream, const char *text, struct fault *fault)
{
	struct config_added added;
	int result = config_read_added(upstream->config, text, &added, fault);

	if (!result) {
		const struct addr *address = &added.backend.addr;

		if (config_conflict_reach(upstream->config, upstream->listen, address) ==
		    CONFIG_REACH_SURE)
			result = -ELOOP;
		else if (find_member(upstream, address, 0) >= 0)
			result = -EEXIST;
		else
			result = place(upstream, &added);
		if (result < 0)
			refuse(&added.backend, result, fault);
	}
	if (result < 0)
		config_kept_finish(&added.kept);
	return result;
}

void upstream_remove(struct upstream *upstream, unsigned member)
{
	pool_remove(upstream->pool, member);
	upstream_follow_count(upstream);
}

static struct upstream_terms *terms_of(struct upstream *upstream, unsigned member)
{
	struct pool_snapshot now;

	pool_snapshot(upstream->pool, member, timer_now_ms(), &now);
	return upstream_terms(upstream, now.group);
}

void upstream_set_weight(struct upstream *upstream, unsigned member, unsigned weight)
{
	terms_of(upstream, member)->weight = weight;
	pool_set_weight(upstream->pool, member, weight);
	upstream_follow_count(upstream);
}

void upstream_set_maxconn(struct upstream *upstream, unsigned member, unsigned maxconn)
{
	terms_of(upstream, member)->maxconn = maxconn;
	pool_set_maxconn(upstream->pool, member, maxconn);
}

void upstream_set_order(struct upstream *upstream, unsigned member, enum pool_order order)
{
	terms_of(upstream, member)->order = order;
	pool_set_order(upstream->pool, member, order, timer_now_ms());
	if (order == POOL_ORDER_DOWN)
		upstream_count_outage(upstream);
	upstream_follow_count(upstream);
}
