#include "forward/admission.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/cidr.h"
#include "base/memory.h"
#include "config/config_origin.h"
#include "config/config_rules.h"
#include "forward/loops.h"
#include "limits/prefix_set.h"
#include "os/timer.h"

_Static_assert(CONFIG_ERROR_BYTES >= PREFIX_SET_FAULT_BYTES, "a set's message fits");

/*
 * What a limit lets through at once after a pause: 1/16 s of its rate, several times what a timer comes
 * late by, and little enough that two seconds are within 5 %. Scenario: test_admission.
 */
#define BURSTS_PER_SECOND 16

struct admission_forward {
	/* admitted and not ended, where there is a limit */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint32_t sessions;
	uint32_t limit;					     /* 0: none */
	_Alignas(CACHE_LINE_BYTES) struct prefix_set *rules; /* NULL: everybody */
	bool owns_rules;	       /* another forward with the same has them otherwise */
	struct client_limits *sources; /* NULL: no limits */
	struct admission_bandwidth bandwidth[2];
};

struct admission {
	struct loops *loops;
	struct admission_forward *forwards;
	unsigned count;
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

		CHECK(!fault); /* config_set() has seen to that */
		result = prefix_set_add(set, &cidr, verdict);
	}
	return result;
}

/* A file of rules that is read, and what gave it. */
struct rule_file {
	struct config *config;
	const struct config_value *value;
	bool told; /* of a line at least */
};

static void tell_fault(void *listener, const char *fault)
{
	struct rule_file *file = listener;
	char error[CONFIG_ERROR_BYTES];

	snprintf(error, sizeof(error), "%s", fault);
	config_origin_append(file->config, file->value, error);
	config_errors_add(&file->config->errors, error);
	file->told = true;
}

/* What is wrong with the file as a whole is about the option, anything else about a line of the file. */
static int add_file(struct prefix_set *set, struct config *config,
		    const struct config_forward *forward, const struct config_rule *rule)
{
	struct rule_file file = {.config = config, .value = config_rules_value(forward, rule)};
	const struct prefix_set_faults faults = {.tell = tell_fault, .listener = &file};
	int result = prefix_set_add_file(set, rule->text, rule->allow ? PREFIX_ALLOW : PREFIX_DENY,
					 &faults);
	char error[CONFIG_ERROR_BYTES];

	if (result && !file.told) {
		config_fail(error, "--%s '%.200s': %s; give a file that this user may read",
			    file.value->option->name, rule->text, strerror(-result));
		config_origin_rename(config, file.value, error);
		config_errors_add(&config->errors, error);
	}
	return result;
}

/* All files are read, so that what is wrong with any of them is told. */
static int make_rules(struct prefix_set **set, struct config *config,
		      const struct config_forward *forward)
{
	const struct config_forward_options *options = &forward->options;
	int result = prefix_set_create(set), of_files = 0;

	for (unsigned i = 0; i < options->rule_count && !result; i++) {
		const struct config_rule *rule = &options->rules[i];

		if (rule->file) {
			int of_file = add_file(*set, config, forward, rule);

			of_files = of_files ? of_files : of_file;
		} else {
			result = add_list(*set, rule);
		}
	}
	if (!result && !of_files)
		result = prefix_set_compile(*set);
	if (result)
		config_errors_add(&config->errors, "no room for the rules of --allow and --deny; "
						   "name larger blocks");
	return result ? result : of_files;
}

static int make_sources(struct client_limits **sources,
			const struct config_forward_options *options, uint32_t maxconn)
{
	struct client_limits_options wanted = {
		.maxconn = (uint32_t)options->per_source_maxconn,
		.rate = (uint32_t)options->per_source_rate,
		.v6_bits = (unsigned)options->per_source_prefix6,
		.v4_bits = (unsigned)options->per_source_prefix4,
		.sources = MIN(maxconn, CLIENT_LIMITS_CLIENTS_MOST),
	};

	if (options->maxconn_forward)
		wanted.sources = MIN(wanted.sources, (uint32_t)options->maxconn_forward);
	if (getrandom(wanted.key, sizeof(wanted.key), 0) != sizeof(wanted.key))
		return errno ? -errno : -EIO;
	return client_limits_create(sources, &wanted);
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

/* The rules of an earlier forward with the same list, or NULL. */
static struct prefix_set *find_rules(const struct admission *self, const struct config *config,
				     unsigned forward)
{
	for (unsigned i = 0; i < forward; i++)
		if (config_rules_are_same(&config->forwards[i].options,
					  &config->forwards[forward].options))
			return self->forwards[i].rules;
	return NULL;
}

static int make_forward(struct admission *self, struct config *config, unsigned index,
			uint32_t maxconn)
{
	const struct config_forward_options *options = &config->forwards[index].options;
	struct admission_forward *forward = &self->forwards[index];
	int result = 0, of_sources = 0;

	forward->limit = (uint32_t)options->maxconn_forward;
	for (unsigned lane = 0; lane < 2; lane++)
		make_bandwidth(&forward->bandwidth[lane], &options->limits, lane);
	if (options->rule_count)
		forward->rules = find_rules(self, config, index);
	if (options->rule_count && !forward->rules) {
		forward->owns_rules = true;
		result = make_rules(&forward->rules, config, &config->forwards[index]);
	}
	if (options->per_source_maxconn || options->per_source_rate)
		of_sources = make_sources(&forward->sources, options, maxconn);
	if (of_sources)
		config_errors_add(
			&config->errors,
			of_sources == -ENOMEM
				? "no memory for the --per-source limits; lower --maxconn"
				: "no random number for the --per-source limits: getrandom(2) "
				  "failed; allow it in the seccomp profile");
	return result ? result : of_sources;
}

int admission_create(struct admission **admission, struct config *config, uint32_t maxconn)
{
	struct admission *self = calloc(1, sizeof(*self));
	int result = 0;

	if (self)
		self->forwards =
			memory_alloc_lines(config->forward_count * sizeof(*self->forwards));
	if (!self || !self->forwards || loops_create(&self->loops, config)) {
		config_errors_add(&config->errors, "out of memory; lower --maxconn");
		if (self)
			free(self->forwards);
		free(self);
		return -ENOMEM;
	}
	self->count = config->forward_count;
	for (unsigned i = 0; i < self->count; i++) {
		int of_forward = make_forward(self, config, i, maxconn);

		result = result ? result : of_forward;
	}
	if (result) {
		admission_destroy(self);
		return result;
	}
	*admission = self;
	return 0;
}

void admission_destroy(struct admission *admission)
{
	if (!admission)
		return;
	for (unsigned i = 0; i < admission->count; i++) {
		if (admission->forwards[i].owns_rules)
			prefix_set_destroy(admission->forwards[i].rules);
		client_limits_destroy(admission->forwards[i].sources);
	}
	loops_destroy(admission->loops);
	free(admission->forwards);
	free(admission);
}

/* Clients -------------------------------------------------------------------------------------- */

enum admission_verdict admission_enter(struct admission *admission, unsigned forward,
				       const struct addr *client, uint64_t now_ms,
				       client_ticket *ticket)
{
	struct admission_forward *self = &admission->forwards[forward];
	struct in6_addr address;

	*ticket = CLIENT_UNCOUNTED;
	if (!self->rules && !self->sources)
		return ADMISSION_OK;
	address = cidr_address_of(client);
	if (self->rules && prefix_set_verdict(self->rules, &address, NULL) == PREFIX_DENY)
		return ADMISSION_DENIED;
	if (!self->sources)
		return ADMISSION_OK;
	switch (client_limits_enter(self->sources, &address, now_ms, ticket)) {
	case CLIENT_TOO_MANY:
		return ADMISSION_SOURCE_MAXCONN;
	case CLIENT_TOO_FAST:
		return ADMISSION_SOURCE_RATE;
	default:
		return ADMISSION_OK;
	}
}

bool admission_forbids(struct admission *admission, unsigned forward, const struct addr *backend,
		       uint64_t now_ms)
{
	return loops_would_close(admission->loops, forward, backend, now_ms);
}

void admission_leave(struct admission *admission, unsigned forward, client_ticket ticket)
{
	if (admission->forwards[forward].sources)
		client_limits_leave(admission->forwards[forward].sources, ticket);
}

/* Places --------------------------------------------------------------------------------------- */

uint32_t admission_room(const struct admission *admission, unsigned forward)
{
	const struct admission_forward *self = &admission->forwards[forward];
	uint32_t sessions;

	if (!self->limit)
		return UINT32_MAX;
	/* sequentially consistent with load_wait() and the release of what gave the place */
	sessions = atomic_load(&self->sessions);
	return sessions < self->limit ? self->limit - sessions : 0;
}

bool admission_take_place(struct admission *admission, unsigned forward)
{
	struct admission_forward *self = &admission->forwards[forward];

	if (!self->limit || atomic_fetch_add(&self->sessions, 1) < self->limit)
		return true;
	atomic_fetch_sub(&self->sessions, 1);
	return false;
}

void admission_give_place(struct admission *admission, unsigned forward)
{
	struct admission_forward *self = &admission->forwards[forward];

	if (self->limit) {
		uint32_t before = atomic_fetch_sub(&self->sessions, 1);

		CHECK(before > 0);
	}
}

/* Bandwidth and metrics ------------------------------------------------------------------------ */

struct admission_bandwidth *admission_bandwidth(struct admission *admission, unsigned forward,
						unsigned lane)
{
	struct admission_bandwidth *bandwidth = &admission->forwards[forward].bandwidth[lane];

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
	uint64_t sum = 0;

	for (unsigned i = 0; i < admission->count && metric == METRIC_sources_uncounted; i++)
		if (admission->forwards[i].sources)
			sum += client_limits_uncounted(admission->forwards[i].sources);
	return sum;
}
