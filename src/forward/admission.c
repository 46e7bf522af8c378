/* SPDX-License-Identifier: MIT */
#include "forward/admission.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/cidr.h"
#include "base/memory.h"
#include "config/config_origin.h"
#include "limits/prefix_set.h"
#include "os/timer.h"

/*
 * After a pause, a bandwidth limit lets a burst of 1/16 s of its rate pass at once. This is several
 * times the delay of a late timer, and small enough that the rate over two seconds is within 5 %.
 * Scenario: test_admission.
 */
#define BURSTS_PER_SECOND 16

struct admission {
	/* sessions that have not ended; counted only if there is a limit */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint32_t sessions;
	uint32_t limit;					     /* 0: no limit */
	_Alignas(CACHE_LINE_BYTES) struct prefix_set *rules; /* NULL: all are allowed */
	bool owns_rules;	       /* false: an earlier forward owns the same rules */
	struct client_limits *clients; /* NULL: no limits */
	struct admission_bandwidth bandwidth[2];
};

/* Making --------------------------------------------------------------------------------------- */

static int add_list(struct prefix_set *set, const struct config_rule *rule)
{
	enum prefix_verdict verdict = rule->allow ? PREFIX_ALLOW : PREFIX_DENY;
	int result = 0;

	for (const char *at = rule->text; at && !result;) {
		char word[CIDR_TEXT_BYTES];
		struct cidr cidr;

		const char *fault = config_rules_next(&at, &cidr, word);

		CHECK(!fault); /* config_set() has checked the list */
		result = prefix_set_add(set, &cidr, verdict);
	}
	return result;
}

/* A file of rules, and the option that names the file. */
struct rule_file {
	const struct config *config;
	struct config_errors *errors;
	const struct config_value *value;
	bool told; /* a fault of a line was reported */
};

static void tell_fault(void *listener, struct fault *fault)
{
	struct rule_file *file = listener;

	config_origin_name(file->config, file->value, fault);
	config_errors_add(file->errors, fault);
	file->told = true;
}

/* A fault of the file as a whole names the option; other faults name a line of the file. */
static int add_file(struct prefix_set *set, const struct admission_setup *setup,
		    const struct config_rule *rule, struct config_errors *errors)
{
	struct rule_file file = {.config = setup->config,
				 .errors = errors,
				 .value = config_rules_value(setup->forward, rule)};
	const struct prefix_set_faults faults = {.tell = tell_fault, .listener = &file};
	int result = prefix_set_add_file(set, rule->text, rule->allow ? PREFIX_ALLOW : PREFIX_DENY,
					 &faults);
	struct fault fault;

	if (result && !file.told) {
		fault_set(&fault, NULL, rule->text, "%s; give a file that this user may read",
			  strerror(-result));
		config_origin_name(setup->config, file.value, &fault);
		config_errors_add(errors, &fault);
	}
	return result;
}

/* Reads all files, so that the faults of all files are reported. */
static int make_rules(struct prefix_set **set, const struct admission_setup *setup,
		      struct config_errors *errors)
{
	const struct config_forward_options *options = &setup->forward->options;
	int result = prefix_set_create(set), of_files = 0;

	for (unsigned i = 0; i < options->rule_count && !result; i++) {
		const struct config_rule *rule = &options->rules[i];

		if (rule->file) {
			int of_file = add_file(*set, setup, rule, errors);

			of_files = of_files ? of_files : of_file;
		} else {
			result = add_list(*set, rule);
		}
	}
	if (!result && !of_files)
		result = prefix_set_compile(*set);
	if (result)
		config_errors_add_words(errors, "no room for the rules of --allow and --deny; "
						"name larger blocks");
	return result ? result : of_files;
}

static int make_clients(struct client_limits **clients,
			const struct config_forward_options *options, uint32_t maxconn)
{
	struct client_limits_options wanted = {
		.maxconn = (uint32_t)options->per_source_maxconn,
		.rate = (uint32_t)options->per_source_rate,
		.v6_bits = (unsigned)options->per_source_prefix6,
		.v4_bits = (unsigned)options->per_source_prefix4,
		.clients = MIN(maxconn, CLIENT_LIMITS_CLIENTS_MOST),
	};

	if (options->maxconn_forward)
		wanted.clients = MIN(wanted.clients, (uint32_t)options->maxconn_forward);
	if (getrandom(wanted.key, sizeof(wanted.key), 0) != sizeof(wanted.key))
		return errno ? -errno : -EIO;
	return client_limits_create(clients, &wanted);
}

static void make_bandwidth(struct admission_bandwidth *bandwidth,
			   const struct config_bandwidth *limits, unsigned lane)
{
	bandwidth->own_limited = limits->own[lane];
	bandwidth->total_limited = limits->total[lane];
	if (bandwidth->own_limited)
		pacer_rate_init(&bandwidth->own, limits->own[lane],
				limits->own[lane] / BURSTS_PER_SECOND);
	if (!bandwidth->total_limited)
		return;
	pacer_rate_init(&bandwidth->total_rate, limits->total[lane],
			limits->total[lane] / BURSTS_PER_SECOND);
	pacer_init(&bandwidth->total, &bandwidth->total_rate, timer_now_ms() * 1000);
}

int admission_create(struct admission **admission, const struct admission_setup *setup,
		     struct config_errors *errors)
{
	const struct config_forward_options *options = &setup->forward->options;
	struct admission *made = memory_alloc_lines(sizeof(*made));
	int result = 0, of_clients = 0;

	*admission = made;
	if (!made) {
		config_errors_add_words(errors, "out of memory; lower --maxconn");
		return -ENOMEM;
	}
	made->limit = (uint32_t)options->maxconn_forward;
	for (unsigned lane = 0; lane < 2; lane++)
		make_bandwidth(&made->bandwidth[lane], &options->limits, lane);
	if (options->rule_count && setup->same_rules)
		made->rules = setup->same_rules->rules;
	if (options->rule_count && !made->rules) {
		made->owns_rules = true;
		result = make_rules(&made->rules, setup, errors);
	}
	if (options->per_source_maxconn || options->per_source_rate)
		of_clients = make_clients(&made->clients, options, setup->maxconn);
	if (of_clients)
		config_errors_add_words(
			errors,
			of_clients == -ENOMEM
				? "no memory for the --per-source limits; lower --maxconn"
				: "no random number for the --per-source limits: getrandom(2) "
				  "failed; allow it in the seccomp profile");
	return result ? result : of_clients;
}

void admission_destroy(struct admission *admission)
{
	if (!admission)
		return;
	if (admission->owns_rules)
		prefix_set_destroy(admission->rules);
	client_limits_destroy(admission->clients);
	free(admission);
}

/* Clients -------------------------------------------------------------------------------------- */

enum admission_verdict admission_enter(struct admission *admission, const struct addr *client,
				       uint64_t now_ms, client_ticket *ticket)
{
	static const enum admission_verdict verdicts[] = {
		[CLIENT_OK] = ADMISSION_OK,
		[CLIENT_TOO_MANY] = ADMISSION_SOURCE_MAXCONN,
		[CLIENT_TOO_FAST] = ADMISSION_SOURCE_RATE,
	};
	struct in6_addr address;

	*ticket = CLIENT_UNCOUNTED;
	if (!admission->rules && !admission->clients)
		return ADMISSION_OK;
	address = cidr_address_of(client);
	if (admission->rules && prefix_set_verdict(admission->rules, &address) == PREFIX_DENY)
		return ADMISSION_DENIED;
	if (!admission->clients)
		return ADMISSION_OK;
	return verdicts[client_limits_enter(admission->clients, &address, now_ms, ticket)];
}

void admission_resume(struct admission *admission, const struct addr *client, uint64_t now_ms,
		      client_ticket *ticket)
{
	struct in6_addr address;

	*ticket = CLIENT_UNCOUNTED;
	if (!admission->clients)
		return;
	address = cidr_address_of(client);
	client_limits_resume(admission->clients, &address, now_ms, ticket);
}

void admission_leave(struct admission *admission, client_ticket ticket)
{
	if (admission->clients)
		client_limits_leave(admission->clients, ticket);
}

/* Count ---------------------------------------------------------------------------------------- */

uint32_t admission_room(const struct admission *admission)
{
	uint32_t sessions;

	if (!admission->limit)
		return UINT32_MAX;
	/* sequentially consistent with load_wait() and with the release of an ended session */
	sessions = atomic_load(&admission->sessions);
	return sessions < admission->limit ? admission->limit - sessions : 0;
}

bool admission_count_session(struct admission *admission)
{
	if (!admission->limit || atomic_fetch_add(&admission->sessions, 1) < admission->limit)
		return true;
	atomic_fetch_sub(&admission->sessions, 1);
	return false;
}

void admission_resume_session(struct admission *admission)
{
	if (admission->limit)
		atomic_fetch_add(&admission->sessions, 1);
}

void admission_uncount_session(struct admission *admission)
{
	if (admission->limit) {
		uint32_t before = atomic_fetch_sub(&admission->sessions, 1);

		CHECK(before > 0);
	}
}

/* Bandwidth and metrics ------------------------------------------------------------------------ */

struct admission_bandwidth *admission_bandwidth(struct admission *admission, unsigned lane)
{
	struct admission_bandwidth *bandwidth = &admission->bandwidth[lane];

	return bandwidth->own_limited || bandwidth->total_limited ? bandwidth : NULL;
}

bool admission_limits_bandwidth(const struct config *config)
{
	for (unsigned i = 0; i < config->forward_count; i++) {
		const struct config_bandwidth *limits = &config->forwards[i].options.limits;

		for (unsigned lane = 0; lane < 2; lane++)
			if (limits->own[lane] || limits->total[lane])
				return true;
	}
	return false;
}

uint64_t admission_metric(const struct admission *admission, enum metric metric)
{
	return metric == METRIC_sources_uncounted && admission->clients
		       ? client_limits_uncounted(admission->clients)
		       : 0;
}
