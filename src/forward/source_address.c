#include "forward/source_address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "config/config_origin.h"
#include "config/config_source.h"
#include "forward/source_check.h"
#include "identity/embedded.h"
#include "identity/lease_state.h"
#include "os/timer.h"

/* Of a forward; all but the pool is only of the first of those that share it. */
struct pool_entry {
	struct lease_pool *pool; /* NULL: none */
	char *state_path;	 /* NULL: none */
	int lock_fd;		 /* of the state file; -1: to be made by the first save */
};

struct source_addresses {
	const struct config *config;
	struct lease_pool_stats saved; /* when the files were written last */
	bool failed;		       /* ... and could not be */
	struct pool_entry pools[];     /* by forward */
};

/* Making --------------------------------------------------------------------------------------- */

static struct lease_clock read_clock(void)
{
	return (struct lease_clock){.now_ms = timer_now_ms(), .unix_s = time(NULL)};
}

static int make_pool(const struct config_forward_options *options, struct pool_entry *entry,
		     char error[CONFIG_ERROR_BYTES])
{
	const struct lease_pool_options wanted = {
		.block = options->source.pool,
		.client_bits = options->pseudo_prefix == CONFIG_PSEUDO_PREFIX_64 ? 64 : 128,
		.lease_count = (uint32_t)options->pseudo_leases,
	};

	const struct lease_files files = {
		.key_path = options->pseudo_key,
		.state_path = entry->state_path,
	};
	const struct lease_clock clock = read_clock();
	uint64_t dropped = 0;
	struct log_line line;
	int result = lease_pool_open(&wanted, &files, &clock, &entry->pool, &dropped, error);

	if (!result && dropped && log_begin(&line, LOG_EVENT_leases_dropped)) {
		log_text(&line, "file", options->pseudo_state);
		log_number(&line, "leases", dropped);
		log_text(&line, "remedy", "raise --pseudo-leases");
		log_end(&line);
	}
	return result;
}

/* The pool of an earlier forward with the same block, or NULL. */
static struct lease_pool *find_shared(const struct source_addresses *sources, unsigned forward)
{
	const struct config_forward *forwards = sources->config->forwards;

	for (unsigned i = 0; i < forward; i++)
		if (sources->pools[i].pool &&
		    config_source_is_shared(&forwards[i].options, &forwards[forward].options))
			return sources->pools[i].pool;
	return NULL;
}

/* The file behind links, so that a save replaces that and not a link; one that is not there yet by its name. */
static int find_state(struct pool_entry *entry, const char *path, char error[CONFIG_ERROR_BYTES])
{
	entry->state_path = realpath(path, NULL);
	if (!entry->state_path && errno == ENOENT)
		entry->state_path = strdup(path);
	if (entry->state_path)
		return lease_state_lock(entry->state_path, false, &entry->lock_fd, error);
	snprintf(error, CONFIG_ERROR_BYTES, "--pseudo-state '%.150s': %s; give another file", path,
		 strerror(errno));
	return -EINVAL;
}

/* What is wrong with a file begins with its path; this says what named it. */
static void name_giver(const struct config *config, const struct config_forward *forward,
		       const struct pool_entry *entry, char error[CONFIG_ERROR_BYTES])
{
	const char *const paths[] = {forward->options.pseudo_key, entry->state_path};
	static const char *const names[] = {"pseudo-key", "pseudo-state"};

	for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
		size_t length = paths[i] ? strlen(paths[i]) : 0;

		if (length && !strncmp(error, paths[i], length) && error[length] == ':') {
			config_origin_append_of(config, forward, names[i], error);
			return;
		}
	}
}

static int make_source(struct source_addresses *sources, unsigned i, char error[CONFIG_ERROR_BYTES])
{
	const struct config_forward *forward = &sources->config->forwards[i];
	struct pool_entry *entry = &sources->pools[i];
	char text[SOURCE_CHECK_TEXT_BYTES];
	struct source_check_fault fault;
	int result = source_check(forward, &fault);

	if (result) {
		snprintf(error, CONFIG_ERROR_BYTES, "--source %s: %s; %s",
			 source_check_print(&forward->options.source, text), fault.what,
			 fault.remedy);
		return result;
	}
	if (forward->options.source.kind != CONFIG_SOURCE_POOL)
		return 0;
	entry->pool = find_shared(sources, i);
	if (entry->pool)
		return 0;
	if (forward->options.pseudo_state)
		result = find_state(entry, forward->options.pseudo_state, error);
	if (!result)
		result = make_pool(&forward->options, entry, error);
	if (!result)
		return 0;
	name_giver(sources->config, forward, entry, error);
	/* the next forward with this block will say the same, and not that another has the file */
	if (entry->lock_fd >= 0)
		close(entry->lock_fd);
	entry->lock_fd = -1;
	return result;
}

int source_addresses_create(struct source_addresses **sources, struct config *config)
{
	struct source_addresses *made =
		calloc(1, sizeof(*made) + config->forward_count * sizeof(made->pools[0]));
	char error[CONFIG_ERROR_BYTES];
	int result = 0;

	if (!made) {
		config_errors_add(&config->errors, "out of memory; lower --pseudo-leases");
		return -ENOMEM;
	}
	made->config = config;
	for (unsigned i = 0; i < config->forward_count; i++)
		made->pools[i].lock_fd = -1;
	for (unsigned i = 0; i < config->forward_count; i++) {
		int of_forward = make_source(made, i, error);

		if (of_forward)
			config_origin_add_error(config, &config->forwards[i], error);
		result = result ? result : of_forward;
	}
	if (result) {
		source_addresses_destroy(made);
		return result;
	}
	*sources = made;
	return 0;
}

/* Whether forward `i` is the first of those that share its pool. */
static bool owns_pool(const struct source_addresses *sources, unsigned i)
{
	for (unsigned j = 0; j < i; j++)
		if (sources->pools[j].pool == sources->pools[i].pool)
			return false;
	return sources->pools[i].pool;
}

void source_addresses_destroy(struct source_addresses *sources)
{
	if (!sources)
		return;
	for (unsigned i = sources->config->forward_count; i-- > 0;) {
		struct pool_entry *entry = &sources->pools[i];

		if (owns_pool(sources, i))
			lease_pool_destroy(entry->pool);
		if (entry->lock_fd >= 0)
			close(entry->lock_fd);
		free(entry->state_path);
	}
	free(sources);
}

/* Using ---------------------------------------------------------------------------------------- */

/* The client's own IPv4 address, where it may be used: one of a pool is that of whom the pool gives it to. */
static bool find_embedded(const struct source_addresses *sources, const struct in6_addr *identity,
			  struct in_addr *address)
{
	struct cidr block = {.bits = 128};
	struct addr own;

	if (!embedded_ipv4(identity, address))
		return false;
	own = addr_from_v4(*address);
	block.network = cidr_address_of(&own);
	return !source_addresses_own(sources, &block);
}

int source_addresses_choose(struct source_addresses *sources, unsigned forward,
			    const struct addr *client, bool embedded, uint64_t now_ms,
			    struct source_address_choice *choice)
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
	if (embedded && source->embedded && find_embedded(sources, &identity, &address)) {
		choice->embedded = true;
	} else if (source->kind == CONFIG_SOURCE_POOL) {
		result = lease_pool_acquire(sources->pools[forward].pool, &identity, now_ms,
					    &address);
		choice->leased = !result;
	}
	if (choice->embedded || choice->leased)
		choice->address = addr_from_v4(address);
	return result;
}

void source_addresses_release(struct source_addresses *sources, unsigned forward,
			      const struct addr *address, uint64_t now_ms)
{
	CHECK(address->any.sa_family == AF_INET);
	lease_pool_release(sources->pools[forward].pool, address->v4.sin_addr, now_ms);
}

bool source_addresses_find(const struct source_addresses *sources, struct in_addr address,
			   struct cidr *client)
{
	for (unsigned i = 0; i < sources->config->forward_count; i++)
		if (owns_pool(sources, i) &&
		    lease_pool_find(sources->pools[i].pool, address, client))
			return true;
	return false;
}

bool source_addresses_own(const struct source_addresses *sources, const struct cidr *block)
{
	for (unsigned i = 0; i < sources->config->forward_count; i++) {
		const struct cidr *pool = &sources->config->forwards[i].options.source.pool;

		if (sources->pools[i].pool && cidr_overlap(pool, block))
			return true;
	}
	return false;
}

static struct lease_pool_stats read_stats(const struct source_addresses *sources)
{
	struct lease_pool_stats sum = {0};

	for (unsigned i = 0; i < sources->config->forward_count; i++) {
		struct lease_pool_stats own;

		if (!owns_pool(sources, i))
			continue;
		lease_pool_read_stats(sources->pools[i].pool, &own);
		sum.in_use += own.in_use;
		sum.live += own.live;
		sum.collisions += own.collisions;
		sum.evictions += own.evictions;
		sum.exhausted += own.exhausted;
	}
	return sum;
}

uint64_t source_addresses_metric(const struct source_addresses *sources, enum metric metric)
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

const char *source_addresses_first_file(const struct source_addresses *sources)
{
	for (unsigned i = 0; i < sources->config->forward_count; i++)
		if (sources->pools[i].state_path)
			return sources->pools[i].state_path;
	return NULL;
}

bool source_addresses_are_unsaved(const struct source_addresses *sources)
{
	struct lease_pool_stats now = read_stats(sources);

	/*
	 * Not whether clients come again: when they were there decides who is forgotten first, and where
	 * that happens leases end, and all times are written with them.
	 */
	return source_addresses_first_file(sources) &&
	       (sources->failed || now.in_use != sources->saved.in_use ||
		now.evictions != sources->saved.evictions);
}

static int save_pool(struct pool_entry *entry, char error[CONFIG_ERROR_BYTES])
{
	struct lease_clock clock = read_clock();
	int result = 0;

	if (entry->lock_fd < 0)
		result = lease_state_lock(entry->state_path, true, &entry->lock_fd, error);
	return result ? result : lease_pool_save(entry->pool, entry->state_path, &clock, error);
}

int source_addresses_save(struct source_addresses *sources, char error[CONFIG_ERROR_BYTES])
{
	char detail[CONFIG_ERROR_BYTES];
	struct lease_pool_stats now;
	int result = 0;

	now = read_stats(sources);
	for (unsigned i = 0; i < sources->config->forward_count; i++) {
		struct pool_entry *entry = &sources->pools[i];
		int failed;

		if (!entry->state_path)
			continue;
		failed = save_pool(entry, detail);
		if (failed && !result) {
			result = failed;
			snprintf(error, CONFIG_ERROR_BYTES, "%s", detail);
			config_origin_rename_of(sources->config, &sources->config->forwards[i],
						error);
		}
	}
	/* after a failure all is tried again, whatever happens meanwhile */
	sources->failed = result;
	sources->saved = now;
	return result;
}
