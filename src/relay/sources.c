#include "relay/sources.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "config/config_source.h"
#include "identity/embedded.h"
#include "identity/source_pool_state.h"
#include "os/host.h"
#include "os/route.h"
#include "os/timer.h"

/* Of a forward; all but the pool is only of the first of those that share it. */
struct pool_entry {
	struct source_pool *pool; /* NULL: none */
	char *state_path;	  /* NULL: none */
	int lock_fd;		  /* of the state file; -1: to be made by the first save */
};

/* Addresses of a block that are asked for, from end to end: they find a route for a part of it. */
#define PROBES 67

struct sources {
	const struct config *config;
	struct source_pool_stats saved; /* when the files were written last */
	bool failed;			/* ... and could not be */
	struct pool_entry pools[];	/* by forward */
};

/* Making --------------------------------------------------------------------------------------- */

static struct addr v4_address(uint32_t address)
{
	struct addr made = {.length_bytes = sizeof(made.v4)};

	made.v4.sin_family = AF_INET;
	made.v4.sin_addr.s_addr = htonl(address);
	return made;
}

/*
 * Tries addresses from end to end of a block, not the very first and last. *astray is the first that is not
 * this host's, *partly whether others are.
 */
static int try_block(const struct cidr *block, struct addr *astray, bool *partly)
{
	uint32_t first = cidr_v4_of(&block->network);
	uint32_t last = first + (uint32_t)((1ULL << (128 - block->bits)) - 1);
	unsigned steps = MIN(last - first, PROBES);
	int error = 0;

	*partly = false;
	for (unsigned i = 1; i < steps; i++) {
		struct addr address =
			v4_address(first + (uint32_t)((uint64_t)(last - first) * i / steps));
		int result = route_check_local(&address);

		if (result && result != -EADDRNOTAVAIL)
			return result;
		if (result && !error)
			*astray = address;
		error = error ? error : result;
		*partly |= !result;
	}
	return error;
}

/* Where nobody could be asked: what the program may do here is not the route's fault. */
static int fault_unknown(int error, struct sources_fault *fault)
{
	snprintf(fault->what, sizeof(fault->what), "the kernel cannot be asked for its routes: %s",
		 strerror(-error));
	snprintf(
		fault->remedy, sizeof(fault->remedy),
		"allow AF_NETLINK sockets (RestrictAddressFamilies= of systemd, a seccomp profile)");
	return error;
}

static int check_pool(const struct config_source *source, struct sources_fault *fault)
{
	char text[ADDR_TEXT_BYTES];
	struct addr astray;
	bool partly;
	int error = try_block(&source->pool, &astray, &partly);

	if (error && error != -EADDRNOTAVAIL)
		return fault_unknown(error, fault);
	if (error && partly) {
		snprintf(fault->what, sizeof(fault->what), "%s of it is not routed to this host",
			 addr_print_host(&astray, text));
		snprintf(fault->remedy, sizeof(fault->remedy),
			 "see ip route get %s; give a block of which no part goes elsewhere", text);
	} else if (error) {
		snprintf(fault->what, sizeof(fault->what), "this host does not route it to itself");
		snprintf(fault->remedy, sizeof(fault->remedy), "run: ip route add local %s dev lo",
			 cidr_print(&source->pool, text));
	}
	return error;
}

static int check_address(const struct config_source *source, struct sources_fault *fault)
{
	int error = route_check_local(&source->address);

	if (error && error != -EADDRNOTAVAIL)
		return fault_unknown(error, fault);
	if (error) {
		snprintf(fault->what, sizeof(fault->what), "no interface of this host has it");
		snprintf(fault->remedy, sizeof(fault->remedy), "give one of 'ip address'");
	}
	return error;
}

/* An embedded address is used where it can be bound, which must not be everywhere. */
static int check_nonlocal_bind(struct sources_fault *fault)
{
	char text[16];

	if (host_read_file("", "/proc/sys/net/ipv4/ip_nonlocal_bind", text, sizeof(text)) ||
	    *text == '0')
		return 0;
	snprintf(fault->what, sizeof(fault->what),
		 "addresses that are not this host's could be used too, for "
		 "net.ipv4.ip_nonlocal_bind is set");
	snprintf(fault->remedy, sizeof(fault->remedy),
		 "run: sysctl -w net.ipv4.ip_nonlocal_bind=0");
	return -EADDRINUSE;
}

static bool is_loopback(const struct config_source *source)
{
	if (source->kind == CONFIG_SOURCE_POOL)
		return cidr_v4_of(&source->pool.network) >> 24 == IN_LOOPBACKNET;
	return source->kind == CONFIG_SOURCE_ADDRESS && addr_is_loopback(&source->address);
}

/* Whether loopback reaches every backend; what names stand for is not known yet. */
static int check_reach(const struct forward *forward, struct sources_fault *fault)
{
	for (unsigned i = 0; i < forward->backend_count; i++) {
		const struct backend *backend = &forward->backends[i];
		char text[ADDR_TEXT_BYTES];

		if (*backend->name || route_check_local(&backend->addr) != -EADDRNOTAVAIL)
			continue;
		snprintf(fault->what, sizeof(fault->what),
			 "an address of loopback, which does not reach backend %s on another host",
			 addr_print(&backend->addr, text));
		snprintf(fault->remedy, sizeof(fault->remedy),
			 "use --source pseudo, or forward to this host");
		return -ENETUNREACH;
	}
	return 0;
}

int sources_try(const struct forward *forward, struct sources_fault *fault)
{
	const struct config_source *source = &forward->options.source;
	int error = 0;

	memset(fault, 0, sizeof(*fault));
	if (source->kind == CONFIG_SOURCE_ADDRESS)
		error = check_address(source, fault);
	if (source->kind == CONFIG_SOURCE_POOL)
		error = check_pool(source, fault);
	if (!error && source->embedded)
		error = check_nonlocal_bind(fault);
	if (!error && is_loopback(source))
		error = check_reach(forward, fault);
	return error;
}

const char *sources_print(const struct config_source *source, char text[SOURCES_TEXT_BYTES])
{
	char rest[ADDR_TEXT_BYTES] = "";

	if (source->kind == CONFIG_SOURCE_POOL)
		cidr_print(&source->pool, rest);
	else if (source->kind == CONFIG_SOURCE_ADDRESS)
		addr_print_host(&source->address, rest);
	snprintf(text, SOURCES_TEXT_BYTES, "%s%s%s", source->embedded ? "embedded" : "",
		 source->embedded && *rest ? "," : "", rest);
	return text;
}

static struct source_clock read_clock(void)
{
	return (struct source_clock){.now_ms = timer_now_ms(), .unix_s = time(NULL)};
}

static int make_pool(const struct forward_options *options, struct pool_entry *entry,
		     char error[CONFIG_ERROR_BYTES])
{
	const struct source_pool_options wanted = {
		.block = options->source.pool,
		.client_bits = options->pseudo_prefix == CONFIG_PSEUDO_PREFIX_64 ? 64 : 128,
		.lease_count = (uint32_t)options->pseudo_leases,
	};

	const struct source_files files = {
		.key_path = options->pseudo_key,
		.state_path = entry->state_path,
	};
	const struct source_clock clock = read_clock();
	uint64_t dropped = 0;
	struct log_line line;
	int result = source_pool_open(&wanted, &files, &clock, &entry->pool, &dropped, error);

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
		return source_state_lock(entry->state_path, false, &entry->lock_fd, error);
	snprintf(error, CONFIG_ERROR_BYTES, "--pseudo-state '%.150s': %s; give another file", path,
		 strerror(errno));
	return -EINVAL;
}

static int make_source(struct sources *sources, unsigned i, char error[CONFIG_ERROR_BYTES])
{
	const struct forward *forward = &sources->config->forwards[i];
	struct pool_entry *entry = &sources->pools[i];
	char text[SOURCES_TEXT_BYTES];
	struct sources_fault fault;
	int result = sources_try(forward, &fault);

	if (result) {
		snprintf(error, CONFIG_ERROR_BYTES, "--source %s: %s; %s",
			 sources_print(&forward->options.source, text), fault.what, fault.remedy);
		return result;
	}
	if (forward->options.source.kind != CONFIG_SOURCE_POOL)
		return 0;
	entry->pool = find_shared(sources, i);
	if (entry->pool)
		return 0;
	if (forward->options.pseudo_state)
		result = find_state(entry, forward->options.pseudo_state, error);
	return result ? result : make_pool(&forward->options, entry, error);
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
	for (unsigned i = 0; i < config->forward_count; i++)
		made->pools[i].lock_fd = -1;
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
		if (sources->pools[j].pool == sources->pools[i].pool)
			return false;
	return sources->pools[i].pool;
}

void sources_destroy(struct sources *sources)
{
	for (unsigned i = sources->config->forward_count; i-- > 0;) {
		struct pool_entry *entry = &sources->pools[i];

		if (owns_pool(sources, i))
			source_pool_destroy(entry->pool);
		if (entry->lock_fd >= 0)
			close(entry->lock_fd);
		free(entry->state_path);
	}
	free(sources);
}

/* Using ---------------------------------------------------------------------------------------- */

/* The client's own IPv4 address, where it may be used: one of a pool is that of whom the pool gives it to. */
static bool find_embedded(const struct sources *sources, const struct in6_addr *identity,
			  struct in_addr *address)
{
	struct cidr block = {.bits = 128};
	struct addr own;

	if (!embedded_ipv4(identity, address))
		return false;
	own = v4_address(ntohl(address->s_addr));
	block.network = cidr_address_of(&own);
	return !sources_own(sources, &block);
}

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
	if (embedded && source->embedded && find_embedded(sources, &identity, &address)) {
		choice->embedded = true;
	} else if (source->kind == CONFIG_SOURCE_POOL) {
		result = source_pool_acquire(sources->pools[forward].pool, &identity, now_ms,
					     &address);
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
	source_pool_release(sources->pools[forward].pool, address->v4.sin_addr, now_ms);
}

bool sources_find(const struct sources *sources, struct in_addr address, struct cidr *client)
{
	for (unsigned i = 0; i < sources->config->forward_count; i++)
		if (owns_pool(sources, i) &&
		    source_pool_find(sources->pools[i].pool, address, client))
			return true;
	return false;
}

bool sources_own(const struct sources *sources, const struct cidr *block)
{
	for (unsigned i = 0; i < sources->config->forward_count; i++) {
		const struct cidr *pool = &sources->config->forwards[i].options.source.pool;

		if (sources->pools[i].pool && cidr_overlap(pool, block))
			return true;
	}
	return false;
}

static struct source_pool_stats read_stats(const struct sources *sources)
{
	struct source_pool_stats sum = {0};

	for (unsigned i = 0; i < sources->config->forward_count; i++) {
		struct source_pool_stats own;

		if (!owns_pool(sources, i))
			continue;
		source_pool_read_stats(sources->pools[i].pool, &own);
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
		if (sources->pools[i].state_path)
			return true;
	return false;
}

bool sources_are_unsaved(const struct sources *sources)
{
	struct source_pool_stats now = read_stats(sources);

	/*
	 * Not whether clients come again: when they were there decides who is forgotten first, and where
	 * that happens leases end, and all times are written with them.
	 */
	return sources_have_files(sources) &&
	       (sources->failed || now.in_use != sources->saved.in_use ||
		now.evictions != sources->saved.evictions);
}

static int save_pool(struct pool_entry *entry, char error[CONFIG_ERROR_BYTES])
{
	struct source_clock clock = read_clock();
	int result = 0;

	if (entry->lock_fd < 0)
		result = source_state_lock(entry->state_path, true, &entry->lock_fd, error);
	return result ? result : source_pool_save(entry->pool, entry->state_path, &clock, error);
}

int sources_save(struct sources *sources, char error[CONFIG_ERROR_BYTES])
{
	char detail[CONFIG_ERROR_BYTES];
	struct source_pool_stats now;
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
		}
	}
	/* after a failure all is tried again, whatever happens meanwhile */
	sources->failed = result;
	sources->saved = now;
	return result;
}
