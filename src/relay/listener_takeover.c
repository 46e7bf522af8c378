/* SPDX-License-Identifier: MIT */
/* What a takeover needs of listeners: listener.h. */
#include <stdio.h>

#include "os/inherited.h"
#include "os/sock.h"
#include "relay/listener.h"

void listeners_tune(struct listeners *self)
{
	for (unsigned i = 0; i < self->count; i++) {
		const struct listener *listener = &self->listeners[i];
		const struct forward *forward = listener->forward;
		struct sock_tuning tuning = forward->tuning;

		if (!forward->inherited)
			continue;
		if (forward->config->passed_count)
			tuning.local_mode = 0; /* the service manager makes the file */
		sock_retune_listener(listener->fd, &forward->listen, &tuning, listener->backlog);
	}
}

void listeners_write(const struct listeners *self, const struct forward *forward,
		     struct carrier *carrier)
{
	const struct config_forward *config = forward->config;
	struct inherited_socket record = {.role = INHERITED_LISTENER, .owner = forward->index};
	char listen[ADDR_TEXT_BYTES];

	snprintf(record.forward, sizeof(record.forward), "%s", config->name);
	snprintf(record.given, sizeof(record.given), "%s", addr_print(&config->listen, listen));
	snprintf(record.device, sizeof(record.device), "%s",
		 forward->tuning.device ? forward->tuning.device : "");
	snprintf(record.socket_name, sizeof(record.socket_name), "%s",
		 config->socket_name ? config->socket_name : "");
	for (unsigned i = 0; i < self->count; i++) {
		record.fd = self->listeners[i].fd;
		if (self->listeners[i].forward == forward && record.fd >= 0)
			inherited_write(&record, carrier);
	}
}
