/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The resolver asks for each name once. A target is one backend with that
 * name; on_change() gives the name's addresses to all its targets.
 *
 * A pool may have no slot for an address while removed members still drain. Then the name is
 * cramped, and its addresses are set again every second.
 */
#include "control/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "config/capacity.h"
#include "config/config_loop.h"
#include "config/config_origin.h"
#include "control/signals.h"
#include "os/timer.h"

/*
 * The time limit of the first try; each further try has twice as long. So the last of three servers
 * is asked within 3 s, less than the default of --resolve-timeout. resolv.conf(5) would say 5 s.
 */
#define TRY_TIMEOUT_MS 1000
#define TRIES	       3

/* The pause after the first failure. */
#define RETRY_MS	 1000

#define CRAMPED_RETRY_MS 1000

_Static_assert(CONFIG_DNS_NAME_LIMIT <= RESOLVER_NAMES_MOST,
	       "the resolver has room for every name");
_Static_assert(CAPACITY_DNS_DESCRIPTORS > LOOKUP_POLL_FDS, "its sockets, and /etc/hosts");

struct target {
	struct target *next; /* of the same name */
	struct forward *forward;
	unsigned backend;
};

struct name {
	struct resolver_name dns;
	struct names *names;
	const struct config_backend *backend; /* of the first of the targets */
	struct target *targets;
	bool failing;  /* as the log has told */
	bool resolved; /* as the log has told */
	bool cramped;  /* a pool had no slot for an address */
};

struct names {
	const struct config *config;
	struct forwards *forwards;
	struct resolver *resolver;
	uint64_t cramped_due_ms; /* 0: no name is cramped */
	unsigned name_count;
	struct name *list;
	struct target *targets;
};

/* Log ------------------------------------------------------------------------------------------ */

static bool begin_line(struct log_line *line, const struct name *name, enum log_event event)
{
	if (!log_begin(line, event))
		return false;
	log_text(line, "name", name->backend->name);
	return true;
}

/* Begins a line about one target of the name. */
static bool begin_target(struct log_line *line, const struct name *name,
			 const struct target *target, enum log_event event)
{
	const struct forward *forward = target->forward;

	if (!begin_line(line, name, event))
		return false;
	log_number(line, "port", addr_port(&forward->config->backends[target->backend].addr));
	forward_log(forward, line);
	return true;
}

static void tell_failed(const struct name *name, const char *error)
{
	struct log_line line;

	if (!begin_line(&line, name, LOG_EVENT_name_failed))
		return;
	log_text(&line, "error", error);
	log_number(&line, "kept", name->dns.addresses.count);
	if (name->dns.state == RESOLVER_FAILING)
		log_number(&line, "next_try_ms", name->dns.wait_ms);
	log_end(&line);
}

static void tell_resolved(const struct name *name)
{
	char text[ADDR_TEXT_BYTES];
	struct log_line line;

	if (!begin_line(&line, name, LOG_EVENT_name_resolved))
		return;
	log_list_begin(&line, "address");
	for (unsigned i = 0; i < name->dns.addresses.count; i++)
		log_list_item(&line, "address",
			      addr_print_host(&name->dns.addresses.list[i], text));
	log_list_end(&line);
	log_number(&line, "next_try_ms", name->dns.wait_ms);
	log_end(&line);
}

static void tell_loop(const struct name *name, const struct target *target)
{
	struct log_line line;

	if (begin_target(&line, name, target, LOG_EVENT_name_loops))
		log_end(&line);
}

static void tell_cut(const struct name *name, const struct target *target, unsigned left_out)
{
	struct log_line line;

	if (!begin_target(&line, name, target, LOG_EVENT_name_cut))
		return;
	log_number(&line, "left_out", left_out);
	log_end(&line);
}

/* Members -------------------------------------------------------------------------------------- */

/* Returns whether the pool had a slot for each address. `tell`: log addresses left out. */
static bool set_target(const struct name *name, const struct target *target, bool tell)
{
	const struct addr_set *addresses = &name->dns.addresses;
	const struct forward *forward = target->forward;
	struct addr_set kept = {0};
	unsigned left_out;
	int result;

	for (unsigned i = 0; i < addresses->count; i++) {
		struct addr address = addresses->list[i];

		addr_set_port(&address,
			      addr_port(&forward->config->backends[target->backend].addr));
		if (!config_loop_reaches(forward->config, &forward->listen, &address))
			addr_set_insert(&kept, &address);
		else if (tell)
			tell_loop(name, target);
	}
	result = upstream_set_addresses(forward->upstream, target->backend, &kept, &left_out);
	left_out += addresses->dropped_count;
	if (left_out && tell)
		tell_cut(name, target, left_out);
	return !result;
}

static void set_targets(struct name *name, bool tell)
{
	name->cramped = false;
	for (const struct target *target = name->targets; target; target = target->next)
		name->cramped |= !set_target(name, target, tell);
	if (name->cramped)
		name->names->cramped_due_ms = timer_now_ms() + CRAMPED_RETRY_MS;
}

/* Sets the addresses of cramped names again. */
static void set_cramped(struct names *names)
{
	if (!names->cramped_due_ms || timer_now_ms() < names->cramped_due_ms)
		return;
	names->cramped_due_ms = 0;
	for (unsigned i = 0; i < names->name_count; i++)
		if (names->list[i].cramped)
			set_targets(&names->list[i], false);
}

/* Answers -------------------------------------------------------------------------------------- */

static void set_state(struct name *name, bool resolved)
{
	struct forward_names *counts = &name->names->forwards->names;

	counts->resolved += resolved - name->resolved;
	counts->failing += !resolved - name->failing;
	counts->failures += !resolved && !name->failing;
	name->resolved = resolved;
	name->failing = !resolved;
}

static void fail(struct name *name, const char *error)
{
	if (name->failing)
		return;
	set_state(name, false);
	tell_failed(name, error);
}

static bool is_required(const struct names *names)
{
	return names->config->resolve_at_start == CONFIG_RESOLVE_REQUIRE;
}

/* resolver_on_change: the addresses, the state or both have changed. */
static void on_change(struct resolver_name *dns)
{
	struct name *name = CONTAINER_OF(dns, struct name, dns);

	if (dns->state == RESOLVER_FAILING) {
		fail(name, dns->error);
		return;
	}
	name->names->forwards->names.changes++;
	set_targets(name, true);
	set_state(name, true);
	tell_resolved(name);
}

/* Making --------------------------------------------------------------------------------------- */

static struct name *find_name(struct names *names, const struct config_backend *backend)
{
	for (unsigned i = 0; i < names->name_count; i++)
		if (!strcasecmp(names->list[i].backend->name, backend->name))
			return &names->list[i];
	return NULL;
}

static void add_target(struct names *names, struct target *target)
{
	const struct config_backend *backend = &target->forward->config->backends[target->backend];
	struct name *name = find_name(names, backend);

	if (!name) {
		name = &names->list[names->name_count++];
		name->names = names;
		name->backend = backend;
		name->dns.text = backend->name;
		name->dns.on_change = on_change;
		resolver_add(names->resolver, &name->dns);
	}
	target->next = name->targets;
	name->targets = target;
}

static void add_targets(struct names *names)
{
	struct target *target = names->targets;

	for (unsigned i = 0; i < names->forwards->count; i++) {
		struct forward *forward = &names->forwards->list[i];

		for (unsigned j = 0; j < forward->config->backend_count; j++) {
			if (!*forward->config->backends[j].name)
				continue;
			target->forward = forward;
			target->backend = j;
			add_target(names, target++);
		}
	}
}

int names_create(struct names **names, struct forwards *forwards, struct fault *fault)
{
	const struct config *config = forwards->config;
	const struct resolver_options options = {
		.lookup = {.servers = config->dns_servers,
			   .timeout_ms = TRY_TIMEOUT_MS,
			   .tries = TRIES},
		.min_ttl_ms = config->dns_min_ttl_ms,
		.max_ttl_ms = config->dns_max_ttl_ms,
		.retry_ms = RETRY_MS,
		.want_v6 = config->dns_family == CONFIG_DNS_BOTH,
	};
	struct names *made;
	int result;

	*names = NULL;
	if (!config->name_count)
		return 0;
	fault_set(fault, NULL, NULL, "out of memory; name fewer backends");
	made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->config = config;
	made->forwards = forwards;
	made->list = calloc(config->name_count, sizeof(*made->list));
	made->targets = calloc(config->name_count, sizeof(*made->targets));
	result = made->list && made->targets ? resolver_create(&made->resolver, &options, fault)
					     : -ENOMEM;
	if (result) {
		names_destroy(made);
		return result;
	}
	add_targets(made);
	*names = made;
	return 0;
}

void names_destroy(struct names *names)
{
	if (!names)
		return;
	if (names->resolver)
		resolver_destroy(names->resolver);
	free(names->targets);
	free(names->list);
	free(names);
}

/* Takeover ------------------------------------------------------------------------------------- */

struct names_answer {
	char name[DNS_NAME_BYTES];
	struct addr_set addresses; /* with port 0 */
};

/* 64 addresses of IPv6, each with its length */
_Static_assert(DNS_NAME_BYTES + ADDR_SET_MOST * (sizeof(struct sockaddr_in6) + 8) + 64 <
		       CARRIER_RECORD_BYTES,
	       "an answer fits");

void names_write(const struct names *names, struct carrier *carrier)
{
	for (unsigned i = 0; names && i < names->name_count; i++) {
		const struct name *name = &names->list[i];
		const struct addr_set *addresses = &name->dns.addresses;

		if (!addresses->count)
			continue;
		carrier_begin(carrier, CARRIER_NAME);
		carrier_put_text(carrier, name->backend->name);
		carrier_put(carrier, addresses->count);
		for (unsigned j = 0; j < addresses->count; j++)
			carrier_put_addr(carrier, &addresses->list[j]);
		carrier_end(carrier);
	}
}

int names_read(struct names_answers *answers, struct carrier *carrier)
{
	struct names_answer *list =
		realloc(answers->list, (answers->count + 1) * sizeof(*answers->list));
	struct names_answer *answer;
	struct sockaddr_un local;
	struct addr address;
	uint64_t count;

	if (!list)
		return -ENOMEM;
	answers->list = list;
	answer = &list[answers->count];
	memset(answer, 0, sizeof(*answer));
	(void)carrier_take_text(carrier, answer->name, sizeof(answer->name));
	for (count = carrier_take(carrier); count && carrier_is_whole(carrier); count--) {
		carrier_take_addr(carrier, &address, &local);
		if (!address.length_bytes || addr_is_local(&address))
			return -EBADMSG;
		addr_set_insert(&answer->addresses, &address);
	}
	if (!carrier_is_whole(carrier))
		return -EBADMSG;
	answers->count++;
	return 0;
}

void names_answers_finish(struct names_answers *answers)
{
	free(answers->list);
	*answers = (struct names_answers){0};
}

static const struct names_answer *find_answer(const struct names_answers *answers,
					      const struct name *name)
{
	for (unsigned i = 0; i < answers->count; i++)
		if (!strcasecmp(answers->list[i].name, name->backend->name))
			return &answers->list[i];
	return NULL;
}

void names_use(struct names *names, const struct names_answers *answers)
{
	for (unsigned i = 0; names && i < names->name_count; i++) {
		struct name *name = &names->list[i];
		const struct names_answer *answer = find_answer(answers, name);
		struct addr_set usable = {0};

		for (unsigned j = 0; answer && j < answer->addresses.count; j++)
			if (names->config->dns_family == CONFIG_DNS_BOTH ||
			    answer->addresses.list[j].any.sa_family == AF_INET)
				addr_set_insert(&usable, &answer->addresses.list[j]);
		if (!usable.count)
			continue;
		name->dns.addresses = usable;
		name->dns.state = RESOLVER_RESOLVED;
		set_targets(name, true);
		set_state(name, true);
	}
}

/* Running -------------------------------------------------------------------------------------- */

void names_prepare_poll(struct names *names, struct poll_set *set)
{
	resolver_prepare_poll(names->resolver, set);
	if (names->cramped_due_ms)
		poll_set_due(set, names->cramped_due_ms);
}

void names_run(struct names *names, const struct poll_set *set)
{
	resolver_run(names->resolver, set);
	set_cramped(names);
}

/* A name that the start waits for; NULL: none. */
static struct name *find_awaited(struct names *names)
{
	for (unsigned i = 0; i < names->name_count; i++) {
		struct name *name = &names->list[i];

		if (!name->resolved && (is_required(names) || !name->failing))
			return name;
	}
	return NULL;
}

static void add_error(const struct names *names, const struct config_backend *backend,
		      const char *reason, struct config_errors *errors)
{
	const struct config_value value = {.option = options_find("backend", strlen("backend")),
					   .origin = backend->origin};
	struct fault fault;
	char text[CONFIG_BACKEND_TEXT_BYTES];

	fault_set(&fault, "backend", config_print_backend(backend, text),
		  "the name has no address: %s; correct it or --dns-server, or give "
		  "--resolve-at-start try",
		  reason);
	config_origin_name(names->config, &value, &fault);
	config_errors_add(errors, &fault);
}

/* Logs names without an answer. If names are required, each without an address is an error. */
static int give_up(struct names *names, struct config_errors *errors)
{
	static const char late[] = "no answer within --resolve-timeout";
	bool required = is_required(names) && find_awaited(names);

	for (unsigned i = 0; i < names->name_count; i++) {
		struct name *name = &names->list[i];

		if (name->resolved || (name->failing && !required))
			continue;
		if (required)
			add_error(names, name->backend, name->dns.error ? name->dns.error : late,
				  errors);
		else
			fail(name, late);
	}
	return required ? -ENOENT : 0;
}

int names_wait(struct names *names, struct config_errors *errors)
{
	uint64_t end_ms = timer_now_ms() + names->config->resolve_timeout_ms;
	bool is_late = false, stopped = false;
	struct poll_set set;
	int stop_fd;

	if (!names->config->resolve_timeout_ms)
		return 0;
	stop_fd = signals_open_stop();
	while (!is_late && !stopped && find_awaited(names)) {
		/* the last run takes answers that came in time but are read late (SIGSTOP) */
		is_late = timer_now_ms() >= end_ms;
		poll_set_begin(&set);
		poll_set_add(&set, stop_fd, POLLIN);
		poll_set_due(&set, end_ms);
		names_prepare_poll(names, &set);
		poll_set_wait(&set);
		names_run(names, &set);
		stopped = poll_set_events(&set, stop_fd);
	}
	if (stop_fd >= 0)
		close(stop_fd);
	return stopped ? 0 : give_up(names, errors);
}
