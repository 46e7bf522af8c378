#include "config_parse.h"

#include <string.h>

#include "check.h"
#include "config_env.h"
#include "config_file.h"

static int fail_unknown(const char *argument, size_t name_length, char error[CONFIG_ERROR_BYTES])
{
	const struct option_spec *near = options_suggest(argument + 2, name_length);
	int shown = (int)MIN(name_length + 2, 200);

	if (near)
		return config_fail(error, "%.*s: no such option; did you mean --%s?", shown,
				   argument, near->name);
	return config_fail(error, "%.*s: no such option; sixpipe --help lists all", shown,
			   argument);
}

/* Reads the option at argv[*at], and its value, and moves *at to the last word used. */
static int parse_option(struct command_line *line, int argc, char **argv, int *at,
			char error[CONFIG_ERROR_BYTES])
{
	const char *argument = argv[*at];
	size_t name_length = strcspn(argument + 2, "=");
	const struct option_spec *option = options_find(argument + 2, name_length);
	const char *value = argument[2 + name_length] ? argument + 2 + name_length + 1 : NULL;

	if (!option)
		return fail_unknown(argument, name_length, error);
	if (option->type == OPTION_FLAG && value && !strcmp(option->name, "help")) {
		line->help_topic = value;
		line->config->help = true;
		return 0;
	}
	if (option->type == OPTION_FLAG && value)
		return config_fail(error, "--%s '%.80s': takes no value; write --%s alone",
				   option->name, value, option->name);
	if (option->type != OPTION_FLAG && !value) {
		if (*at + 1 >= argc)
			return config_fail(error, "--%s: has no value; give %s", option->name,
					   option->argument);
		value = argv[++*at];
	}
	return config_set(line->config, option, value, error);
}

/* The first plain word is the listener, the others are its backends. */
static int parse_word(struct config *config, const char *word, bool first,
		      char error[CONFIG_ERROR_BYTES])
{
	const char *name = first ? "listen" : "backend";
	char detail[CONFIG_ERROR_BYTES] = "";

	if (first && config->forward_count > config->file_forward_count)
		return config_fail(
			error, "'%.80s': a plain argument beside --listen; put --backend before it",
			word);
	if (!config_set(config, options_find(name, strlen(name)), word, detail))
		return 0;
	/* people who wrote no option should not be told of one: LISTEN '...', not --listen '...' */
	return config_fail(error, "%s%s", first ? "LISTEN" : "BACKEND", detail + 2 + strlen(name));
}

/*
 * Finds --config ahead of everything else, because the file's values go behind all others: the words are
 * skipped as parse_option() will use them. Returns 0, or -EINVAL with `error` when there are two.
 */
static int find_file(const struct command_line *line, int argc, char **argv, const char **file,
		     char error[CONFIG_ERROR_BYTES])
{
	const struct option_spec *config = options_find("config", strlen("config"));

	*file = NULL;
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
		size_t name_length = strncmp(argv[i], "--", 2) ? 0 : strcspn(argv[i] + 2, "=");
		const struct option_spec *option =
			options_find(argv[i] + 2 * !!name_length, name_length);
		const char *value = name_length && argv[i][2 + name_length]
					    ? argv[i] + 2 + name_length + 1
					    : NULL;

		if (option && option->type != OPTION_FLAG && !value && i + 1 < argc)
			value = argv[++i];
		if (option != config || !value)
			continue;
		if (*file)
			return config_fail(error,
					   "--config '%.80s': one too many; one file is read, put "
					   "everything into it",
					   value);
		*file = value;
	}
	if (!*file)
		*file = config_env_find(line->environment, config);
	return 0;
}

/* Whether a listener or its backends were left out, the last listener's at least. */
static bool is_partial(const struct config *config)
{
	return !config->forward_count || !config->forwards[config->forward_count - 1].backend_count;
}

int config_parse(struct command_line *line, int argc, char **argv, char error[CONFIG_ERROR_BYTES])
{
	struct config *config = line->config;
	char environment_error[CONFIG_ERROR_BYTES];
	int environment_result, result;
	bool options_over = false;
	const char *file;
	unsigned words = 0;

	line->help_topic = NULL;
	result = find_file(line, argc, argv, &file, error);
	if (!result && file && *file)
		config_file_read(config, file);
	environment_result = config_env_set_options(config, line->environment, environment_error);
	config->origin = (struct config_origin){.kind = CONFIG_ORIGIN_COMMAND_LINE};
	for (int i = 1; i < argc && !result; i++) {
		if (!options_over && !strcmp(argv[i], "--"))
			options_over = true;
		else if (!options_over && !strcmp(argv[i], "-h"))
			config->help = true;
		else if (!options_over && !strncmp(argv[i], "--", 2))
			result = parse_option(line, argc, argv, &i, error);
		else if (!options_over && argv[i][0] == '-')
			result = config_fail(
				error,
				"%.80s: no such option; options are words behind two dashes, see "
				"--help",
				argv[i]);
		else
			result = parse_word(config, argv[i], words++ == 0, error);
		if (config->help || config->version) {
			if (!line->help_topic && i + 1 < argc && argv[i + 1][0] != '-')
				line->help_topic = argv[i + 1];
			return result;
		}
	}
	if (!result && words && config->forward_count > config->file_forward_count + 1)
		result = config_fail(
			error,
			"--listen: given beside plain arguments; put --listen and --backend before all of "
			"them");
	if (environment_result)
		config_errors_add(&config->errors, environment_error);
	if (result && config->errors.count)
		config_errors_add(&config->errors, error);
	if (!result && !config->forward_count && !config->errors.count)
		result = config_env_add_forward(config, line->environment, line->forwards_optional,
						error);
	if (result || (line->forwards_optional && is_partial(config) && !config->errors.count))
		return result;
	return config_check(config, error);
}
