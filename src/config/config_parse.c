/* SPDX-License-Identifier: MIT */
#include "config/config_parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "config/config_activation.h"
#include "config/config_env.h"
#include "config/config_field.h"
#include "config/config_file.h"
#include "config/config_origin.h"
#include "config/usage.h"

/*
 * -errno: after this word the command line is not read. It is unknown whether the next word is a
 * value, or which listener the next words are for.
 */
#define LOST (-ENODATA)

static int fail_unknown(const char *argument, struct fault *fault)
{
	size_t name_length = strcspn(argument + 2, "=");
	const struct option_spec *near = options_suggest(argument + 2, name_length);
	const char *remedy = options_foreign_remedy(argument + 2, name_length);
	char shown[FAULT_VALUE_BYTES];

	snprintf(shown, sizeof(shown), "%.*s", (int)MIN(name_length + 2, sizeof(shown)), argument);
	if (remedy)
		return fault_set_object(fault, NULL, shown, "no such option; %s", remedy);
	if (near)
		return fault_set_object(fault, NULL, shown, "no such option; did you mean --%s?",
					near->name);
	return fault_set_object(fault, NULL, shown,
				"no such option; sixpipe --help all lists them");
}

/* A flag with a word after it that is a value in files and variables. */
static int fail_flag_value(const struct option_spec *option, const char *word, struct fault *fault)
{
	if (option->group == OPTION_GROUP_GENERAL)
		return fault_set(fault, option->name, word, "takes no value; write --%s alone",
				 option->name);
	return fault_set(fault, option->name, word,
			 "takes a value only after '='; write --%s=%s, or --%s alone for yes",
			 option->name, word, option->name);
}

/* A flag of the command line alone, with =VALUE: only --help takes a value. */
static int take_general_flag(struct command_line *line, const struct option_spec *option,
			     const char *value, struct fault *fault)
{
	if (strcmp(option->name, "help"))
		return fail_flag_value(option, value, fault);
	line->help_topic = value;
	line->config->help = true;
	return 0;
}

/* Whether a value of the option may look like an address with a port. */
static bool takes_address(const struct option_spec *option)
{
	const unsigned types = 1U << OPTION_LISTEN | 1U << OPTION_BACKEND | 1U << OPTION_ADDRESS |
			       1U << OPTION_SERVERS | 1U << OPTION_SOURCE | 1U << OPTION_CIDRS |
			       1U << OPTION_ALLOW | 1U << OPTION_DENY | 1U << OPTION_TLV |
			       1U << OPTION_BYTES;

	return types >> option->type & 1;
}

/* Whether `word`, which follows the option, is LISTEN or the next option, and so no value. */
static bool is_no_value(const struct option_spec *option, const char *word)
{
	struct addr address;

	/* the bytes of a check may look like anything */
	if (!strncmp(word, "--", 2))
		return option->type != OPTION_BYTES;
	return !takes_address(option) &&
	       (*word == '[' || addr_is_local_text(word) || config_activation_is_text(word) ||
		!addr_parse(word, &address));
}

static int fail_without_value(const struct option_spec *option, const char *next,
			      struct fault *fault)
{
	if (!next)
		return fault_set(fault, option->name, NULL, "has no value; give %s",
				 option->argument);
	return fault_set(fault, option->name, NULL,
			 "has no value: the next word is '%.80s', which cannot be one; give %s",
			 next, option->argument);
}

/*
 * Returns the option at argv[*at], which begins with "--", or NULL for an unknown name. Sets
 * `value` to the text after '=' or to the next word, and then moves *at to that word; NULL: no
 * value.
 */
static const struct option_spec *read_option(int argc, char **argv, int *at, const char **value)
{
	const char *name = argv[*at] + 2;
	size_t length = strcspn(name, "=");
	const struct option_spec *option = options_find(name, length);

	*value = name[length] ? name + length + 1 : NULL;
	if (option && option->type != OPTION_FLAG && !*value && *at + 1 < argc &&
	    !is_no_value(option, argv[*at + 1]))
		*value = argv[++*at];
	return option;
}

/* Sets the option at argv[*at], and moves *at to the last word used. Returns 0, -EINVAL or LOST. */
static int parse_option(struct command_line *line, int argc, char **argv, int *at,
			struct fault *fault)
{
	const char *argument = argv[*at], *value;
	const struct option_spec *option = read_option(argc, argv, at, &value);
	const char *next = *at + 1 < argc ? argv[*at + 1] : NULL;
	bool flag;
	int result;

	if (!option) {
		fail_unknown(argument, fault);
		return value ? -EINVAL : LOST;
	}
	if (option->type == OPTION_FLAG && option->group == OPTION_GROUP_GENERAL && value)
		return take_general_flag(line, option, value, fault);
	if (option->type == OPTION_FLAG && !value && next && strcmp(option->name, "help") != 0 &&
	    config_field_read_flag(next, &flag)) {
		++*at;
		return fail_flag_value(option, next, fault);
	}
	if (option->type != OPTION_FLAG && !value)
		return fail_without_value(option, next, fault);
	result = config_set(line->config, option, value, fault);
	return result && option->type == OPTION_LISTEN ? LOST : result;
}

/* Whether a word is a parameter, which belongs into the argument of its backend. */
static bool is_parameter(const struct config *config, const char *word)
{
	return config->forward_count > config->early_forward_count &&
	       options_find_parameter(word, strcspn(word, "="));
}

static int fail_parameter(const struct config *config, const char *word, struct fault *fault)
{
	const struct config_forward *latest = &config->forwards[config->forward_count - 1];
	char backend[CONFIG_BACKEND_TEXT_BYTES] = "ADDRESS";

	if (latest->backend_count)
		config_print_backend(&latest->backends[latest->backend_count - 1], backend);
	return fault_set(fault, NULL, word,
			 "belongs to the backend before it, in one argument; write '%s %.80s'",
			 backend, word);
}

/* A word at the place of LISTEN that is no address: probably a command, misspelt or misplaced. */
static int fail_no_command(const char *word, struct fault *fault)
{
	const char *near = usage_suggest_command(word);
	const struct option_spec *option = options_find(word, strlen(word));

	if (near && !strcmp(near, word))
		return fault_set(
			fault, "listen", word,
			"is a command, which comes before everything else; write sixpipe %s ...",
			near);
	if (near)
		return fault_set(fault, "listen", word,
				 "is neither an address nor a command; did you mean sixpipe %s?",
				 near);
	if (option && option->group == OPTION_GROUP_GENERAL)
		return fault_set(fault, "listen", word,
				 "is neither an address nor a command; did you mean sixpipe --%s?",
				 option->name);
	return fault_set(
		fault, "listen", word,
		"is neither an address nor a command; write [address]:port, or see sixpipe --help");
}

/* The first plain word is the listener, the others are its backends. Returns 0, -EINVAL or LOST. */
static int parse_word(struct config *config, const char *word, bool first, struct fault *fault)
{
	const char *name = first ? "listen" : "backend";

	if (first && config->forward_count > config->early_forward_count) {
		fault_set(fault, NULL, word,
			  "a plain argument beside --listen; put --backend before it");
		return LOST;
	}
	if (!config_set(config, options_find(name, strlen(name)), word, fault))
		return 0;
	if (first && !strpbrk(word, ":[/") && isalpha((unsigned char)*word))
		fail_no_command(word, fault);
	/* name the argument as the user gave it: LISTEN '...', not --listen '...' */
	snprintf(fault->name, sizeof(fault->name), "%s", first ? "LISTEN" : "BACKEND");
	return first ? LOST : -EINVAL;
}

/*
 * Finds --config before the other options are read, because every other value replaces the file's.
 * Returns 0, or -EINVAL with `fault` when --config is given twice.
 */
static int find_file(const struct command_line *line, int argc, char **argv, const char **file,
		     struct fault *fault)
{
	const struct option_spec *config = options_find("config", strlen("config"));
	const char *value;

	*file = NULL;
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
		if (strncmp(argv[i], "--", 2) || read_option(argc, argv, &i, &value) != config ||
		    !value)
			continue;
		if (*file)
			return fault_set(fault, "config", value,
					 "one too many; one file is read, put everything into it");
		*file = value;
	}
	if (!*file)
		*file = config_env_find(line->environment, config);
	return 0;
}

/* Whether the command line has a LISTEN or a BACKEND, right or wrong. */
static bool has_forward(int argc, char **argv)
{
	const struct option_spec *option;
	const char *value;

	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-')
			return true;
		if (!strcmp(argv[i], "--"))
			return i + 1 < argc;
		option = strncmp(argv[i], "--", 2) ? NULL : read_option(argc, argv, &i, &value);
		if (option && (option->type == OPTION_LISTEN || option->type == OPTION_BACKEND))
			return true;
	}
	return false;
}

/*
 * Reads the words up to --help, --version or a LOST word. Adds faults to config->errors. Returns
 * whether the words were read, so that the configuration can be checked.
 */
static bool parse_words(struct command_line *line, int argc, char **argv)
{
	struct config *config = line->config;
	struct fault fault;
	bool options_over = false;
	unsigned words = 0;
	int result = 0;

	config->origin = (struct config_origin){.kind = CONFIG_ORIGIN_COMMAND_LINE};
	for (int i = 1; i < argc && result != LOST; i++) {
		result = 0;
		if (!options_over && !strcmp(argv[i], "--")) {
			options_over = true;
		} else if (!options_over && !strcmp(argv[i], "-h")) {
			config->help = true;
		} else if (!options_over && !strncmp(argv[i], "--", 2)) {
			result = parse_option(line, argc, argv, &i, &fault);
		} else if (!options_over && argv[i][0] == '-') {
			fault_set_object(
				&fault, NULL, argv[i],
				"no such option; options are words behind two dashes, see --help");
			result = LOST;
		} else if (is_parameter(config, argv[i])) {
			result = fail_parameter(config, argv[i], &fault);
		} else {
			result = parse_word(config, argv[i], words++ == 0, &fault);
		}
		if (result)
			config_errors_add(&config->errors, &fault);
		if (config->help || config->version) {
			if (!line->help_topic && i + 1 < argc && argv[i + 1][0] != '-')
				line->help_topic = argv[i + 1];
			return true;
		}
	}
	if (result == LOST || !words || config->forward_count <= config->early_forward_count + 1)
		return result != LOST;
	fault_set(&fault, "listen", NULL,
		  "given beside plain arguments; put --listen and --backend before all of them");
	config_errors_add(&config->errors, &fault);
	return false;
}

/* Whether there is no listener, or the last listener has no backends. */
static bool is_partial(const struct config *config)
{
	return !config->forward_count || !config->forwards[config->forward_count - 1].backend_count;
}

int config_parse(struct command_line *line, int argc, char **argv)
{
	struct config *config = line->config;
	struct config_errors *errors = &config->errors;
	struct fault fault;
	unsigned of_file;
	const char *file;
	bool whole;

	line->help_topic = NULL;
	errors->takes_over = config->inherited != NULL;
	whole = !find_file(line, argc, argv, &file, &fault);
	if (!whole)
		config_errors_add(errors, &fault);
	else if (file && *file)
		config_file_read(config, file);
	of_file = errors->count;
	config_env_set_options(config, line->environment);
	/* after a fault in the file, its forward may be missing: the environment has no other */
	if (!config->forward_count && !of_file && !has_forward(argc, argv))
		config_env_add_forwards(config, line->environment);
	whole &= parse_words(line, argc, argv);
	if (config->help || config->version)
		return 0;
	config->broken = errors->count > of_file;
	if (whole && line->forwards_optional && is_partial(config) && !errors->count)
		return 0;
	return whole ? config_check(config) : -EINVAL;
}
