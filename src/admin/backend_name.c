/* SPDX-License-Identifier: MIT */
#include "admin/backend_name.h"

#include <string.h>
#include <strings.h>

void backend_name_read(struct backend_name *name, const char *given)
{
	const char *slash = strchr(given, '/');
	size_t length = slash ? (size_t)(slash - given) : 0;

	*name = (struct backend_name){.text = given};
	if (slash && length < sizeof(name->forward)) {
		memcpy(name->forward, given, length);
		/* the path of a local socket has a '/' too, behind "unix:" */
		if (config_is_name(name->forward))
			name->text = slash + 1;
		else
			name->forward[0] = '\0';
	}
	if (addr_is_local_text(name->text)
		    ? addr_parse_local(name->text, strlen(name->text), &name->local, &name->address)
		    : addr_parse(name->text, &name->address))
		name->address = (struct addr){0};
}

bool backend_name_means(const struct backend_name *name, const struct forward *forward,
			const struct pool_snapshot *member)
{
	char text[CONFIG_BACKEND_TEXT_BYTES];

	if (member->state == POOL_EMPTY || member->state == POOL_DRAINING ||
	    (*name->forward && strcmp(name->forward, forward->config->name) != 0))
		return false;
	if (name->address.length_bytes)
		return addr_equal(&name->address, &member->address);
	config_print_backend(upstream_configured(forward->upstream, member->group), text);
	return !strcasecmp(name->text, text);
}

const char *backend_state_word(const struct pool_snapshot *member)
{
	static const char *const words[] = {
		[POOL_EMPTY] = "free",	      [POOL_UP] = "up",
		[POOL_FULL] = "full",	      [POOL_DOWN] = "down",
		[POOL_CHECKING] = "checking", [POOL_OFF] = "off",
		[POOL_DRAINING] = "removed",
	};

	if (member->state == POOL_OFF && member->order == POOL_ORDER_DRAIN)
		return "drain";
	return words[member->state];
}
