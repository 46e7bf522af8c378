/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A name is idle until `due_ms`; then each family is looked up, for a server
 * may answer one family and be silent about the other. After the last family's answer settle() sets
 * the next `due_ms`. The addresses of one family are used RESOLUTION_DELAY_MS after they have come,
 * even if the other family has no answer yet.
 */
#include "control/resolver.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "os/timer.h"

/* How long one family's addresses wait for the other's: RFC 8305, section 3. */
#define RESOLUTION_DELAY_MS 50

/* The longest pause between two tries of a name that fails. */
#define RETRY_MOST_MS 60000

struct resolver {
	struct lookups *lookups;
	struct resolver_options options;
	unsigned family_count;
	unsigned name_count;
	unsigned asked_count;
	struct resolver_name *names[RESOLVER_NAMES_MOST];
};

/* Answers -------------------------------------------------------------------------------------- */

/* Joins the addresses of all families. Returns whether the name's addresses change. */
static bool replace_addresses(struct resolver_name *name)
{
	struct addr_set set = {0};
	bool changed;

	for (unsigned i = 0; i < name->resolver->family_count; i++) {
		const struct lookup *lookup = &name->lookups[i];
		/* a family without an answer keeps its addresses */
		const struct addr_set *from = lookup->is_known ? &lookup->found : &name->addresses;

		set.dropped_count += from->dropped_count;
		for (unsigned j = 0; j < from->count; j++) {
			if (from->list[j].any.sa_family == lookup->family)
				addr_set_insert(&set, &from->list[j]);
		}
	}
	changed = !addr_set_equal(&set, &name->addresses);
	name->addresses = set;
	return changed;
}

static uint64_t retry_delay_ms(const struct resolver *resolver, unsigned failures)
{
	uint64_t most_ms = MIN(resolver->options.max_ttl_ms, RETRY_MOST_MS);
	uint64_t delay_ms = resolver->options.retry_ms;

	while (failures-- && delay_ms < most_ms)
		delay_ms *= 2;
	return MIN(delay_ms, most_ms);
}

/* The error of a name: of a family without an answer, or else of a family without an address. */
static const char *failure(const struct resolver_name *name)
{
	const struct lookup *blamed = &name->lookups[0];

	for (unsigned i = 1; i < name->resolver->family_count; i++) {
		if (blamed->is_known)
			blamed = &name->lookups[i];
	}
	return blamed->error;
}

/* Uses the addresses found, for their TTL. Returns whether there are any. */
static bool use_found(struct resolver_name *name, bool *changed)
{
	const struct resolver *resolver = name->resolver;
	uint64_t ttl_ms = resolver->options.max_ttl_ms;
	bool found = false;

	*changed = false;
	for (unsigned i = 0; i < resolver->family_count; i++) {
		if (!name->lookups[i].found.count)
			continue;
		found = true;
		ttl_ms = MIN(ttl_ms, name->lookups[i].ttl_ms);
	}
	if (!found)
		return false;
	*changed = replace_addresses(name);
	name->state = RESOLVER_RESOLVED;
	name->error = NULL;
	name->wait_ms = MAX(ttl_ms, resolver->options.min_ttl_ms);
	return true;
}

static void tell(struct resolver_name *name, enum resolver_state before, bool changed)
{
	if (name->state != before || changed)
		name->on_change(name);
}

/* One family has answered, and the other has not within RESOLUTION_DELAY_MS. */
static void settle_early(struct resolver_name *name)
{
	enum resolver_state before = name->state;
	bool changed;
	bool used = use_found(name, &changed);

	CHECK(used);
	name->early_ms = 0;
	tell(name, before, changed);
}

static void settle(struct resolver_name *name)
{
	struct resolver *resolver = name->resolver;
	enum resolver_state before = name->state;
	bool changed, found = use_found(name, &changed);
	bool partial = false;

	resolver->asked_count--;
	name->early_ms = 0;
	for (unsigned i = 0; i < resolver->family_count; i++)
		partial |= !name->lookups[i].is_known;
	if (!found) {
		name->state = RESOLVER_FAILING;
		name->error = failure(name);
		name->wait_ms = UINT64_MAX;
	}
	/* a family without an answer is asked for again as early as a name without an address */
	if (!found || partial) {
		name->wait_ms = MIN(name->wait_ms, retry_delay_ms(resolver, name->failures));
		name->failures++;
	} else {
		name->failures = 0;
	}
	name->due_ms = timer_now_ms() + name->wait_ms;
	tell(name, before, changed);
}

static void on_answer(struct lookup *lookup)
{
	struct resolver_name *name = lookup->context;

	if (!--name->asked_count)
		settle(name);
	else if (lookup->found.count)
		name->early_ms = timer_now_ms() + RESOLUTION_DELAY_MS;
}

static void ask(struct resolver_name *name)
{
	struct resolver *resolver = name->resolver;

	resolver->asked_count++;
	name->asked_count = resolver->family_count;
	for (unsigned i = 0; i < resolver->family_count; i++)
		lookup_begin(&name->lookups[i]);
}

void resolver_add(struct resolver *resolver, struct resolver_name *name)
{
	static const int families[] = {AF_INET, AF_INET6};
	const char *problem = dns_why_not_name(name->text);

	CHECK(!problem && resolver->name_count < RESOLVER_NAMES_MOST);
	name->resolver = resolver;
	for (unsigned i = 0; i < ARRAY_COUNT(families); i++)
		name->lookups[i] = (struct lookup){.lookups = resolver->lookups,
						   .name = name->text,
						   .family = families[i],
						   .on_answer = on_answer,
						   .context = name};
	resolver->names[resolver->name_count++] = name;
}

/* Making --------------------------------------------------------------------------------------- */

int resolver_create(struct resolver **resolver, const struct resolver_options *options,
		    struct fault *fault)
{
	struct resolver *made = calloc(1, sizeof(*made));
	int result;

	CHECK(options->min_ttl_ms && options->min_ttl_ms <= options->max_ttl_ms);
	CHECK(options->retry_ms);
	if (!made) {
		fault_set(fault, NULL, NULL, "cannot make a resolver: no memory");
		return -ENOMEM;
	}
	made->options = *options;
	made->family_count = options->want_v6 ? 2 : 1;
	result = lookups_create(&made->lookups, &options->lookup, fault);
	if (result)
		free(made);
	else
		*resolver = made;
	return result;
}

void resolver_destroy(struct resolver *resolver)
{
	lookups_destroy(resolver->lookups);
	free(resolver);
}

/* Running -------------------------------------------------------------------------------------- */

/* The idle name that is due first; NULL: there is none, or RESOLVER_ASKED_MOST are asked for. */
static struct resolver_name *next_to_ask(const struct resolver *resolver)
{
	struct resolver_name *next = NULL;

	for (unsigned i = 0; i < resolver->name_count; i++) {
		struct resolver_name *name = resolver->names[i];

		if (!name->asked_count && (!next || name->due_ms < next->due_ms))
			next = name;
	}
	return resolver->asked_count < RESOLVER_ASKED_MOST ? next : NULL;
}

void resolver_prepare_poll(struct resolver *resolver, struct poll_set *set)
{
	const struct resolver_name *next = next_to_ask(resolver);

	lookups_prepare_poll(resolver->lookups, set);
	if (next)
		poll_set_due(set, next->due_ms);
	for (unsigned i = 0; i < resolver->name_count; i++)
		if (resolver->names[i]->early_ms)
			poll_set_due(set, resolver->names[i]->early_ms);
}

void resolver_run(struct resolver *resolver, const struct poll_set *set)
{
	uint64_t now_ms = timer_now_ms();
	struct resolver_name *next;

	lookups_run(resolver->lookups, set);
	for (unsigned i = 0; i < resolver->name_count; i++)
		if (resolver->names[i]->early_ms && resolver->names[i]->early_ms <= now_ms)
			settle_early(resolver->names[i]);
	while ((next = next_to_ask(resolver)) && next->due_ms <= now_ms)
		ask(next);
}
