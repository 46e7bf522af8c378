/* SPDX-License-Identifier: MIT */
#include "forward/source_address_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "config/config_origin.h"
#include "identity/embedded.h"
#include "identity/lease_state.h"
#include "os/host.h"
#include "os/route.h"
#include "os/timer.h"

/* The addresses of a block that are tried, evenly spread: a part of it may be routed elsewhere. */
#define PROBES 67

/* Checking ------------------------------------------------------------------------------------- */

/*
 * Tries addresses of a block, from end to end, but not the very first and last. *astray is the
 * first address that is not routed to this host; *partly says whether other addresses are.
 */
static int try_block(const struct cidr *block, struct addr *astray, bool *partly)
{
	uint32_t first = cidr_v4_of(&block->network);
	uint32_t last = first + (uint32_t)((1ULL << (128 - block->bits)) - 1);
	unsigned steps = MIN(last - first, PROBES);
	int error = 0;

	*partly = false;
	for (unsigned i = 1; i < steps; i++) {
		struct addr address = addr_from_v4((struct in_addr){
			htonl(first + (uint32_t)((uint64_t)(last - first) * i / steps))});
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

static int check_route(const struct config_source *source, struct fault *fault)
{
	bool is_pool = source->kind == CONFIG_SOURCE_POOL, partly = false;
	char text[ADDR_TEXT_BYTES];
	struct addr astray;
	int error = is_pool ? try_block(&source->pool, &astray, &partly)
			    : route_check_local(&source->address);

	if (error && error != -EADDRNOTAVAIL) {
		fault_set(fault, "source", NULL,
			  "the kernel cannot be asked for its routes: %s; allow AF_NETLINK sockets "
			  "(RestrictAddressFamilies= of systemd, a seccomp profile)",
			  strerror(-error));
	} else if (error && !is_pool) {
		fault_set(fault, "source", NULL,
			  "no interface of this host has it; give one of 'ip address'");
	} else if (error && partly) {
		fault_set(fault, "source", NULL,
			  "%s of it is not routed to this host; see ip route get %s; give a block "
			  "of which no part goes elsewhere",
			  addr_print_host(&astray, text), text);
	} else if (error) {
		fault_set(
			fault, "source", NULL,
			"this host does not route it to itself; run: ip route add local %s dev lo",
			cidr_print(&source->pool, text));
	}
	return error;
}

/* An embedded address is used if bind(2) takes it, so bind(2) must not take every address. */
static int check_nonlocal_bind(struct fault *fault)
{
	char text[16];

	if (host_read_file("", "/proc/sys/net/ipv4/ip_nonlocal_bind", text, sizeof(text)) ||
	    *text == '0')
		return 0;
	fault_set(fault, "source", NULL,
		  "addresses that are not this host's could be used too, for "
		  "net.ipv4.ip_nonlocal_bind is set; run: sysctl -w net.ipv4.ip_nonlocal_bind=0");
	return -EADDRINUSE;
}

static bool is_loopback(const struct config_source *source)
{
	if (source->kind == CONFIG_SOURCE_POOL)
		return cidr_v4_of(&source->pool.network) >> 24 == IN_LOOPBACKNET;
	return source->kind == CONFIG_SOURCE_ADDRESS && addr_is_loopback(&source->address);
}

/* Whether loopback reaches every backend by address; the addresses of names are not known yet. */
static int check_reach(const struct config_forward *forward, struct fault *fault)
{
	for (unsigned i = 0; i < forward->backend_count; i++) {
		const struct config_backend *backend = &forward->backends[i];
		char text[ADDR_TEXT_BYTES];

		if (*backend->name || route_check_local(&backend->addr) != -EADDRNOTAVAIL)
			continue;
		fault_set(fault, "source", NULL,
			  "an address of loopback, which does not reach backend %s on another "
			  "host; use --source pseudo, or forward to this host",
			  addr_print(&backend->addr, text));
		return -ENETUNREACH;
	}
	return 0;
}

int source_address_check(const struct config_forward *forward, struct fault *fault)
{
	const struct config_source *source = &forward->options.source;
	char text[SOURCE_ADDRESS_TEXT_BYTES];
	int error = 0;

	if (source->kind != CONFIG_SOURCE_NONE)
		error = check_route(source, fault);
	if (!error && source->embedded)
		error = check_nonlocal_bind(fault);
	if (!error && is_loopback(source))
		error = check_reach(forward, fault);
	if (!error)
		return 0;
	fault->kind = FAULT_OF_VALUE;
	snprintf(fault->value, sizeof(fault->value), "%s", source_address_print(source, text));
	return error;
}

const char *source_address_print(const struct config_source *source,
				 char text[SOURCE_ADDRESS_TEXT_BYTES])
{
	char rest[ADDR_TEXT_BYTES] = "";

	if (source->kind == CONFIG_SOURCE_POOL)
		cidr_print(&source->pool, rest);
	else if (source->kind == CONFIG_SOURCE_ADDRESS)
		addr_print_host(&source->address, rest);
	snprintf(text, SOURCE_ADDRESS_TEXT_BYTES, "%s%s%s", source->embedded ? "embedded" : "",
		 source->embedded && *rest ? "," : "", rest);
	return text;
}

/* Making --------------------------------------------------------------------------------------- */

static struct lease_clock read_clock(void)
{
	return (struct lease_clock){.now_ms = timer_now_ms(), .unix_s = time(NULL)};
}

static int make_pool(const struct config_forward_options *options, struct source_address *source,
		     struct fault *fault)
{
	const struct lease_pool_options wanted = {
		.block = options->source.pool,
		.client_bits = options->pseudo_prefix == CONFIG_PSEUDO_PREFIX_64 ? 64 : 128,
		.lease_count = (uint32_t)options->pseudo_leases,
	};

	const struct lease_files files = {
		.key_path = options->pseudo_key,
		.state_path = source->state_path,
	};
	const struct lease_clock clock = read_clock();
	uint64_t dropped = 0;
	struct log_line line;
	int result = lease_pool_open(&wanted, &files, &clock, &source->pool, &dropped, fault);

	if (!result && dropped && log_begin(&line, LOG_EVENT_leases_dropped)) {
		log_text(&line, "file", options->pseudo_state);
		log_number(&line, "leases", dropped);
		log_text(&line, "remedy", "raise --pseudo-leases");
		log_end(&line);
	}
	return result;
}

/* The pool of an earlier forward with the same block, or NULL. */
static struct lease_pool *find_shared(const struct source_address *source)
{
	for (const struct source_address *earlier = source->all->list; earlier < source; earlier++)
		if (earlier->pool &&
		    config_source_is_shared(&earlier->forward->options, &source->forward->options))
			return earlier->pool;
	return NULL;
}

/* lease_state_lock(), or the lock of the process before. */
static int lock_state(struct source_address *source, bool make, struct fault *fault)
{
	int lock_fd = -1, result = 0;

	if (make ||
	    !lease_state_inherit_lock(source->state_path, source->all->config->inherited, &lock_fd))
		result = lease_state_lock(source->state_path, make, &lock_fd, fault);
	source->lock_fd = lock_fd;
	return result;
}

/* Finds the file behind links, so that a save does not replace a link. */
static int find_state(struct source_address *source, const char *path, struct fault *fault)
{
	source->state_path = realpath(path, NULL);
	if (!source->state_path && errno == ENOENT)
		source->state_path = strdup(path);
	if (source->state_path)
		return lock_state(source, false, fault);
	fault_set(fault, "pseudo-state", path, "%s; give another file", strerror(errno));
	return -EINVAL;
}

static int make_source(struct source_address *source, struct fault *fault)
{
	const struct config_forward *forward = source->forward;
	int result = source_address_check(forward, fault);

	if (result)
		return result;
	if (forward->options.source.kind != CONFIG_SOURCE_POOL)
		return 0;
	source->pool = find_shared(source);
	if (source->pool)
		return 0;
	if (forward->options.pseudo_state)
		result = find_state(source, forward->options.pseudo_state, fault);
	if (!result)
		result = make_pool(&forward->options, source, fault);
	source->owns_pool = !result;
	if (!result)
		return 0;
	/* so that the next forward with this block reports the same fault, not a locked file */
	if (source->lock_fd >= 0)
		close(source->lock_fd);
	source->lock_fd = -1;
	return result;
}

int source_addresses_create(struct source_addresses **sources, const struct config *config,
			    struct config_errors *errors)
{
	struct source_addresses *made =
		calloc(1, sizeof(*made) + config->forward_count * sizeof(made->list[0]));
	struct fault fault;
	int result = 0;

	if (!made) {
		config_errors_add_words(errors, "out of memory; lower --pseudo-leases");
		return -ENOMEM;
	}
	made->config = config;
	made->count = config->forward_count;
	for (unsigned i = 0; i < made->count; i++) {
		struct source_address *source = &made->list[i];
		int of_forward;

		source->all = made;
		source->forward = &config->forwards[i];
		source->lock_fd = -1;
		of_forward = make_source(source, &fault);
		if (of_forward)
			config_origin_add_to(errors, config, source->forward, &fault);
		result = result ? result : of_forward;
	}
	if (result) {
		source_addresses_destroy(made);
		return result;
	}
	*sources = made;
	return 0;
}

void source_addresses_destroy(struct source_addresses *sources)
{
	if (!sources)
		return;
	for (unsigned i = sources->count; i-- > 0;) {
		struct source_address *source = &sources->list[i];

		if (source->owns_pool)
			lease_pool_destroy(source->pool);
		if (source->lock_fd >= 0)
			close(source->lock_fd);
		free(source->state_path);
	}
	free(sources);
}

struct source_address *source_addresses_of(struct source_addresses *sources, unsigned forward)
{
	CHECK(forward < sources->count);
	return &sources->list[forward];
}

/* Using ---------------------------------------------------------------------------------------- */

/* The IPv4 address inside the client's. False: there is none, or the address is in a pool. */
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

int source_address_choose(struct source_address *source, const struct source_address_ask *ask,
			  struct source_address_choice *choice)
{
	const struct config_source *wanted = &source->forward->options.source;
	struct in6_addr identity;
	struct in_addr address;
	int result = 0;

	memset(choice, 0, sizeof(*choice));
	if (wanted->kind == CONFIG_SOURCE_ADDRESS)
		choice->address = wanted->address;
	if (wanted->kind == CONFIG_SOURCE_NONE && !wanted->embedded)
		return 0;
	identity = cidr_address_of(ask->client);
	if (ask->embedded && wanted->embedded && find_embedded(source->all, &identity, &address)) {
		choice->embedded = true;
	} else if (wanted->kind == CONFIG_SOURCE_POOL) {
		result = lease_pool_acquire(source->pool, &identity, ask->now_ms, &address);
		choice->leased = !result;
	}
	if (choice->embedded || choice->leased)
		choice->address = addr_from_v4(address);
	return result;
}

void source_address_release(struct source_address *source, const struct addr *address,
			    uint64_t now_ms)
{
	CHECK(address->any.sa_family == AF_INET);
	lease_pool_release(source->pool, address->v4.sin_addr, now_ms);
}

bool source_addresses_find(const struct source_addresses *sources, struct in_addr address,
			   struct cidr *client)
{
	for (unsigned i = 0; i < sources->count; i++)
		if (sources->list[i].owns_pool &&
		    lease_pool_find(sources->list[i].pool, address, client))
			return true;
	return false;
}

bool source_addresses_own(const struct source_addresses *sources, const struct cidr *block)
{
	for (unsigned i = 0; i < sources->count; i++) {
		const struct source_address *source = &sources->list[i];

		if (source->pool && cidr_overlap(&source->forward->options.source.pool, block))
			return true;
	}
	return false;
}

static struct lease_pool_stats read_stats(const struct source_addresses *sources)
{
	struct lease_pool_stats sum = {0};

	for (unsigned i = 0; i < sources->count; i++)
		if (sources->list[i].owns_pool)
			lease_pool_add_stats(sources->list[i].pool, &sum);
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

void source_addresses_write_locks(const struct source_addresses *sources, struct carrier *carrier)
{
	struct inherited_socket record = {.role = INHERITED_LOCK};

	for (unsigned i = 0; i < sources->count; i++) {
		record.fd = sources->list[i].lock_fd;
		if (record.fd >= 0)
			inherited_write(&record, carrier);
	}
}

/* Saving --------------------------------------------------------------------------------------- */

const char *source_addresses_first_file(const struct source_addresses *sources)
{
	for (unsigned i = 0; i < sources->count; i++)
		if (sources->list[i].state_path)
			return sources->list[i].state_path;
	return NULL;
}

bool source_addresses_are_unsaved(const struct source_addresses *sources)
{
	struct lease_pool_stats now = read_stats(sources);

	/*
	 * A new session of a known client needs no save: the time of its last session only decides
	 * which lease is evicted first, and each eviction causes a save of all times.
	 */
	return source_addresses_first_file(sources) &&
	       (sources->failed || now.in_use != sources->saved.in_use ||
		now.evictions != sources->saved.evictions);
}

static int save_pool(struct source_address *source, struct fault *fault)
{
	struct lease_clock clock = read_clock();
	int result = 0;

	if (source->lock_fd < 0)
		result = lock_state(source, true, fault);
	return result ? result : lease_pool_save(source->pool, source->state_path, &clock, fault);
}

int source_addresses_save(struct source_addresses *sources, struct fault *fault)
{
	struct fault of_pool;
	struct lease_pool_stats now;
	int result = 0;

	now = read_stats(sources);
	for (unsigned i = 0; i < sources->count; i++) {
		struct source_address *source = &sources->list[i];
		int failed;

		if (!source->state_path)
			continue;
		failed = save_pool(source, &of_pool);
		if (failed && !result) {
			result = failed;
			*fault = of_pool;
			config_origin_find_name(sources->config, source->forward, fault);
		}
	}
	/* after a failure the next save tries again, even if no lease has changed */
	sources->failed = result;
	sources->saved = now;
	return result;
}
