#include "config/config_names.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "config/config_origin.h"

/* Whether somebody who writes this means an IPv4 address. */
static bool is_like_v4(const char *host)
{
	return !host[strspn(host, "0123456789.")];
}

const char *config_names_parse_backend(const char *text, struct config_backend *backend)
{
	const char *colon = strchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : strlen(text);
	const char *problem = addr_parse(text, &backend->addr);
	char host[DNS_NAME_BYTES], full[ADDR_TEXT_BYTES];
	struct in_addr v4;

	backend->name[0] = '\0';
	if (!problem || !*text || *text == '[' || (colon && strchr(colon + 1, ':')))
		return problem;
	if (!length)
		return "has nothing before the ':'; write address:port or name:port";
	if (length >= sizeof(host))
		return "is too long; a host name has up to 253 characters";
	snprintf(host, sizeof(host), "%.*s", (int)length, text);
	if (inet_pton(AF_INET, host, &v4) == 1)
		return problem; /* it is about the port */
	if (is_like_v4(host))
		return "is not an IPv4 address; write it as in 192.0.2.1:80, or a name as in "
		       "web.example:80";
	problem = dns_why_not_name(host);
	if (problem)
		return problem;
	if (!colon)
		return "has no port; write name:port";
	if ((size_t)snprintf(full, sizeof(full), "0.0.0.0:%s", colon + 1) >= sizeof(full))
		return "has a port that is too long; give a number from 1 to 65535";
	problem = addr_parse(full, &backend->addr);
	if (!problem)
		memcpy(backend->name, host, sizeof(host));
	return problem;
}

const char *config_names_print_backend(const struct config_backend *backend,
				       char text[CONFIG_BACKEND_TEXT_BYTES])
{
	if (*backend->name)
		snprintf(text, CONFIG_BACKEND_TEXT_BYTES, "%s:%u", backend->name,
			 addr_port(&backend->addr));
	else
		addr_print(&backend->addr, text);
	return text;
}

_Static_assert(CONFIG_BACKEND_TEXT_BYTES >= ADDR_TEXT_BYTES, "an address fits");

int config_names_check_forward(const struct config *config, struct config_forward *forward,
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

/* Blames the option that was given: of a default neither file nor command line has a place to look at. */
static int fail_times(const struct config *config, struct fault *fault)
{
	static const char max_ttl[] = "dns-max-ttl";
	char least[UNITS_TEXT_BYTES], most[UNITS_TEXT_BYTES];
	const struct option_spec *option = options_find(max_ttl, strlen(max_ttl));
	const struct config_origin unknown = {CONFIG_ORIGIN_DEFAULT, 0};

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

void config_names_check(struct config *config)
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
			config_origin_add(config, NULL, &fault);
}
