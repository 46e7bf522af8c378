#include "config/config_range.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_names.h"

int config_range_check(const struct config *config, const struct config_forward *forward,
		       struct fault *fault)
{
	char text[CONFIG_BACKEND_TEXT_BYTES];
	unsigned ports = forward->port_count, before = 0;

	for (const struct config_forward *other = config->forwards; other < forward; other++)
		before += other->port_count;
	/* once: those behind it are too many as well */
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
						   config_names_print_backend(backend, text),
						   backend->port_count, ports);
	}
	return 0;
}

static void shift_port(struct addr *address, unsigned by)
{
	if (by)
		addr_set_port(address, addr_port(address) + by);
}

/* The forward for port `index` of the range; the first one takes over what the forward owns. */
static struct config_forward for_port(struct config *config, const struct config_forward *forward,
				      unsigned index)
{
	struct config_forward made = *forward;
	char name[64];

	made.port_count = 1;
	if (index) {
		made.is_of_range = true;
		config_values_copy(&made.values, &forward->values);
		made.backends = config_grow(NULL, made.backend_count, sizeof(*made.backends));
		memcpy(made.backends, forward->backends,
		       made.backend_count * sizeof(*made.backends));
	}
	if (index && made.name) {
		snprintf(name, sizeof(name), "%.50s+%u", made.name, index);
		made.name = config_text_keep(&config->kept, name);
	}
	shift_port(&made.listen, index);
	for (unsigned i = 0; i < made.backend_count && index; i++)
		if (made.backends[i].port_count > 1)
			shift_port(&made.backends[i].addr, index);
	return made;
}

void config_range_expand(struct config *config)
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
