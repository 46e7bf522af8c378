#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *config_print_listen(const struct config_forward *forward, char text[ADDR_TEXT_BYTES])
{
	size_t length;

	addr_print(&forward->listen, text);
	length = strlen(text);
	if (forward->port_count > 1)
		snprintf(text + length, ADDR_TEXT_BYTES - length, "-%u",
			 addr_port(&forward->listen) + forward->port_count - 1);
	return text;
}

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
	memset(config, 0, sizeof(*config));
}
