/* SPDX-License-Identifier: MIT */
/*
 * config_parse.h: any command line and environment is either accepted, and then within its bounds,
 * or refused with a reason. The input's lines, or what NULs separate, are the words; those that
 * begin with SIXPIPE_ are the environment.
 */
#include "config/config_parse.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "fuzz.h"

#define WORD_LIMIT 64

static int split(char *text, size_t count, char *argv[WORD_LIMIT + 2])
{
	char *const end = text + count;
	int argc = 0;

	argv[argc++] = (char *)"sixpipe";
	while (text < end && argc <= WORD_LIMIT) {
		argv[argc++] = text;
		while (text < end && *text && *text != '\n')
			text++;
		*text++ = '\0'; /* at the end there is one byte more */
	}
	argv[argc] = NULL;
	return argc;
}

/* Moves the variables from the words to `environment`; returns how many words are left. */
static int take_environment(int argc, char *argv[WORD_LIMIT + 2], char *environment[WORD_LIMIT + 2])
{
	int kept = 0, taken = 0;

	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "SIXPIPE_", strlen("SIXPIPE_")))
			environment[taken++] = argv[i];
		else
			argv[kept++] = argv[i];
	}
	argv[kept] = NULL;
	environment[taken] = NULL;
	return kept;
}

/* `owner` is what the fields of the options of this scope are in. */
static void check_bounds(const void *owner, enum option_scope scope)
{
	size_t count;
	const struct option_spec *options = options_list(&count);

	for (size_t i = 0; i < count; i++) {
		const struct option_spec *option = &options[i];
		uint64_t value;

		if (option->scope != scope)
			continue;
		if (option->type != OPTION_COUNT && option->type != OPTION_SIZE &&
		    option->type != OPTION_DURATION)
			continue;
		memcpy(&value, (const char *)owner + option->offset, sizeof(value));
		/* 0: not given, or never; what is worked out later has a value of its own until then */
		CHECK(!value || value == CONFIG_MAX_FAILS_AUTO ||
		      (value >= option->least && value <= option->most));
	}
}

static void check_forwards(const struct config *config)
{
	CHECK(config->forward_count > 0 && config->forward_count <= CONFIG_FORWARD_LIMIT);
	for (unsigned i = 0; i < config->forward_count; i++) {
		const struct config_forward *forward = &config->forwards[i];

		check_bounds(&forward->options, OPTION_SCOPE_FORWARD);
		CHECK(forward->backend_count > 0 && forward->backend_count <= CONFIG_BACKEND_LIMIT);
		for (unsigned j = 0; j < forward->backend_count; j++) {
			const struct addr *backend = &forward->backends[j].addr;

			CHECK(addr_is_local(backend) || addr_port(backend) > 0);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	char *text = malloc(count + 1);
	char *argv[WORD_LIMIT + 2], *environment[WORD_LIMIT + 2];
	struct config config;
	struct command_line line = {.config = &config, .environment = environment};
	int argc, result;

	CHECK(text);
	if (count)
		memcpy(text, bytes, count);
	text[count] = '\0';
	argc = take_environment(split(text, count, argv), argv, environment);
	config_init(&config);
	result = config_parse(&line, argc, argv);
	if (result) {
		char line_text[FAULT_TEXT_BYTES];

		CHECK(config.errors.count && *config.errors.list[0].reason);
		CHECK(strlen(fault_print(&config.errors.list[0], line_text)) < sizeof(line_text));
	} else {
		check_bounds(&config, OPTION_SCOPE_GLOBAL);
		check_bounds(&config.defaults, OPTION_SCOPE_FORWARD);
		if (!config.help && !config.version)
			check_forwards(&config);
	}
	config_finish(&config);
	free(text);
	return 0;
}
