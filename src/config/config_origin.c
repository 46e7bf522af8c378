/* SPDX-License-Identifier: MIT */
#include "config/config_origin.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

#define SHOWN_BYTES 200 /* of a file's name */

const char *config_origin_variable(const struct option_spec *option, unsigned number,
				   char name[CONFIG_VARIABLE_BYTES])
{
	int length = number ? snprintf(name, CONFIG_VARIABLE_BYTES, CONFIG_VARIABLE_FORWARD "%u_%s",
				       number, option->name)
			    : snprintf(name, CONFIG_VARIABLE_BYTES, CONFIG_VARIABLE_PREFIX "%s",
				       option->name);

	CHECK(length < CONFIG_VARIABLE_BYTES);
	for (char *at = name; *at; at++)
		*at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
	return name;
}

const char *config_origin_print(const struct config *config, const struct config_value *value,
				char text[CONFIG_ORIGIN_BYTES])
{
	if (value->origin.kind == CONFIG_ORIGIN_FILE)
		snprintf(text, CONFIG_ORIGIN_BYTES, "%.*s:%u", SHOWN_BYTES, config->file,
			 value->origin.line);
	else if (value->origin.kind == CONFIG_ORIGIN_ENVIRONMENT)
		config_origin_variable(value->option, value->origin.number, text);
	else
		strcpy(text, value->origin.kind == CONFIG_ORIGIN_COMMAND_LINE ? "command line"
									      : "default");
	return text;
}

struct config_value config_origin_of(const struct config_values *values,
				     const struct option_spec *option, struct config_origin origin)
{
	struct config_value missing = {.option = option, .origin = origin};
	unsigned at = 0;
	const struct config_value *value = config_values_next(values, option, &at);

	return value ? *value : missing;
}

void config_origin_name(const struct config *config, const struct config_value *value,
			struct fault *fault)
{
	const char *name = value->option->name;
	char where[CONFIG_ORIGIN_BYTES];

	fault->option = name;
	config_origin_print(config, value, where);
	if (value->origin.kind == CONFIG_ORIGIN_FILE)
		snprintf(fault->name, sizeof(fault->name), "%s: %s", where, name);
	else if (value->origin.kind == CONFIG_ORIGIN_ENVIRONMENT)
		snprintf(fault->name, sizeof(fault->name), "%s", where);
	else
		snprintf(fault->name, sizeof(fault->name), "--%s", name);
}

void config_origin_find_name(const struct config *config, const struct config_forward *forward,
			     struct fault *fault)
{
	const struct option_spec *option;
	struct config_value value;

	if (!fault->option || *fault->name)
		return;
	option = options_find(fault->option, strlen(fault->option));
	CHECK(option);
	if (forward && options_is_of_forward(option))
		value = config_origin_of(&forward->values, option, forward->origin);
	else
		value = config_origin_of(&config->values, option, config->origin);
	if (fault->kind != FAULT_OF_OBJECT || value.origin.kind != CONFIG_ORIGIN_COMMAND_LINE)
		config_origin_name(config, &value, fault);
}

void config_origin_add_to(struct config_errors *errors, const struct config *config,
			  const struct config_forward *forward, struct fault *fault)
{
	config_origin_find_name(config, forward, fault);
	config_errors_add(errors, fault);
}
