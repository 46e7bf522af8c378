#include "config_range.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "config_names.h"

static unsigned count_ports(const struct forward *forward)
{
	return MAX(forward->port_count, 1);
}

static int check_counts(const struct config *config, char error[CONFIG_ERROR_BYTES])
{
	char listen[ADDR_TEXT_BYTES], text[CONFIG_BACKEND_TEXT_BYTES];
	unsigned total = 0;

	for (unsigned i = 0; i < config->forward_count; i++) {
		const struct forward *forward = &config->forwards[i];
		unsigned ports = count_ports(forward);

		addr_print(&forward->listen, listen);
		total += ports;
		if (total > CONFIG_FORWARD_LIMIT)
			return config_fail(
				error,
				"--listen '%.120s': one too many; %d listeners are the limit, "
				"each port of a range being one; start another process for more",
				listen, CONFIG_FORWARD_LIMIT);
		for (unsigned j = 0; j < forward->backend_count; j++) {
			const struct backend *backend = &forward->backends[j];

			if (backend->port_count > 1 && backend->port_count != ports)
				return config_fail(
					error,
					"--listen '%.120s': backend %.120s has %u ports for the listener's "
					"%u; give as many, or one for all",
					listen, config_names_print_backend(backend, text),
					backend->port_count, ports);
		}
	}
	return 0;
}

static void shift_port(struct addr *address, unsigned by)
{
	if (by)
		addr_set_port(address, addr_port(address) + by);
}

/* The forward for port `index` of the range; the first one takes over what the forward owns. */
static struct forward for_port(struct config *config, const struct forward *forward, unsigned index)
{
	struct forward made = *forward;
	char name[64];

	made.port_count = 1;
	if (index) {
		made.is_of_range = true;
		memset(&made.values, 0, sizeof(made.values));
		made.backends = calloc(MAX(made.backend_count, 1), sizeof(*made.backends));
		CHECK(made.backends);
		for (unsigned i = 0; i < made.backend_count; i++)
			made.backends[i] = forward->backends[i];
	}
	if (index && made.name) {
		snprintf(name, sizeof(name), "%.50s+%u", made.name, index);
		made.name = config_text_keep(&config->texts, name);
	}
	shift_port(&made.listen, index);
	for (unsigned i = 0; i < made.backend_count && index; i++)
		if (made.backends[i].port_count > 1)
			shift_port(&made.backends[i].addr, index);
	return made;
}

int config_expand_ranges(struct config *config, char error[CONFIG_ERROR_BYTES])
{
	struct forward *all = NULL;
	unsigned count = 0, total = 0;

	if (check_counts(config, error))
		return -EINVAL;
	for (unsigned i = 0; i < config->forward_count; i++)
		total += count_ports(&config->forwards[i]);
	if (total == config->forward_count)
		return 0;
	all = calloc(total, sizeof(*all));
	CHECK(all);
	for (unsigned i = 0; i < config->forward_count; i++)
		for (unsigned j = 0; j < count_ports(&config->forwards[i]); j++)
			all[count++] = for_port(config, &config->forwards[i], j);
	for (unsigned i = 0; i < count; i++)
		for (unsigned j = 0; j < all[i].backend_count; j++)
			all[i].backends[j].port_count = 1;
	free(config->forwards);
	config->forwards = all;
	config->forward_count = count;
	return 0;
}
