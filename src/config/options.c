/* SPDX-License-Identifier: MIT */
#include "config/options.h"

#include <string.h>

#include "base/spelling.h"
#include "config/config.h"
#include "limits/client_limits.h"
#include "limits/pacer.h"
#include "pool/pool.h"

#define OWNER_GLOBAL  struct config
#define OWNER_FORWARD struct config_forward_options

static const struct option_spec options[] = {
#define OPTION(name, scope, type, field, default_text, least, most, group, argument, help)         \
	{#name,		OPTION_SCOPE_##scope,                                                      \
	 OPTION_##type, offsetof(OWNER_##scope, field),                                            \
	 default_text,	least,                                                                     \
	 most,		OPTION_GROUP_##group,                                                      \
	 argument,	help},
#define PARAMETER(...)
#include "config/options.def"
#undef OPTION
#undef PARAMETER
};

static const struct option_spec parameters[] = {
#define OPTION(...)
#define PARAMETER(name, type, field, default_text, least, most, argument, help)                    \
	{#name,		OPTION_SCOPE_BACKEND,                                                      \
	 OPTION_##type, offsetof(struct config_backend, field),                                    \
	 default_text,	least,                                                                     \
	 most,		OPTION_GROUP_FORWARDING,                                                   \
	 argument,	help},
#include "config/options.def"
#undef OPTION
#undef PARAMETER
};

const struct option_spec *options_list(size_t *count)
{
	*count = ARRAY_COUNT(options);
	return options;
}

const struct option_spec *options_parameters(size_t *count)
{
	*count = ARRAY_COUNT(parameters);
	return parameters;
}

bool options_is_of_forward(const struct option_spec *option)
{
	return option->scope == OPTION_SCOPE_FORWARD || option->type == OPTION_LISTEN ||
	       option->type == OPTION_BACKEND;
}

bool options_is_rule(const struct option_spec *option)
{
	return option->type == OPTION_ALLOW || option->type == OPTION_DENY ||
	       option->type == OPTION_ALLOW_FILE || option->type == OPTION_DENY_FILE;
}

static const struct option_spec *find(const struct option_spec *list, size_t count,
				      const char *name, size_t name_length)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(list[i].name) == name_length && !memcmp(list[i].name, name, name_length))
			return &list[i];
	return NULL;
}

const struct option_spec *options_find(const char *name, size_t name_length)
{
	return find(options, ARRAY_COUNT(options), name, name_length);
}

const struct option_spec *options_find_parameter(const char *name, size_t name_length)
{
	return find(parameters, ARRAY_COUNT(parameters), name, name_length);
}

const struct option_spec *options_suggest(const char *name, size_t name_length)
{
	const struct option_spec *nearest = NULL;
	unsigned letters = spelling_limit(name_length);

	for (size_t i = 0; i < ARRAY_COUNT(options); i++)
		if (spelling_is_nearer(name, name_length, options[i].name, &letters))
			nearest = &options[i];
	return nearest;
}

const char *options_foreign_remedy(const char *name, size_t name_length)
{
	static const char *const daemons[] = {"daemon", "daemonize", "background", "fork"};

	for (size_t i = 0; i < ARRAY_COUNT(daemons); i++)
		if (strlen(daemons[i]) == name_length && !memcmp(daemons[i], name, name_length))
			return "sixpipe stays in the foreground: start it by systemd "
			       "(sixpipe.service), or with '&' at the end";
	return NULL;
}

const struct option_group_words options_groups[OPTION_GROUP_COUNT] = {
#define OPTION_GROUP(NAME, name, title) {name, title},
	OPTION_GROUPS(OPTION_GROUP)
#undef OPTION_GROUP
};
