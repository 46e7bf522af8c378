/* SPDX-License-Identifier: MIT */
#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"

bool config_has_listener(const struct config_forward *forward)
{
	return forward->listen.length_bytes || forward->socket_name;
}

const char *config_print_listen(const struct config_forward *forward, char text[ADDR_TEXT_BYTES])
{
	char address[ADDR_TEXT_BYTES];
	bool known = forward->listen.length_bytes;
	size_t length;

	addr_print(&forward->listen, address);
	if (forward->socket_name)
		snprintf(text, ADDR_TEXT_BYTES, known ? "systemd:%.40s (%.60s)" : "systemd:%.100s",
			 forward->socket_name, address);
	else
		memcpy(text, address, sizeof(address));
	length = strlen(text);
	if (forward->port_count > 1)
		snprintf(text + length, ADDR_TEXT_BYTES - length, "-%u",
			 addr_port(&forward->listen) + forward->port_count - 1);
	return text;
}

const char *config_print_backend(const struct config_backend *backend,
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

int config_fault_listen(struct fault *fault, const struct config_forward *forward,
			const char *format, ...)
{
	char listen[ADDR_TEXT_BYTES];
	va_list arguments;

	va_start(arguments, format);
	fault_set_list(fault, "listen", config_print_listen(forward, listen), format, arguments);
	va_end(arguments);
	return -EINVAL;
}

const char *config_rules_next(const char **at, struct cidr *cidr, char word[CIDR_TEXT_BYTES])
{
	size_t length;
	const char *begin = units_next_item(at, &length);

	snprintf(word, CIDR_TEXT_BYTES, "%.*s", (int)MIN(length, CIDR_TEXT_BYTES), begin);
	return cidr_parse(word, cidr);
}

const struct config_value *config_rules_value(const struct config_forward *forward,
					      const struct config_rule *rule)
{
	const struct config_values *values = &forward->values;
	unsigned i = 0;

	/* each value has a text of its own */
	while (i < values->count && values->list[i].text != rule->text)
		i++;
	CHECK(i < values->count);
	return &values->list[i];
}

bool config_rules_are_same(const struct config_forward_options *a,
			   const struct config_forward_options *b)
{
	if (a->rule_count != b->rule_count)
		return false;
	for (unsigned i = 0; i < a->rule_count; i++)
		if (a->rules[i].allow != b->rules[i].allow ||
		    a->rules[i].file != b->rules[i].file ||
		    strcmp(a->rules[i].text, b->rules[i].text))
			return false;
	return true;
}

uint64_t config_largest_backlog(const struct config *config)
{
	uint64_t largest = config->forward_count ? 0 : config->defaults.backlog;

	for (unsigned i = 0; i < config->forward_count; i++)
		largest = MAX(largest, config->forwards[i].options.backlog);
	return largest;
}

void config_finish(struct config *config)
{
	for (unsigned i = 0; i < config->forward_count; i++) {
		free(config->forwards[i].backends);
		config_values_finish(&config->forwards[i].values);
	}
	free(config->forwards);
	config_values_finish(&config->values);
	config_values_finish(&config->default_values);
	config_errors_finish(&config->errors);
	config_kept_finish(&config->kept);
	activation_finish(&config->passed);
	memset(config, 0, sizeof(*config));
}
