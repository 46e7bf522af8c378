#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "config_names.h"
#include "config_origin.h"
#include "config_range.h"
#include "config_source.h"
#include "pool.h"

int config_fail(char error[CONFIG_ERROR_BYTES], const char *format, ...)
{
	__builtin_va_list arguments;

	__builtin_va_start(arguments, format);
	vsnprintf(error, CONFIG_ERROR_BYTES, format, arguments);
	__builtin_va_end(arguments);
	return -EINVAL;
}

static unsigned count_in_use(const struct forward *forward)
{
	unsigned count = 0;

	for (unsigned i = 0; i < forward->backend_count; i++)
		count += !forward->backends[i].down && forward->backends[i].weight;
	return count;
}

/* What --balance and the checks need. */
static int complete_pool(struct forward *forward, char error[CONFIG_ERROR_BYTES])
{
	struct forward_options *options = &forward->options;
	char text[ADDR_TEXT_BYTES];

	addr_print(&forward->listen, text);
	/* refusing clients because the only backend refused one helps nobody, unless asked for */
	if (options->max_fails == CONFIG_MAX_FAILS_AUTO) {
		forward->auto_max_fails = true;
		options->max_fails = count_in_use(forward) > 1 || forward->name_count;
	}
	if (options->max_fails && !options->fail_timeout_ms)
		return config_fail(error,
				   "--listen '%.80s': with --fail-timeout 0 a backend that failed "
				   "once would never be tried again; give a time, or --max-fails 0",
				   text);
	for (unsigned i = 0; i < forward->backend_count; i++) {
		forward->backends[i].check |= options->check_backends;
		forward->backends[i].fastopen |= options->fastopen_backends;
		forward->has_checks |= forward->backends[i].check;
	}
	if (forward->has_checks && (!options->check_interval_ms || !options->check_timeout_ms))
		return config_fail(error,
				   "--listen '%.80s': checks need a --check-interval and a "
				   "--check-timeout above 0; give times",
				   text);
	return 0;
}

/* What an accepting side with PROXY protocol headers needs; and what backends leave to the forward. */
static int complete_forward(const struct config *config, struct forward *forward,
			    char error[CONFIG_ERROR_BYTES])
{
	const struct forward_options *options = &forward->options;
	char text[ADDR_TEXT_BYTES];

	addr_print(&forward->listen, text);
	if (options->accept_proxy && !options->trust_count)
		return config_fail(
			error,
			"--listen '%.80s': --accept-proxy without --trust would let anybody claim "
			"any address; add --trust with the blocks of your proxies",
			text);
	if (options->accept_proxy && addr_is_local(&forward->listen))
		return config_fail(
			error,
			"--listen '%.120s': --accept-proxy does not go with a local socket, which "
			"would wake us for every byte of a header; listen on loopback",
			text);
	forward->needs_client = options->accept_proxy || config->admin ||
				options->source.embedded ||
				options->source.kind == CONFIG_SOURCE_POOL || options->rule_count ||
				options->per_source_maxconn || options->per_source_rate;
	forward->wants_client =
		forward->needs_client || config->access_log || options->balance == POOL_SOURCE;
	if (complete_pool(forward, error))
		return -EINVAL;
	for (unsigned i = 0; i < forward->backend_count; i++) {
		if (forward->backends[i].send_proxy == CONFIG_SEND_PROXY_INHERIT)
			forward->backends[i].send_proxy = options->send_proxy;
		forward->wants_client |= forward->backends[i].send_proxy != CONFIG_SEND_PROXY_OFF;
	}
	return 0;
}

/* The first of an option's values; without one, no more than an origin. */
static struct config_value first_value(const struct config_values *values, const char *name,
				       struct config_origin origin)
{
	struct config_value missing = {.option = options_find(name, strlen(name)),
				       .origin = origin};
	const struct config_value *value;
	unsigned at = 0;

	value = config_values_next(values, missing.option, &at);
	return value ? *value : missing;
}

static struct config_value value_of_forward(const struct forward *forward, const char *name)
{
	return first_value(&forward->values, name, forward->origin);
}

/* --trust may stand before listeners that have no use for it, but one must have. */
static int check_trust(const struct config *config, char error[CONFIG_ERROR_BYTES])
{
	const struct forward *trusting = NULL;
	struct config_value trust;
	bool accepting = false;

	for (unsigned i = 0; i < config->forward_count; i++) {
		if (!trusting && config->forwards[i].options.trust_count)
			trusting = &config->forwards[i];
		accepting |= config->forwards[i].options.accept_proxy;
	}
	if (!trusting || accepting)
		return 0;
	trust = value_of_forward(trusting, "trust");
	config_fail(error, "--trust: without --accept-proxy nobody is trusted with anything; "
			   "add --accept-proxy or leave it out");
	config_origin_rename(config, &trust, error);
	return -EINVAL;
}

/* What is sent and expected may stand before listeners without checks, but one must have some. */
static int check_checks(const struct config *config, char error[CONFIG_ERROR_BYTES])
{
	bool described = false, checked = false;

	for (unsigned i = 0; i < config->forward_count; i++) {
		const struct forward *forward = &config->forwards[i];

		described |=
			forward->options.check_send.count || forward->options.check_expect.count;
		checked |= forward->has_checks;
	}
	if (described && !checked)
		return config_fail(error,
				   "--check-send, --check-expect: no backend is checked; add "
				   "--check-backends, or check behind a backend's address");
	return 0;
}

static int check_names(struct config *config, char error[CONFIG_ERROR_BYTES])
{
	const char *name = NULL;
	struct config_value value;

	if (!config_names_check(config, &name, error))
		return 0;
	value = first_value(&config->values, name, config->origin);
	config_origin_rename(config, &value, error);
	return -EINVAL;
}

static int fail_twice(const struct config *config, const struct forward *other, const char *listen,
		      char error[CONFIG_ERROR_BYTES])
{
	char where[CONFIG_ORIGIN_BYTES];
	struct config_value value = value_of_forward(other, "listen");

	if (value.origin.kind == CONFIG_ORIGIN_COMMAND_LINE)
		return config_fail(error,
				   "--listen '%.80s': given twice; put all its backends behind one "
				   "--listen",
				   listen);
	return config_fail(error,
			   "--listen '%.80s': is given at %s too; put all its backends behind one",
			   listen, config_origin_print(config, &value, where));
}

static int fail_metrics(const struct config *config, const char *listen,
			char error[CONFIG_ERROR_BYTES])
{
	struct config_value metrics = first_value(&config->values, "metrics", config->origin);

	config_fail(error, "--metrics '%.80s': is a listener's address; give another port", listen);
	config_origin_rename(config, &metrics, error);
	return -EINVAL;
}

/* Not one that the kernel chooses, differently for each. */
static bool is_fixed(const struct addr *listen)
{
	return addr_is_local(listen) || addr_port(listen);
}

static int check_forward(const struct config *config, struct forward *forward,
			 char error[CONFIG_ERROR_BYTES])
{
	char text[ADDR_TEXT_BYTES];

	addr_print(&forward->listen, text);
	if (addr_port(&forward->listen) && addr_equal(&forward->listen, &config->metrics))
		return fail_metrics(config, text, error);
	for (const struct forward *other = config->forwards; other < forward; other++)
		if (is_fixed(&forward->listen) && addr_equal(&forward->listen, &other->listen))
			return fail_twice(config, other, text, error);
	if (forward->broken)
		return 0;
	if (!forward->backend_count)
		return config_fail(
			error, "--listen '%.80s': has no backend; add --backend ADDRESS after it",
			text);
	for (unsigned i = 0; i < forward->backend_count; i++)
		if (!*forward->backends[i].name &&
		    addr_equal(&forward->backends[i].addr, &forward->listen))
			return config_fail(
				error,
				"--listen '%.80s': is a backend of its own and would forward to "
				"itself; give the service's address",
				text);
	if (config_names_check_forward(config, forward, error) ||
	    complete_forward(config, forward, error))
		return -EINVAL;
	return config_source_check(config, forward, error);
}

/* Forwards of the command line are called by their number, or the next that no section has for its name. */
static void name_forwards(struct config *config)
{
	unsigned number = 0;
	char name[16];

	for (unsigned i = 0; i < config->forward_count; i++) {
		struct forward *forward = &config->forwards[i];
		bool taken = !forward->name;

		while (taken) {
			snprintf(name, sizeof(name), "%u", ++number);
			taken = false;
			for (unsigned j = 0; j < config->forward_count; j++)
				taken |= config->forwards[j].name &&
					 !strcmp(config->forwards[j].name, name);
		}
		if (!forward->name)
			forward->name = config_text_keep(&config->texts, name);
	}
}

/* As --trust: --dual-stack may stand before listeners that have no use for it. */
static int check_dual_stack(const struct config *config, char error[CONFIG_ERROR_BYTES])
{
	const struct forward *wanting = NULL;
	struct config_value dual;

	for (unsigned i = 0; i < config->forward_count; i++) {
		if (!config->forwards[i].options.tuning.dual_stack)
			continue;
		if (addr_is_v6_wildcard(&config->forwards[i].listen))
			return 0;
		wanting = &config->forwards[i];
	}
	if (!wanting)
		return 0;
	dual = value_of_forward(wanting, "dual-stack");
	config_fail(error,
		    "--dual-stack: no listener that it holds for is on [::], and others have one "
		    "family; listen on [::], or leave it out");
	config_origin_rename(config, &dual, error);
	return -EINVAL;
}

uint64_t config_largest_backlog(const struct config *config)
{
	uint64_t largest = config->forward_count ? 0 : config->defaults.backlog;

	for (unsigned i = 0; i < config->forward_count; i++)
		largest = MAX(largest, config->forwards[i].options.backlog);
	return largest;
}

/* What only all forwards together tell. */
static int check_together(struct config *config, char error[CONFIG_ERROR_BYTES])
{
	if (!config->forward_count)
		return config_fail(error,
				   "LISTEN and BACKEND are missing; give both, as in: sixpipe "
				   "'[::]:2000' 192.0.2.1:80 (see --help)");
	if (check_names(config, error) || check_trust(config, error) ||
	    check_dual_stack(config, error))
		return -EINVAL;
	return check_checks(config, error);
}

int config_check(struct config *config, char error[CONFIG_ERROR_BYTES])
{
	struct config_errors *errors = &config->errors;

	if (config_expand_ranges(config, error))
		config_errors_add(errors, error);
	for (unsigned i = 0; i < config->forward_count; i++) {
		struct config_value listen = value_of_forward(&config->forwards[i], "listen");

		if (!check_forward(config, &config->forwards[i], error))
			continue;
		config_origin_rename(config, &listen, error);
		config_errors_add(errors, error);
	}
	/* where something was refused, what is missing is no news */
	if (!errors->count && check_together(config, error))
		config_errors_add(errors, error);
	if (!errors->count) {
		name_forwards(config);
		return 0;
	}
	snprintf(error, CONFIG_ERROR_BYTES, "%s", errors->list[0]);
	return -EINVAL;
}

void config_init(struct config *config)
{
	char error[CONFIG_ERROR_BYTES];

	const struct option_spec *options;
	size_t count;

	memset(config, 0, sizeof(*config));
	config->defaults.max_fails = CONFIG_MAX_FAILS_AUTO;
	options = options_list(&count);
	for (size_t i = 0; i < count; i++)
		if (*options[i].default_text)
			CHECK(!config_set(config, &options[i], options[i].default_text, error));
	config->origin.kind = CONFIG_ORIGIN_COMMAND_LINE;
}

void config_finish(struct config *config)
{
	for (unsigned i = 0; i < config->forward_count; i++) {
		free(config->forwards[i].backends);
		config_values_finish(&config->forwards[i].values);
	}
	for (unsigned i = 0; i < config->local_name_count; i++)
		free(config->local_names[i]);
	free(config->local_names);
	free(config->forwards);
	config_values_finish(&config->values);
	config_values_finish(&config->default_values);
	config_errors_finish(&config->errors);
	config_text_finish(&config->texts);
	memset(config, 0, sizeof(*config));
}
