#include "sources.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "config_source.h"
#include "embedded.h"
#include "log.h"
#include "route.h"
#include "source_pool_state.h"
#include "timer.h"

struct sources {
	const struct config *config;
	struct source_pool_stats saved; /* when the files were written last */
	bool failed;			/* ... and could not be */
	/* by forward; NULL: none. Forwards that share a pool have the same one */
	struct source_pool *pools[];
};

/* Making --------------------------------------------------------------------------------------- */

static struct addr v4_address(uint32_t address)
{
	struct addr made = {.length_bytes = sizeof(made.v4)};

	made.v4.sin_family = AF_INET;
	made.v4.sin_addr.s_addr = htonl(address);
	return made;
}

/* Tries addresses from end to end of a block, not the very first and last. */
static int try_block(const struct cidr *block)
{
	uint32_t first = cidr_v4_of(&block->network);
	uint32_t last = first + (uint32_t)((1ULL << (128 - block->bits)) - 1);
	const uint32_t tried[] = {first + 1, first + (last - first) / 2, last - 1};
	int error = 0;

	for (unsigned i = 0; i < ARRAY_COUNT(tried) && !error; i++) {
		struct addr address = v4_address(tried[i]);

		error = route_check_local(&address);
	}
	return error;
}

int sources_try(const struct config_source *source)
{
	switch (source->kind) {
	case CONFIG_SOURCE_ADDRESS:
		return route_check_local(&source->address);
	case CONFIG_SOURCE_POOL:
		return try_block(&source->pool);
	default:
		return 0;
	}
}

static int check_route(const struct config_source *source, char error[CONFIG_ERROR_BYTES])
{
	int result = sources_try(source);
	char text[ADDR_TEXT_BYTES];

	if (result && source->kind == CONFIG_SOURCE_ADDRESS) {
		snprintf(
			error, CONFIG_ERROR_BYTES,
			"--source '%s': %s; no interface has this address, 'ip address' lists those of "
			"this host",
			addr_print_host(&source->address, text), strerror(-result));
	} else if (result) {
		cidr_print(&source->pool, text);
		snprintf(
			error, CONFIG_ERROR_BYTES,
			"--source pool %s: this host does not route it to itself (%s); run: ip route "
			"add local %s dev lo",
			text, strerror(-result), text);
	}
	return result;
}

static struct source_clock read_clock(void)
{
	return (struct source_clock){.now_ms = timer_now_ms(), .unix_s = time(NULL)};
}

static int make_pool(const struct forward_options *options, struct source_pool **pool,
		     char error[CONFIG_ERROR_BYTES])
{
	const struct source_pool_options wanted = {
		.block = options->source.pool,
		.client_bits = options->pseudo_prefix == CONFIG_PSEUDO_PREFIX_64 ? 64 : 128,
		.lease_count = (uint32_t)options->pseudo_leases,
	};

	const struct source_files files = {
		.key_path = options->pseudo_key,
		.state_path = options->pseudo_state,
	};
	const struct source_clock clock = read_clock();
	uint64_t dropped = 0;
	struct log_line line;
	int result = source_pool_open(&wanted, &files, &clock, pool, &dropped, error);

	if (!result && dropped && log_begin(&line, LOG_EVENT_leases_dropped)) {
		log_text(&line, "file", options->pseudo_state);
		log_number(&line, "leases", dropped);
		log_text(&line, "remedy", "raise --pseudo-leases");
		log_end(&line);
	}
	return result;
}

/* The pool of an earlier forward with the same block, or NULL. */
static struct source_pool *find_shared(const struct sources *sources, unsigned forward)
{
	const struct forward *forwards = sources->config->forwards;

	for (unsigned i = 0; i < forward; i++)
		if (sources->pools[i] &&
		    config_source_is_shared(&forwards[i].options, &forwards[forward].options))
			return sources->pools[i];
	return NULL;
}

static int make_source(struct sources *sources, unsigned i, char error[CONFIG_ERROR_BYTES])
{
	const struct forward *forward = &sources->config->forwards[i];
	int result = check_route(&forward->options.source, error);

	if (result || forward->options.source.kind != CONFIG_SOURCE_POOL)
		return result;
	sources->pools[i] = find_shared(sources, i);
	if (sources->pools[i])
		return 0;
	return make_pool(&forward->options, &sources->pools[i], error);
}

int sources_create(struct sources **sources, const struct config *config,
		   char error[CONFIG_ERROR_BYTES])
{
	struct sources *made =
		calloc(1, sizeof(*made) + config->forward_count * sizeof(made->pools[0]));
	int result = 0;

	snprintf(error, CONFIG_ERROR_BYTES, "out of memory; lower --pseudo-leases");
	if (!made)
		return -ENOMEM;
	made->config = config;
	for (unsigned i = 0; i < config->forward_count && !result; i++)
		result = make_source(made, i, error);
	if (result) {
		sources_destroy(made);
		return result;
	}
	*sources = made;
	return 0;
}

/* Whether forward `i` is the first of those that share its pool. */
static bool owns_pool(const struct sources *sources, unsigned i)
{
	for (unsigned j = 0; j < i; j++)
		if (sources->pools[j] == sources->pools[i])
			return false;
	return sources->pools[i];
}

void sources_destroy(struct sources *sources)
{
	for (unsigned i = sources->config->forward_count; i-- > 0;)
		if (owns_pool(sources, i))
			source_pool_destroy(sources->pools[i]);
	free(sources);
}

/* Using ---------------------------------------------------------------------------------------- */

int sources_choose(struct sources *sources, unsigned forward, const struct addr *client,
		   bool embedded, uint64_t now_ms, struct sources_choice *choice)
{
	const struct config_source *source = &sources->config->forwards[forward].options.source;
	struct in6_addr identity;
	struct in_addr address;
	int result = 0;

	memset(choice, 0, sizeof(*choice));
	if (source->kind == CONFIG_SOURCE_ADDRESS)
		choice->address = source->address;
	if (source->kind == CONFIG_SOURCE_NONE && !source->embedded)
		return 0;
	identity = cidr_address_of(client);
	if (embedded && source->embedded && embedded_ipv4(&identity, &address)) {
		choice->embedded = true;
	} else if (source->kind == CONFIG_SOURCE_POOL) {
		result = source_pool_acquire(sources->pools[forward], &identity, now_ms, &address);
		choice->leased = !result;
	}
	if (choice->embedded || choice->leased)
		choice->address = v4_address(ntohl(address.s_addr));
	return result;
}

void sources_release(struct sources *sources, unsigned forward, const struct addr *address,
		     uint64_t now_ms)
{
	CHECK(address->any.sa_family == AF_INET);
	source_pool_release(sources->pools[forward], address->v4.sin_addr, now_ms);
}

bool sources_find(const struct sources *sources, struct in_addr address, struct cidr *client)
{
	for (unsigned i = 0; i < sources->config->forward_count; i++)
		if (owns_pool(sources, i) && source_pool_find(sources->pools[i], address, client))
			return true;
	return false;
}

static struct source_pool_stats read_stats(const struct sources *sources)
{
	struct source_pool_stats sum = {0};

	for (unsigned i = 0; i < sources->config->forward_count; i++) {
		struct source_pool_stats own;

		if (!owns_pool(sources, i))
			continue;
		source_pool_read_stats(sources->pools[i], &own);
		sum.in_use += own.in_use;
		sum.live += own.live;
		sum.collisions += own.collisions;
		sum.evictions += own.evictions;
		sum.exhausted += own.exhausted;
	}
	return sum;
}

uint64_t sources_metric(const struct sources *sources, enum metric metric)
{
	switch (metric) {
	case METRIC_source_leases:
		return read_stats(sources).in_use;
	case METRIC_source_leases_live:
		return read_stats(sources).live;
	case METRIC_source_collisions:
		return read_stats(sources).collisions;
	case METRIC_source_evictions:
		return read_stats(sources).evictions;
	case METRIC_source_exhausted:
		return read_stats(sources).exhausted;
	default:
		return 0;
	}
}

/* Saving --------------------------------------------------------------------------------------- */

bool sources_have_files(const struct sources *sources)
{
	for (unsigned i = 0; i < sources->config->forward_count; i++)
		if (sources->pools[i] && sources->config->forwards[i].options.pseudo_state)
			return true;
	return false;
}

bool sources_are_unsaved(const struct sources *sources)
{
	struct source_pool_stats now = read_stats(sources);

	/* what is live is used at this moment, which is what a file tells of it */
	return sources_have_files(sources) && (now.live || now.in_use != sources->saved.in_use ||
					       now.evictions != sources->saved.evictions);
}

int sources_save(struct sources *sources, char error[CONFIG_ERROR_BYTES])
{
	char detail[CONFIG_ERROR_BYTES];
	struct source_pool_stats now;
	int result = 0;

	now = read_stats(sources);
	for (unsigned i = 0; i < sources->config->forward_count; i++) {
		const char *path = sources->config->forwards[i].options.pseudo_state;
		struct source_clock clock;
		int failed;

		if (!owns_pool(sources, i) || !path)
			continue;
		clock = read_clock();
		failed = source_pool_save(sources->pools[i], path, &clock, detail);
		if (failed && !result) {
			result = failed;
			snprintf(error, CONFIG_ERROR_BYTES, "%s", detail);
		}
	}
	/* after a failure all is tried again, whatever happens meanwhile */
	sources->failed = result;
	sources->saved = now;
	return result;
}
