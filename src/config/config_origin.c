#include "config/config_origin.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

#define SHOWN_BYTES 200 /* of a file's name */

const char *config_origin_variable(const struct option_spec *option,
				   char name[CONFIG_VARIABLE_BYTES])
{
	int length =
		snprintf(name, CONFIG_VARIABLE_BYTES, CONFIG_VARIABLE_PREFIX "%s", option->name);

	CHECK(length < CONFIG_VARIABLE_BYTES);
	for (char *at = name; *at; at++)
		*at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
	return name;
}

const char *config_origin_print(const struct config *config, const struct config_value *value,
				char text[CONFIG_ORIGIN_BYTES])
{
	char name[CONFIG_VARIABLE_BYTES];

	switch (value->origin.kind) {
	case CONFIG_ORIGIN_FILE:
		snprintf(text, CONFIG_ORIGIN_BYTES, "%.*s:%u", SHOWN_BYTES, config->file,
			 value->origin.line);
		break;
	case CONFIG_ORIGIN_ENVIRONMENT:
		snprintf(text, CONFIG_ORIGIN_BYTES, "%s",
			 config_origin_variable(value->option, name));
		break;
	case CONFIG_ORIGIN_COMMAND_LINE:
		snprintf(text, CONFIG_ORIGIN_BYTES, "command line");
		break;
	default:
		snprintf(text, CONFIG_ORIGIN_BYTES, "default");
	}
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

void config_origin_rename(const struct config *config, const struct config_value *value,
			  char error[CONFIG_ERROR_BYTES])
{
	const char *name = value->option->name;
	char detail[CONFIG_ERROR_BYTES], where[CONFIG_ORIGIN_BYTES];

	CHECK(!strncmp(error, "--", 2) && !strncmp(error + 2, name, strlen(name)));
	snprintf(detail, sizeof(detail), "%s", error + 2);
	config_origin_print(config, value, where);
	if (value->origin.kind == CONFIG_ORIGIN_FILE)
		config_fail(error, "%s: %s", where, detail);
	else if (value->origin.kind == CONFIG_ORIGIN_ENVIRONMENT)
		config_fail(error, "%s%s", where, detail + strlen(name));
}

void config_origin_rename_of(const struct config *config, const struct config_forward *forward,
			     char error[CONFIG_ERROR_BYTES])
{
	const struct option_spec *option;
	struct config_value value;

	if (strncmp(error, "--", 2) != 0)
		return;
	option = options_find(error + 2, strcspn(error + 2, " :,"));
	/* a file's name may begin like an option's */
	if (!option || (options_is_of_forward(option) && !forward))
		return;
	if (options_is_of_forward(option))
		value = config_origin_of(&forward->values, option, forward->origin);
	else
		value = config_origin_of(&config->values, option, config->origin);
	config_origin_rename(config, &value, error);
}

void config_origin_append(const struct config *config, const struct config_value *value,
			  char error[CONFIG_ERROR_BYTES])
{
	size_t length = strnlen(error, CONFIG_ERROR_BYTES - CONFIG_ORIGIN_BYTES);
	char giver[CONFIG_ERROR_BYTES];

	snprintf(giver, sizeof(giver), "--%s", value->option->name);
	config_origin_rename(config, value, giver);
	snprintf(error + length, CONFIG_ERROR_BYTES - length, " (given by %.200s)", giver);
}

void config_origin_append_of(const struct config *config, const struct config_forward *forward,
			     const char *name, char error[CONFIG_ERROR_BYTES])
{
	const struct option_spec *option = options_find(name, strlen(name));
	struct config_value value =
		forward ? config_origin_of(&forward->values, option, forward->origin)
			: config_origin_of(&config->values, option, config->origin);

	if (value.origin.kind != CONFIG_ORIGIN_COMMAND_LINE)
		config_origin_append(config, &value, error);
}

void config_origin_add_error(struct config *config, const struct config_forward *forward,
			     char error[CONFIG_ERROR_BYTES])
{
	config_origin_add_to(&config->errors, config, forward, error);
}

void config_origin_add_to(struct config_errors *errors, const struct config *config,
			  const struct config_forward *forward, char error[CONFIG_ERROR_BYTES])
{
	config_origin_rename_of(config, forward, error);
	config_errors_add(errors, error);
}
