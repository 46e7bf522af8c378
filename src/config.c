#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "check.h"
#include "units.h"

static const struct option_spec options[] = {
#define OPTION(name, type, field, default_text, least, most, group, argument, help)                \
	{#name, OPTION_##type, offsetof(struct config, field), default_text,                       \
	 least, most,	       OPTION_GROUP_##group,	       argument,                           \
	 help},
#include "options.def"
#undef OPTION
};

const struct option_spec *config_options(size_t *count)
{
	*count = ARRAY_COUNT(options);
	return options;
}

const struct option_spec *config_find_option(const char *name, size_t name_length)
{
	for (size_t i = 0; i < ARRAY_COUNT(options); i++)
		if (strlen(options[i].name) == name_length &&
		    !memcmp(options[i].name, name, name_length))
			return &options[i];
	return NULL;
}

/* Levenshtein's distance between two short words, one row at a time. */
static unsigned distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	unsigned row[32];

	CHECK(b_length < ARRAY_COUNT(row));
	for (size_t j = 0; j <= b_length; j++)
		row[j] = (unsigned)j;
	for (size_t i = 0; i < a_length; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i + 1;
		for (size_t j = 0; j < b_length; j++) {
			unsigned change = diagonal + (a[i] != b[j]);
			unsigned insert_or_delete = MIN(row[j], row[j + 1]) + 1;

			diagonal = row[j + 1];
			row[j + 1] = MIN(change, insert_or_delete);
		}
	}
	return row[b_length];
}

const struct option_spec *config_suggest_option(const char *name, size_t name_length)
{
	const struct option_spec *best = NULL;
	unsigned best_distance = 4; /* further off is no misspelling */

	if (name_length > 64)
		return NULL;
	for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
		unsigned d = distance(name, name_length, options[i].name, strlen(options[i].name));

		if (d < best_distance && d < name_length) {
			best = &options[i];
			best_distance = d;
		}
	}
	return best;
}

const char *config_group_name(enum option_group group)
{
	static const char *const names[OPTION_GROUP_COUNT] = {
		"forwarding", "process", "limits", "timeouts", "logging", "monitoring", "general",
	};

	CHECK((unsigned)group < OPTION_GROUP_COUNT);
	return names[group];
}

int config_fail(char error[CONFIG_ERROR_BYTES], const char *format, ...)
{
	__builtin_va_list arguments;

	__builtin_va_start(arguments, format);
	vsnprintf(error, CONFIG_ERROR_BYTES, format, arguments);
	__builtin_va_end(arguments);
	return -EINVAL;
}

static uint64_t *number_field(struct config *config, const struct option_spec *option)
{
	return (uint64_t *)(void *)((char *)config + option->offset);
}

static const char *print_number(const struct option_spec *option, uint64_t value,
				char text[UNITS_TEXT_BYTES])
{
	if (option->type == OPTION_SIZE)
		return units_print_size(value, text);
	if (option->type == OPTION_DURATION)
		return units_print_duration(value, text);
	snprintf(text, UNITS_TEXT_BYTES, "%" PRIu64, value);
	return text;
}

static int parse_number(const struct option_spec *option, const char *text, uint64_t *value)
{
	switch (option->type) {
	case OPTION_SIZE:
		return units_parse_size(text, value);
	case OPTION_DURATION:
		return units_parse_duration(text, value);
	default:
		return units_parse_count(text, value);
	}
}

static const char *number_form(const struct option_spec *option)
{
	switch (option->type) {
	case OPTION_SIZE:
		return "not a size; give bytes or a unit, such as 65536, 64KiB or 1MiB";
	case OPTION_DURATION:
		return "not a time; give a number and its unit, such as 500ms, 5s, 2m, 1h or 1d";
	default:
		return "not a number; give a count such as 1000";
	}
}

static int set_number(struct config *config, const struct option_spec *option, const char *text,
		      char error[CONFIG_ERROR_BYTES])
{
	char least[UNITS_TEXT_BYTES], most[UNITS_TEXT_BYTES];
	uint64_t value = 0;
	int parsed = parse_number(option, text, &value);
	bool never = option->type == OPTION_DURATION && !parsed && !value;

	if (parsed == -EINVAL)
		return config_fail(error, "--%s '%.80s': %s", option->name, text,
				   number_form(option));
	if (parsed || (!never && (value < option->least || value > option->most)))
		return config_fail(error, "--%s '%.80s': out of range; give %s to %s%s",
				   option->name, text, print_number(option, option->least, least),
				   print_number(option, option->most, most),
				   option->type == OPTION_DURATION ? ", or 0 for never" : "");
	*number_field(config, option) = value;
	return 0;
}

static int set_choice(struct config *config, const struct option_spec *option, const char *text,
		      char error[CONFIG_ERROR_BYTES])
{
	const char *choice = option->argument;
	size_t length = strlen(text);

	for (uint64_t i = 0;; i++) {
		size_t choice_length = strcspn(choice, "|");

		if (choice_length == length && !memcmp(choice, text, length)) {
			*number_field(config, option) = i;
			return 0;
		}
		if (!choice[choice_length])
			break;
		choice += choice_length + 1;
	}
	return config_fail(error, "--%s '%.80s': not one of %s; give one of these", option->name,
			   text, option->argument);
}

static int set_flag(struct config *config, const struct option_spec *option, const char *text,
		    char error[CONFIG_ERROR_BYTES])
{
	static const char *const words[][2] = {
		{"0", "1"}, {"no", "yes"}, {"false", "true"}, {"off", "on"}};
	bool *field = (bool *)((char *)config + option->offset);

	for (size_t i = 0; i < ARRAY_COUNT(words) && text; i++)
		for (int value = 0; value < 2; value++)
			if (!strcasecmp(text, words[i][value])) {
				*field = value;
				return 0;
			}
	if (text)
		return config_fail(error,
				   "--%s '%.80s': neither yes nor no; give 1, yes, true or on, or "
				   "0, no, false or off",
				   option->name, text);
	*field = true;
	return 0;
}

/* Grows an array by one; memory that cannot be had at the start ends the program. */
static void *grow(void *array, unsigned count, size_t element_bytes)
{
	void *grown = reallocarray(array, count + 1, element_bytes);

	CHECK(grown);
	return grown;
}

static int set_listen(struct config *config, const char *text, char error[CONFIG_ERROR_BYTES])
{
	struct forward forward = {0};
	const char *problem = addr_parse(text, &forward.listen);

	if (problem)
		return config_fail(error, "--listen '%.80s': %s", text, problem);
	problem = addr_why_not_listen(&forward.listen);
	if (problem)
		return config_fail(error, "--listen '%.80s': %s", text, problem);
	if (config->forward_count == CONFIG_FORWARD_LIMIT)
		return config_fail(
			error,
			"--listen '%.80s': one too many; %d listeners are the limit, start another "
			"process for more",
			text, CONFIG_FORWARD_LIMIT);
	config->forwards = grow(config->forwards, config->forward_count, sizeof(forward));
	config->forwards[config->forward_count++] = forward;
	return 0;
}

static int set_backend(struct config *config, const char *text, char error[CONFIG_ERROR_BYTES])
{
	struct forward *forward;
	struct addr backend;
	const char *problem = addr_parse(text, &backend);

	if (problem)
		return config_fail(error, "--backend '%.80s': %s", text, problem);
	if (!addr_port(&backend))
		return config_fail(
			error, "--backend '%.80s': port 0 cannot be connected to; give 1 to 65535",
			text);
	if (!config->forward_count)
		return config_fail(
			error,
			"--backend '%.80s': comes before any --listen; name the listener first",
			text);
	forward = &config->forwards[config->forward_count - 1];
	if (forward->backend_count == CONFIG_BACKEND_LIMIT)
		return config_fail(
			error,
			"--backend '%.80s': one too many; %d per listener are the limit, leave "
			"some out",
			text, CONFIG_BACKEND_LIMIT);
	if (addr_equal(&backend, &forward->listen))
		return config_fail(
			error,
			"--backend '%.80s': is the listener's own address and would forward to "
			"itself; give the service's",
			text);
	forward->backends = grow(forward->backends, forward->backend_count, sizeof(backend));
	forward->backends[forward->backend_count++] = backend;
	return 0;
}

/* One that sixpipe itself listens on. */
static int set_address(struct config *config, const struct option_spec *option, const char *text,
		       char error[CONFIG_ERROR_BYTES])
{
	struct addr address;
	const char *problem = addr_parse(text, &address);

	if (!problem)
		problem = addr_why_not_listen(&address);
	if (problem)
		return config_fail(error, "--%s '%.80s': %s", option->name, text, problem);
	memcpy((char *)config + option->offset, &address, sizeof(address));
	return 0;
}

int config_set(struct config *config, const struct option_spec *option, const char *text,
	       char error[CONFIG_ERROR_BYTES])
{
	switch (option->type) {
	case OPTION_LISTEN:
		return set_listen(config, text, error);
	case OPTION_BACKEND:
		return set_backend(config, text, error);
	case OPTION_ADDRESS:
		return set_address(config, option, text, error);
	case OPTION_FLAG:
		return set_flag(config, option, text, error);
	case OPTION_CHOICE:
		return set_choice(config, option, text, error);
	case OPTION_TEXT:
		if (!*text)
			return config_fail(error, "--%s '': empty; give %s", option->name,
					   option->argument);
		memcpy((char *)config + option->offset, &text, sizeof(text));
		return 0;
	default:
		return set_number(config, option, text, error);
	}
}

int config_check(const struct config *config, char error[CONFIG_ERROR_BYTES])
{
	char text[ADDR_TEXT_BYTES];

	if (!config->forward_count)
		return config_fail(error,
				   "LISTEN and BACKEND are missing; give both, as in: sixpipe "
				   "'[::]:2000' 192.0.2.1:80 (see --help)");
	for (unsigned i = 0; i < config->forward_count; i++) {
		const struct forward *forward = &config->forwards[i];

		addr_print(&forward->listen, text);
		if (addr_port(&forward->listen) && addr_equal(&forward->listen, &config->metrics))
			return config_fail(
				error,
				"--metrics '%.80s': is a listener's address; give another port",
				text);
		if (!forward->backend_count)
			return config_fail(
				error,
				"--listen '%.80s': has no backend; add --backend ADDRESS after it",
				text);
		for (unsigned j = 0; j < i && addr_port(&forward->listen); j++)
			if (addr_equal(&forward->listen, &config->forwards[j].listen))
				return config_fail(
					error,
					"--listen '%.80s': given twice; put all its backends "
					"behind one --listen",
					text);
	}
	return 0;
}

void config_init(struct config *config)
{
	char error[CONFIG_ERROR_BYTES];

	memset(config, 0, sizeof(*config));
	for (size_t i = 0; i < ARRAY_COUNT(options); i++)
		if (*options[i].default_text)
			CHECK(!config_set(config, &options[i], options[i].default_text, error));
}

void config_finish(struct config *config)
{
	for (unsigned i = 0; i < config->forward_count; i++)
		free(config->forwards[i].backends);
	free(config->forwards);
	memset(config, 0, sizeof(*config));
}
