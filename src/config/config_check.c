/* SPDX-License-Identifier: MIT */
/*
 * The checks of the whole configuration: forwards without backends, options that need others,
 * conflicts. Longer checks have files of their own and are called from here.
 */
#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "config/config_activation.h"
#include "config/config_conflict.h"
#include "config/config_field.h"
#include "config/config_loop.h"
#include "config/config_origin.h"
#include "config/config_source.h"
#include "pool/pool.h"

static void add_fault(struct config *config, const struct config_forward *forward,
		      struct fault *fault)
{
	config_origin_add_to(&config->errors, config, forward, fault);
}

/*
 * Checks that a backend's range of ports is as long as the listener's, and the limit on listeners.
 */
static int check_range(const struct config *config, const struct config_forward *forward,
		       struct fault *fault)
{
	char text[CONFIG_BACKEND_TEXT_BYTES];
	unsigned ports = forward->port_count, before = 0;

	for (const struct config_forward *other = config->forwards; other < forward; other++)
		before += other->port_count;
	/* reported once, not for every forward over the limit */
	if (before <= CONFIG_FORWARD_LIMIT && before + ports > CONFIG_FORWARD_LIMIT)
		return config_fault_listen(fault, forward,
					   "one too many; %d listeners are the limit, each port of "
					   "a range being one; start another process for more",
					   CONFIG_FORWARD_LIMIT);
	for (unsigned i = 0; i < forward->backend_count; i++) {
		const struct config_backend *backend = &forward->backends[i];

		if (backend->port_count > 1 && backend->port_count != ports)
			return config_fault_listen(fault, forward,
						   "backend %.120s has %u ports for the listener's "
						   "%u; give as many, or one for all",
						   config_print_backend(backend, text),
						   backend->port_count, ports);
	}
	return 0;
}

static unsigned count_in_use(const struct config_forward *forward)
{
	unsigned count = 0;

	for (unsigned i = 0; i < forward->backend_count; i++)
		count += !forward->backends[i].down && forward->backends[i].weight;
	return count;
}

/* Completes and checks what --balance and the active checks use. */
static int complete_pool(struct config_forward *forward, struct fault *fault)
{
	struct config_forward_options *options = &forward->options;
	/*
	 * a single backend stays up after a failed connect: there is no other to take the clients
	 */
	if (options->max_fails == CONFIG_MAX_FAILS_AUTO) {
		forward->auto_max_fails = true;
		options->max_fails = count_in_use(forward) > 1 || forward->name_count;
	}
	for (unsigned i = 0; i < forward->backend_count; i++) {
		forward->backends[i].check |= options->check_backends;
		forward->backends[i].fastopen |= options->fastopen_backends;
		forward->has_checks |= forward->backends[i].check;
	}
	if (options->max_fails && !options->fail_timeout_ms)
		return config_fault_listen(fault, forward,
					   "with --fail-timeout 0 a backend that failed once would "
					   "never be tried again; give a time, or --max-fails 0");
	if (forward->has_checks && (!options->check_interval_ms || !options->check_timeout_ms))
		return config_fault_listen(
			fault, forward,
			"checks need a --check-interval and a --check-timeout above 0; give times");
	return 0;
}

/*
 * --accept-proxy needs --trust, unless that may have been refused (not `whole`), and a TCP
 * listener.
 */
static int check_proxy(const struct config_forward *forward, bool whole, struct fault *fault)
{
	const struct config_forward_options *options = &forward->options;
	if (options->accept_proxy && !options->trust_count && whole)
		return config_fault_listen(
			fault, forward,
			"--accept-proxy without --trust would let anybody claim any address; add "
			"--trust with the blocks of your proxies");
	if (options->accept_proxy && addr_is_local(&forward->listen))
		return config_fault_listen(
			fault, forward,
			"--accept-proxy does not go with a local socket, which would wake us for "
			"every byte of a header; listen on loopback");
	return 0;
}

/*
 * With --ready backends, a forward gets no clients while all its backends are down. Only checks can
 * find that a backend is up again.
 */
static int check_ready(const struct config *config, const struct config_forward *forward,
		       struct fault *fault)
{
	char text[CONFIG_BACKEND_TEXT_BYTES];

	if (config->ready != CONFIG_READY_BACKENDS)
		return 0;
	for (unsigned i = 0; i < forward->backend_count; i++) {
		const struct config_backend *backend = &forward->backends[i];

		if (!backend->check && !backend->down)
			return config_fault_listen(
				fault, forward,
				"--ready backends needs a check of every backend, and %.60s has "
				"none; add --check-backends",
				config_print_backend(backend, text));
	}
	return 0;
}

/* Sets the values that backends take from the forward, and those that follow from its options. */
static void complete_forward(const struct config *config, struct config_forward *forward)
{
	const struct config_forward_options *options = &forward->options;

	forward->needs_client = options->accept_proxy || config->admin ||
				options->source.embedded ||
				options->source.kind == CONFIG_SOURCE_POOL || options->rule_count ||
				options->per_source_maxconn || options->per_source_rate;
	forward->wants_client =
		forward->needs_client || config->access_log || options->balance == POOL_SOURCE;
	for (unsigned i = 0; i < forward->backend_count; i++) {
		if (forward->backends[i].send_proxy == CONFIG_SEND_PROXY_INHERIT)
			forward->backends[i].send_proxy = options->send_proxy;
		forward->wants_client |= forward->backends[i].send_proxy != CONFIG_SEND_PROXY_OFF;
	}
}

/* Backends by name ----------------------------------------------------------------------------- */

/* Counts the names of a forward, and checks that --source can reach their addresses. */
static int check_name_families(const struct config *config, struct config_forward *forward,
			       struct fault *fault)
{
	const struct config_source *source = &forward->options.source;

	forward->name_count = 0;
	for (unsigned i = 0; i < forward->backend_count; i++)
		forward->name_count += *forward->backends[i].name != '\0';
	if (!forward->name_count || config->dns_family == CONFIG_DNS_V4)
		return 0;
	if (source->kind == CONFIG_SOURCE_NONE && !source->embedded)
		return 0;
	return config_fault_listen(fault, forward,
				   "--source reaches addresses of one family, and names may have "
				   "both; leave out --dns-family both");
}

static int check_servers(const struct config *config, struct fault *fault)
{
	struct addr servers[DNS_SERVERS_MOST];
	char item[ADDR_TEXT_BYTES];
	const char *problem;
	unsigned count;

	if (!config->dns_servers)
		return 0;
	problem = dns_parse_servers(config->dns_servers, servers, &count, item);
	return problem ? fault_set_words(fault, "dns-server", item, problem) : 0;
}

static int check_count(const struct config *config, struct fault *fault)
{
	if (config->name_count <= CONFIG_DNS_NAME_LIMIT)
		return 0;
	return fault_set(fault, "backend", NULL,
			 "%u of them are names; %d are the limit, start another process for more",
			 config->name_count, CONFIG_DNS_NAME_LIMIT);
}

/* Names the option that was given: the default of the other option is nowhere to be seen. */
static int fail_times(const struct config *config, struct fault *fault)
{
	static const char max_ttl[] = "dns-max-ttl";
	char least[UNITS_TEXT_BYTES], most[UNITS_TEXT_BYTES];
	const struct option_spec *option = options_find(max_ttl, strlen(max_ttl));
	const struct config_origin unknown = {.kind = CONFIG_ORIGIN_DEFAULT};

	units_print_duration(config->dns_min_ttl_ms, least);
	units_print_duration(config->dns_max_ttl_ms, most);
	if (config_origin_of(&config->values, option, unknown).origin.kind != CONFIG_ORIGIN_DEFAULT)
		return fault_set(
			fault, max_ttl, most,
			"is less than --dns-min-ttl %s; give more, or a smaller --dns-min-ttl",
			least);
	return fault_set(fault, "dns-min-ttl", least,
			 "is more than --%s %s; give less, or a larger --%s", max_ttl, most,
			 max_ttl);
}

static int check_times(const struct config *config, struct fault *fault)
{
	if (!config->dns_min_ttl_ms)
		return fault_set(fault, "dns-min-ttl", "0",
				 "answers with a TTL of 0 would be asked for without a pause; give "
				 "at least 1ms");
	if (config->dns_max_ttl_ms < config->dns_min_ttl_ms)
		return fail_times(config, fault);
	return 0;
}

static int check_start(const struct config *config, struct fault *fault)
{
	if (config->resolve_at_start != CONFIG_RESOLVE_REQUIRE || config->resolve_timeout_ms)
		return 0;
	return fault_set(fault, "resolve-at-start", "require",
			 "needs time for the answers; give a --resolve-timeout above 0");
}

static void check_names(struct config *config)
{
	static int (*const checks[])(const struct config *, struct fault *) = {
		check_count, check_servers, check_times, check_start};
	struct fault fault;

	config->name_count = 0;
	for (unsigned i = 0; i < config->forward_count; i++)
		config->name_count +=
			config->forwards[i].name_count * config->forwards[i].port_count;
	for (size_t i = 0; i < ARRAY_COUNT(checks); i++)
		if (checks[i](config, &fault))
			add_fault(config, NULL, &fault);
}

/* The whole ------------------------------------------------------------------------------------ */

/*
 * An option that has no effect without another. At least one of the forwards that have it must use
 * it.
 */
struct dependence {
	const char *option;
	bool (*is_used)(const struct config_forward *forward);
	const char *words;
};

static bool accepts_proxy(const struct config_forward *forward)
{
	return forward->options.accept_proxy;
}

static bool sends_v2(const struct config_forward *forward)
{
	for (unsigned i = 0; i < forward->backend_count; i++)
		if (forward->backends[i].send_proxy == CONFIG_SEND_PROXY_V2)
			return true;
	return !forward->backend_count;
}

/* Also true for systemd:NAME without a passed socket: its address is not known. */
static bool is_on_wildcard(const struct config_forward *forward)
{
	return addr_is_v6_wildcard(&forward->listen) || !forward->listen.length_bytes;
}

static bool binds(const struct config_forward *forward)
{
	return !forward->socket_name;
}

/* Also true without backends: their absence has been reported. */
static bool is_checked(const struct config_forward *forward)
{
	return forward->has_checks || !forward->backend_count;
}

static bool has_pool(const struct config_forward *forward)
{
	return forward->options.source.kind == CONFIG_SOURCE_POOL;
}

static const struct dependence dependences[] = {
	{"trust", accepts_proxy,
	 "without --accept-proxy nobody is trusted with anything; add --accept-proxy or leave it "
	 "out"},
	{"proxy-tlv", sends_v2,
	 "only headers of version 2 have room for it; add --send-proxy v2 or leave it out"},
	{"dual-stack", is_on_wildcard,
	 "no listener that it holds for is on [::], and others have one family; listen on [::], or "
	 "leave it out"},
	{"freebind", binds,
	 "systemd binds the socket; write FreeBind=yes in the .socket unit instead"},
	{"bind-device", binds,
	 "systemd binds the socket; write BindToDevice= in the .socket unit instead"},
	{"unix-mode", binds,
	 "systemd makes the file; write SocketMode= in the .socket unit instead"},
	{"check-send", is_checked,
	 "no backend is checked; add --check-backends, or check behind a backend's address"},
	{"check-expect", is_checked,
	 "no backend is checked; add --check-backends, or check behind a backend's address"},
	{"pseudo-key", has_pool,
	 "there are no addresses to choose by it; add --source pseudo or loopback, or leave it "
	 "out"},
	{"pseudo-state", has_pool,
	 "there are no addresses to keep in it; add --source pseudo or loopback, or leave it out"},
};

static bool is_given(const struct config_forward *forward, const struct option_spec *option)
{
	const struct config_value *value;
	unsigned at = 0;
	bool given = false;

	while ((value = config_values_next(&forward->values, option, &at)) && !given) {
		given = value->origin.kind != CONFIG_ORIGIN_DEFAULT;
		if (option->type == OPTION_FLAG)
			(void)config_field_read_flag(value->text, &given);
	}
	return given;
}

static void check_dependence(struct config *config, const struct dependence *row)
{
	const struct option_spec *option = options_find(row->option, strlen(row->option));
	const struct config_forward *wanting = NULL;
	struct fault fault;

	for (unsigned i = 0; i < config->forward_count; i++) {
		const struct config_forward *forward = &config->forwards[i];

		if (!is_given(forward, option))
			continue;
		if (row->is_used(forward))
			return;
		if (!wanting)
			wanting = forward;
	}
	if (!wanting)
		return;
	fault_set_words(&fault, row->option, NULL, row->words);
	add_fault(config, wanting, &fault);
}

static int fail_without_backend(const struct config_forward *forward, struct fault *fault)
{
	const struct option_spec *backend = options_find("backend", strlen("backend"));
	char name[CONFIG_VARIABLE_BYTES];

	if (forward->origin.kind != CONFIG_ORIGIN_ENVIRONMENT)
		return config_fault_listen(fault, forward,
					   "has no backend; add --backend ADDRESS after it");
	return config_fault_listen(fault, forward, "has no backend; set %s as well",
				   config_origin_variable(backend, forward->origin.number, name));
}

static void check_forward(struct config *config, struct config_forward *forward)
{
	/* after a refused value, a missing value is not reported */
	bool whole = !forward->broken && !config->broken;
	struct fault fault;

	if (config_conflict_of_monitoring(config, forward, &fault))
		add_fault(config, forward, &fault);
	if (config_conflict_of_listeners(config, forward, &fault))
		add_fault(config, forward, &fault);
	if (!forward->backend_count && whole) {
		fail_without_backend(forward, &fault);
		add_fault(config, forward, &fault);
	}
	/* the other checks need a listener and backends */
	if (!forward->backend_count || !config_has_listener(forward))
		return;
	if (check_range(config, forward, &fault))
		add_fault(config, forward, &fault);
	complete_forward(config, forward);
	if (config_conflict_of_backends(forward, &fault))
		add_fault(config, forward, &fault);
	if (check_name_families(config, forward, &fault) ||
	    config_source_check(config, forward, &fault))
		add_fault(config, forward, &fault);
	if (check_proxy(forward, whole, &fault))
		add_fault(config, forward, &fault);
	if (complete_pool(forward, &fault) || check_ready(config, forward, &fault))
		add_fault(config, forward, &fault);
}

/* --admin is a whole path: its clients have another current directory. */
static void check_admin(struct config *config)
{
	struct fault fault;

	if (!config->admin || *config->admin == '/')
		return;
	fault_set(&fault, "admin", config->admin,
		  "is not a whole path; begin it with '/', as in /run/sixpipe/admin.sock");
	add_fault(config, NULL, &fault);
}

static void check_log(struct config *config)
{
	struct fault fault;

	if (!config->log_file || config->log_target != CONFIG_LOG_SYSLOG)
		return;
	fault_set(&fault, "log-file", config->log_file,
		  "the log has only one target, and --log-target syslog is given too; leave one of "
		  "the two out");
	add_fault(config, NULL, &fault);
}

/*
 * Names the forwards without a section by numbers from 1, without those that a section has as its
 * name.
 */
static void name_forwards(struct config *config)
{
	unsigned number = 0;
	char name[16];

	for (unsigned i = 0; i < config->forward_count; i++) {
		struct config_forward *forward = &config->forwards[i];
		bool taken = !forward->name;

		while (taken) {
			snprintf(name, sizeof(name), "%u", ++number);
			taken = false;
			for (unsigned j = 0; j < config->forward_count; j++)
				taken |= config->forwards[j].name &&
					 !strcmp(config->forwards[j].name, name);
		}
		if (!forward->name)
			forward->name = config_text_keep(&config->kept, name);
	}
}

int config_check(struct config *config)
{
	struct fault fault;
	struct config_errors *errors = &config->errors;
	bool whole = !errors->count;

	config_activation_apply(config);
	for (unsigned i = 0; i < config->forward_count; i++)
		check_forward(config, &config->forwards[i]);
	if (whole && !config->forward_count) {
		if (config->file)
			fault_set(&fault, "config", config->file,
				  "has no forward, and LISTEN and BACKEND are missing; add a "
				  "[forward NAME], or give both");
		else
			fault_set(&fault, NULL, NULL,
				  "LISTEN and BACKEND are missing; give both, as in: sixpipe "
				  "'[::]:2000' 192.0.2.1:80 (see --help)");
		config_errors_add(errors, &fault);
	}
	if (config->ready == CONFIG_READY_BACKENDS && !config->metrics.length_bytes && whole) {
		fault_set(&fault, "ready", "backends",
			  "changes /ready, which is served only with --metrics; add --metrics "
			  "ADDRESS, or leave --ready out");
		add_fault(config, NULL, &fault);
	}
	check_names(config);
	check_admin(config);
	check_log(config);
	/* after a refused value, the option that another needs may be missing */
	for (size_t i = 0; i < ARRAY_COUNT(dependences) && whole; i++)
		check_dependence(config, &dependences[i]);
	if (!errors->count) {
		config_expand_ranges(config);
		name_forwards(config);
		if (!config_loop_check(config, false, &config->errors))
			return 0;
	}
	return -EINVAL;
}
