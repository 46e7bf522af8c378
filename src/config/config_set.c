/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. config_set() finds the owner of the field by the option's scope: the
 * process, a forward or a backend. config_field.c reads the text into the field.
 */
#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "config/config_activation.h"
#include "config/config_address.h"
#include "config/config_field.h"
#include "config/config_origin.h"

#define BLANKS	   " \t\n"
#define NAME_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

/* An address or a parameter. */
#define ADDRESS_WORD_BYTES 300

/* Forwards ------------------------------------------------------------------------------------- */

/* The forward that options are set in. After all early forwards are made, they do not count. */
static struct config_forward *latest_forward(struct config *config)
{
	if (config->forward_count == config->early_forward_count)
		return NULL;
	return &config->forwards[config->forward_count - 1];
}

struct config_forward *config_begin_forward(struct config *config, const char *name)
{
	struct config_forward forward = {.name = name, .origin = config->origin, .port_count = 1};

	if (config->forward_count == CONFIG_FORWARD_LIMIT)
		return NULL;
	forward.options = config->defaults;
	config_values_copy(&forward.values, &config->default_values);
	config->forwards =
		config_grow(config->forwards, config->forward_count + 1, sizeof(forward));
	config->forwards[config->forward_count] = forward;
	return &config->forwards[config->forward_count++];
}

bool config_is_name(const char *name)
{
	size_t length = strlen(name);

	return length && length <= CONFIG_NAME_LIMIT && strspn(name, NAME_BYTES) == length;
}

const struct config_forward *config_find_forward(const struct config *config, const char *name)
{
	for (unsigned i = 0; i < config->forward_count; i++)
		if (config->forwards[i].name && !strcmp(config->forwards[i].name, name))
			return &config->forwards[i];
	return NULL;
}

static void shift_port(struct addr *address, unsigned by)
{
	addr_set_port(address, addr_port(address) + by);
}

/* A copy with memory of its own, `distance` places behind its original. */
static struct config_forward copy_forward(struct config *config,
					  const struct config_forward *forward, unsigned distance)
{
	struct config_forward made = *forward;
	char name[64];

	made.is_of_range = true;
	config_values_copy(&made.values, &forward->values);
	made.backends = config_grow(NULL, made.backend_count, sizeof(*made.backends));
	memcpy(made.backends, forward->backends, made.backend_count * sizeof(*made.backends));
	if (made.name) {
		snprintf(name, sizeof(name), "%.50s+%u", made.name, distance);
		made.name = config_text_keep(&config->kept, name);
	}
	return made;
}

void config_insert_copy(struct config *config, unsigned index, unsigned distance)
{
	unsigned at = index + distance, count = config->forward_count;
	struct config_forward copy = copy_forward(config, &config->forwards[index], distance);

	config->forwards = config_grow(config->forwards, count + 1, sizeof(copy));
	memmove(&config->forwards[at + 1], &config->forwards[at], (count - at) * sizeof(copy));
	config->forwards[at] = copy;
	config->forward_count = count + 1;
}

/*
 * The forward for port `index` of the range. The first takes the memory of `forward`, others get
 * copies.
 */
static struct config_forward for_port(struct config *config, const struct config_forward *forward,
				      unsigned index)
{
	struct config_forward made;

	made = index ? copy_forward(config, forward, index) : *forward;
	made.port_count = 1;
	if (!index)
		return made;
	shift_port(&made.listen, index);
	for (unsigned i = 0; i < made.backend_count; i++)
		if (made.backends[i].port_count > 1)
			shift_port(&made.backends[i].addr, index);
	return made;
}

void config_expand_ranges(struct config *config)
{
	struct config_forward *all;
	unsigned count = 0, total = 0;

	for (unsigned i = 0; i < config->forward_count; i++)
		total += config->forwards[i].port_count;
	if (total == config->forward_count)
		return;
	all = config_grow(NULL, total, sizeof(*all));
	for (unsigned i = 0; i < config->forward_count; i++)
		for (unsigned j = 0; j < config->forwards[i].port_count; j++)
			all[count++] = for_port(config, &config->forwards[i], j);
	for (unsigned i = 0; i < count; i++)
		for (unsigned j = 0; j < all[i].backend_count; j++)
			all[i].backends[j].port_count = 1;
	free(config->forwards);
	config->forwards = all;
	config->forward_count = count;
}

/* Values --------------------------------------------------------------------------------------- */

/*
 * Reads the address that a listener or a backend has, with its range of ports or name. Returns
 * NULL, or a static "REASON; REMEDY".
 */
static const char *parse_endpoint(struct config_kept **kept, enum config_address_use use,
				  const char *text, struct config_backend *endpoint)
{
	char word[ADDRESS_WORD_BYTES];
	const char *problem;

	endpoint->port_count = 1;
	if (addr_is_local_text(text))
		return addr_parse_local(text, strlen(text),
					config_keep(kept, sizeof(struct sockaddr_un)),
					&endpoint->addr);
	problem = config_address_split_range(text, word, sizeof(word), &endpoint->port_count);
	if (problem)
		return problem;
	problem = use == CONFIG_ADDRESS_LISTEN ? addr_parse(word, &endpoint->addr)
					       : config_address_parse_backend(word, endpoint);
	return problem || *endpoint->name ? problem : addr_why_not_endpoint(&endpoint->addr);
}

static int set_listen(struct config *config, const char *text, struct fault *fault)
{
	struct config_backend endpoint = {.port_count = 1};
	struct config_forward *forward;
	const char *socket_name = NULL, *problem;

	if (config_activation_is_text(text))
		problem = config_activation_parse(text, &socket_name);
	else
		problem = parse_endpoint(&config->kept, CONFIG_ADDRESS_LISTEN, text, &endpoint);
	if (problem)
		return config_address_explain(CONFIG_ADDRESS_LISTEN, config->origin.kind, text,
					      problem, fault);
	forward = config->origin.kind == CONFIG_ORIGIN_COMMAND_LINE
			  ? config_begin_forward(config, NULL)
			  : latest_forward(config);
	if (!forward)
		return fault_set_words(fault, NULL, text, CONFIG_TOO_MANY_FORWARDS);
	forward->listen = endpoint.addr;
	forward->port_count = endpoint.port_count;
	forward->socket_name = socket_name;
	return 0;
}

static int check_port(const struct config_backend *backend, const char *text, struct fault *fault)
{
	if (addr_is_local(&backend->addr) || addr_port(&backend->addr))
		return 0;
	return fault_set(fault, NULL, text, "port 0 cannot be connected to; give 1 to 65535");
}

static int add_backend(struct config_forward *forward, const struct config_backend *backend,
		       const char *text, struct fault *fault)
{
	if (check_port(backend, text, fault))
		return -EINVAL;
	if (forward->backend_count == CONFIG_BACKEND_LIMIT)
		return fault_set(fault, NULL, text,
				 "one too many; %d per listener are the limit, leave some out",
				 CONFIG_BACKEND_LIMIT);
	if (!*backend->name && addr_equal(&backend->addr, &forward->listen))
		return fault_set(fault, NULL, text,
				 "is the listener's own address and would forward to itself; give "
				 "the service's");
	forward->backends =
		config_grow(forward->backends, forward->backend_count + 1, sizeof(*backend));
	forward->backends[forward->backend_count++] = *backend;
	return 0;
}

/*
 * Sets a parameter, NAME=VALUE or NAME. `given` has a bit for each parameter that was set before.
 */
static int set_parameter(struct config_backend *backend, const char *address, char *word,
			 uint64_t *given, struct fault *fault)
{
	size_t count;
	const struct option_spec *list = options_parameters(&count);
	size_t name_length = strcspn(word, "=");
	const struct option_spec *option = options_find_parameter(word, name_length);
	struct fault detail;
	const char *value = word[name_length] ? word + name_length + 1 : NULL;

	if (!option)
		return fault_set(fault, NULL, address,
				 "'%.80s' is no parameter of a backend; sixpipe --help forwarding "
				 "lists them",
				 word);
	CHECK(count <= 64);
	if (*given >> (option - list) & 1)
		return fault_set(fault, NULL, address, "%s is there twice; leave one of them out",
				 option->name);
	*given |= 1ULL << (option - list);
	if (!value && option->type == OPTION_FLAG)
		value = "yes";
	if (!value)
		return fault_set(fault, NULL, address, "%s has no value; write %s=%s", option->name,
				 option->name, option->argument);
	if (!config_field_set(backend, option, value, &detail))
		return 0;
	return fault_set(fault, NULL, address, "%s '%s': %s; %s", option->name, detail.value,
			 detail.reason, detail.remedy);
}

static void copy_address(const char *text, char address[ADDRESS_WORD_BYTES])
{
	snprintf(address, ADDRESS_WORD_BYTES, "%.*s",
		 (int)MIN(strcspn(text, BLANKS), ADDRESS_WORD_BYTES), text);
}

/* Reads the parameters that follow the address. */
static int set_parameters(struct config_backend *backend, const char *address, const char *text,
			  struct fault *fault)
{
	size_t length = strcspn(text, BLANKS);
	char word[ADDRESS_WORD_BYTES];
	uint64_t given = 0;

	for (const char *at = text + length; *(at += strspn(at, BLANKS)); at += length) {
		int result;

		length = strcspn(at, BLANKS);
		snprintf(word, sizeof(word), "%.*s", (int)MIN(length, sizeof(word)), at);
		result = set_parameter(backend, address, word, &given, fault);
		if (result)
			return result;
	}
	return 0;
}

static int set_backend(struct config *config, const char *text, struct fault *fault)
{
	struct config_backend backend = {
		.send_proxy = CONFIG_SEND_PROXY_INHERIT, .weight = 1, .origin = config->origin};
	char address[ADDRESS_WORD_BYTES];
	const char *problem;

	copy_address(text, address);
	problem = parse_endpoint(&config->kept, CONFIG_ADDRESS_BACKEND, address, &backend);
	if (problem)
		return config_address_explain(CONFIG_ADDRESS_BACKEND, config->origin.kind, address,
					      problem, fault);
	if (!latest_forward(config))
		return fault_set(fault, NULL, address,
				 "comes before any --listen; name the listener first");
	if (set_parameters(&backend, address, text, fault))
		return -EINVAL;
	return add_backend(latest_forward(config), &backend, address, fault);
}

/* What config_check() refuses in a backend of the configuration. */
static int check_added(const struct config_forward *forward, const struct config_backend *backend,
		       const char *address, struct fault *fault)
{
	const struct config_source *source = &forward->options.source;
	bool has_source = source->kind != CONFIG_SOURCE_NONE || source->embedded;

	if (*backend->name || backend->port_count > 1)
		return fault_set(fault, NULL, address,
				 "is a name or a range of ports, which only a configuration can "
				 "have; give one address and port");
	if (check_port(backend, address, fault))
		return -EINVAL;
	if (has_source && backend->addr.any.sa_family != forward->backends[0].addr.any.sa_family)
		return fault_set(
			fault, NULL, address,
			"cannot be reached from the addresses of --source; give an address "
			"of the family of the other backends");
	if (backend->check && !forward->has_checks)
		return fault_set(fault, NULL, address,
				 "check: forward %s has no backend with checks; leave it out, or "
				 "add the backend to the configuration",
				 forward->name);
	return 0;
}

int config_read_added(const struct config_forward *forward, const char *text,
		      struct config_added *added, struct fault *fault)
{
	struct config_backend *backend = &added->backend;
	char address[ADDRESS_WORD_BYTES];
	const char *problem;

	*added = (struct config_added){.backend = {.send_proxy = CONFIG_SEND_PROXY_INHERIT,
						   .weight = 1,
						   .origin = {.kind = CONFIG_ORIGIN_COMMAND_LINE}}};
	copy_address(text, address);
	problem = parse_endpoint(&added->kept, CONFIG_ADDRESS_BACKEND, address, backend);
	if (problem)
		return config_address_explain(CONFIG_ADDRESS_BACKEND, CONFIG_ORIGIN_COMMAND_LINE,
					      address, problem, fault);
	if (set_parameters(backend, address, text, fault))
		return -EINVAL;
	if (backend->send_proxy == CONFIG_SEND_PROXY_INHERIT)
		backend->send_proxy = forward->options.send_proxy;
	backend->check |= forward->options.check_backends;
	backend->fastopen |= forward->options.fastopen_backends;
	return check_added(forward, backend, address, fault);
}

/* Sets an option of a forward, and keeps its text. */
static int set_of_forward(struct config_forward_options *options, struct config_values *values,
			  const struct config_value *value, struct fault *fault)
{
	int result = config_field_set(options, value->option, value->text, fault);

	if (!result)
		config_values_put(values, value);
	return result;
}

static int set(struct config *config, const struct config_value *value, struct fault *fault)
{
	const struct option_spec *option = value->option;
	bool is_of_forward = option->scope == OPTION_SCOPE_FORWARD;
	struct config_forward *latest = latest_forward(config);
	int result;

	if (is_of_forward && latest)
		return set_of_forward(&latest->options, &latest->values, value, fault);
	if (is_of_forward) {
		result = set_of_forward(&config->defaults, &config->default_values, value, fault);
		for (unsigned i = 0; i < config->forward_count && !result; i++)
			result = set_of_forward(&config->forwards[i].options,
						&config->forwards[i].values, value, fault);
		return result;
	}
	if (option->type == OPTION_LISTEN)
		result = set_listen(config, value->text, fault);
	else if (option->type == OPTION_BACKEND)
		result = set_backend(config, value->text, fault);
	else
		result = config_field_set(config, option, value->text, fault);
	if (!result)
		config_values_put(options_is_of_forward(option) ? &latest_forward(config)->values
								: &config->values,
				  value);
	return result;
}

/* In files and variables no shell removes the quotes. */
static bool is_quoted(const char *text)
{
	size_t length = strlen(text);

	return length > 1 && strchr("\"'", *text) && text[length - 1] == *text;
}

int config_set(struct config *config, const struct option_spec *option, const char *text,
	       struct fault *fault)
{
	struct config_value value = {.option = option, .origin = config->origin};
	int result;

	value.text = config_text_keep(&config->kept, text ? text : "yes");
	result = set(config, &value, fault);
	if (result && is_quoted(value.text))
		fault_set(fault, NULL, value.text,
			  "the quotes are a part of the value; leave them out");
	if (result)
		config_origin_name(config, &value, fault);
	return result;
}

void config_init(struct config *config)
{
	struct fault fault;

	const struct option_spec *options;
	size_t count;

	memset(config, 0, sizeof(*config));
	config->defaults.max_fails = CONFIG_MAX_FAILS_AUTO;
	options = options_list(&count);
	for (size_t i = 0; i < count; i++)
		if (*options[i].default_text) {
			int result =
				config_set(config, &options[i], options[i].default_text, &fault);

			CHECK(!result);
		}
	config->origin.kind = CONFIG_ORIGIN_COMMAND_LINE;
}
