/* SPDX-License-Identifier: MIT */
#include "config/usage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/spelling.h"
#include "base/utf8.h"

#define SCREEN_COLUMNS 80
#define HELP_INDENT    8

struct command_help {
	const char *word;
	const char *arguments;
	const char *help;
};

static const struct command_help commands[] = {
#define COMMAND(word, function, arguments, help) {#word, arguments, help},
#include "config/commands.def"
#undef COMMAND
};

/* Prints text wrapped at the screen's edge, each line indented. */
static void print_wrapped(FILE *out, const char *text)
{
	int column = 0;

	while (*text) {
		int length = (int)strcspn(text, " ");

		if (column && column + 1 + length > SCREEN_COLUMNS) {
			fputc('\n', out);
			column = 0;
		}
		column += column ? fprintf(out, " %.*s", length, text)
				 : fprintf(out, "%*s%.*s", HELP_INDENT, "", length, text);
		text += length;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

static void print_option(FILE *out, const struct option_spec *option)
{
	fprintf(out, "  --%s%s%s", option->name, *option->argument ? " " : "", option->argument);
	if (*option->default_text)
		fprintf(out, "  (default: %s)", option->default_text);
	fputc('\n', out);
	print_wrapped(out, option->help);
}

static void print_parameters(FILE *out)
{
	size_t count;
	const struct option_spec *parameters = options_parameters(&count);

	fputs("Parameters, behind a backend's address\n", out);
	for (size_t i = 0; i < count; i++) {
		fprintf(out, "  %s%s%s\n", parameters[i].name, *parameters[i].argument ? "=" : "",
			parameters[i].argument);
		print_wrapped(out, parameters[i].help);
	}
}

static void print_group(FILE *out, enum option_group group)
{
	size_t count;
	const struct option_spec *options = options_list(&count);

	fprintf(out, "Options, %s: %s\n", options_groups[group].name, options_groups[group].title);
	for (size_t i = 0; i < count; i++)
		if (options[i].group == group)
			print_option(out, &options[i]);
	if (group == OPTION_GROUP_FORWARDING)
		print_parameters(out);
}

static void print_commands(FILE *out)
{
	fputs("Commands besides forwarding: sixpipe COMMAND ...\n", out);
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
		fprintf(out, "  %s %s\n", commands[i].word, commands[i].arguments);
		print_wrapped(out, commands[i].help);
	}
}

/* Prints the row of --help for the commands; further lines of it have no name. */
static void print_words(FILE *out)
{
	int column = fprintf(out, "  %-10s ", "commands");

	for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
		if (column + 1 + (int)strlen(commands[i].word) > SCREEN_COLUMNS)
			column = fprintf(out, "\n  %-10s ", "") - 1;
		column += fprintf(out, " %s", commands[i].word);
	}
}

static void print_overview(FILE *out)
{
	fputs("Usage: sixpipe [OPTIONS] LISTEN BACKEND [BACKEND ...]\n"
	      "       sixpipe [OPTIONS] --listen LISTEN --backend BACKEND ... [--listen ...]\n"
	      "       sixpipe COMMAND ...\n"
	      "\n"
	      "Accepts TCP connections on IPv6 and forwards them to IPv4 backends:\n"
	      "  sixpipe --user nobody '[::]:2000' 192.0.2.1:80\n"
	      "\n"
	      "--help GROUP tells the options of a group, --help all everything. The groups:\n",
	      out);
	for (unsigned i = 0; i < OPTION_GROUP_COUNT; i++)
		fprintf(out,
			i % 2 || i + 1 == OPTION_GROUP_COUNT ? "  %-10s  %s\n" : "  %-10s  %-27s",
			options_groups[i].name, options_groups[i].title);
	print_words(out);
	fputs("\n\n"
	      "By file, too: --config FILE; by environment: SIXPIPE_MAXCONN for --maxconn,\n"
	      "SIXPIPE_FORWARD_1_LISTEN, SIXPIPE_FORWARD_1_BACKEND, ... for each forward.\n"
	      "Signals: TERM and INT drain until --drain-timeout, the second one stops at once.\n"
	      "Exit codes: 0 success, 1 failure, 2 bad usage. The manual: man 8 sixpipe\n",
	      out);
}

static int fail_topic(const char *topic, struct fault *fault)
{
	char names[256] = "";

	for (unsigned i = 0; i < OPTION_GROUP_COUNT; i++) {
		size_t length = strlen(names);

		snprintf(names + length, sizeof(names) - length, "%s, ", options_groups[i].name);
	}
	return fault_set(fault, "help", topic, "no such group; give %scommands or all", names);
}

int usage_print(FILE *out, const char *topic, struct fault *fault)
{
	bool all = topic && !strcmp(topic, "all");
	bool with_commands = all || (topic && !strcmp(topic, "commands"));
	bool known = !topic || with_commands;

	if (!topic)
		print_overview(out);
	for (unsigned group = 0; group < OPTION_GROUP_COUNT && topic; group++) {
		if (!all && strcmp(topic, options_groups[group].name))
			continue;
		if (all && group)
			fputc('\n', out);
		print_group(out, (enum option_group)group);
		known = true;
	}
	if (all)
		fputc('\n', out);
	if (with_commands)
		print_commands(out);
	return known ? 0 : fail_topic(topic, fault);
}

void usage_print_command(FILE *out, const char *word)
{
	size_t i = 0;

	while (strcmp(commands[i].word, word)) {
		i++;
		CHECK(i < ARRAY_COUNT(commands));
	}
	fprintf(out, "Usage: sixpipe %s %s\n", word, commands[i].arguments);
	print_wrapped(out, commands[i].help);
}

const char *usage_suggest_command(const char *word)
{
	const char *nearest = NULL;
	unsigned letters = spelling_limit(strlen(word));

	for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
		if (spelling_is_nearer(word, strlen(word), commands[i].word, &letters))
			nearest = commands[i].word;
	return nearest;
}

int usage_fail_text(int code, const char *message)
{
	char *text = NULL;
	size_t length_bytes;
	FILE *line = open_memstream(&text, &length_bytes);

	if (!line) {
		log_print("sixpipe: out of memory\n", strlen("sixpipe: out of memory\n"));
		return code;
	}
	fputs("sixpipe: ", line);
	utf8_print(line, message);
	fputc('\n', line);
	if (!fclose(line))
		log_print(text, length_bytes);
	free(text);
	return code;
}

int usage_fail(int code, const struct fault *fault)
{
	char text[FAULT_TEXT_BYTES];

	return usage_fail_text(code, fault_print(fault, text));
}

int usage_fail_all(int code, const struct config_errors *errors)
{
	for (unsigned i = 0; i < errors->count; i++)
		usage_fail(code, &errors->list[i]);
	if (errors->more) {
		struct fault more;

		fault_set(&more, NULL, NULL, "%u more like these", errors->more);
		usage_fail(code, &more);
	}
	return code;
}

int usage_finish(int code)
{
	struct fault fault;

	errno = 0;
	if (!fflush(stdout) && !ferror(stdout))
		return code;
	fault_set(&fault, NULL, NULL,
		  "stdout cannot be written to: %s; give it a file with room, or a pipe",
		  strerror(errno ? errno : EIO));
	return usage_fail(code ? code : EXIT_FAILURE, &fault);
}

void usage_print_version(FILE *out)
{
	fputs("sixpipe " SIXPIPE_VERSION "\n", out);
}
