/* SPDX-License-Identifier: MIT */
#include "config/config_dump.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/utf8.h"
#include "config/config_file.h"
#include "config/config_origin.h"

#define ORIGIN_COLUMN 48

struct dump {
	const struct config *config;
	FILE *out;
	const struct config_value *misfit; /* the first value that a file cannot have */
};

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

/* Whether reading a file gives the same value. */
static bool fits(const char *text)
{
	size_t count = strlen(text), length;

	if (!count || count > CONFIG_FILE_VALUE_LIMIT)
		return false;
	for (size_t i = 0; i < count; i += length) {
		bool after_blank = !i || is_blank(text[i - 1]);

		if ((text[i] == '#' || text[i] == ';') && after_blank)
			return false;
		length = text[i] == '\t' ? 1 : utf8_printable(text + i, count - i);
		if (!length)
			return false;
	}
	return !is_blank(text[0]) && !is_blank(text[count - 1]);
}

/* A copy of the text. In OPTION_BYTES, a blank at either end becomes an escape. */
static char *copy_text(const struct config_value *value)
{
	size_t length = strlen(value->text);
	char *text = malloc(length + 2 * strlen("x20") + 1);
	bool first = length && value->text[0] == ' ',
	     last = length > 1 && value->text[length - 1] == ' ';

	CHECK(text);
	if (value->option->type != OPTION_BYTES)
		first = last = false;
	sprintf(text, "%s%.*s%s", first ? "\\x20" : "", (int)length - first - last,
		value->text + first, last ? "\\x20" : "");
	return text;
}

static void print_value(struct dump *dump, const struct config_value *value)
{
	char *text = copy_text(value), origin[CONFIG_ORIGIN_BYTES];
	size_t length = strlen(text);
	int column;

	/* in a variable, the words of a backend may be on several lines */
	for (size_t i = 0; i < length && value->option->type == OPTION_BACKEND; i++)
		if (isspace((unsigned char)text[i]))
			text[i] = ' ';
	while (value->option->type == OPTION_BACKEND && length && text[length - 1] == ' ')
		text[--length] = '\0';
	if (!fits(text) && !dump->misfit)
		dump->misfit = value;
	column = fprintf(dump->out, "%s = %s", value->option->name, text);
	fprintf(dump->out, "%*s  # ", MAX(0, ORIGIN_COLUMN - column), "");
	/* the path of the file may have any bytes */
	utf8_print(dump->out, config_origin_print(dump->config, value, origin));
	fputc('\n', dump->out);
	free(text);
}

/* Prints an option's values; "no" for a flag that was not set. */
static void print_option(struct dump *dump, const struct config_values *values,
			 const struct option_spec *option)
{
	const struct config_value off = {option, "no", {.kind = CONFIG_ORIGIN_DEFAULT}};
	const struct config_value *value;
	unsigned at = 0, count = 0;

	for (; (value = config_values_next(values, option, &at)); count++)
		print_value(dump, value);
	if (!count && option->type == OPTION_FLAG)
		print_value(dump, &off);
}

/* Prints --allow, --deny and their files in the order of their common list. */
static void print_rules(struct dump *dump, const struct config_values *values)
{
	for (unsigned i = 0; i < values->count; i++)
		if (options_is_rule(values->list[i].option))
			print_value(dump, &values->list[i]);
}

static void print_options(struct dump *dump, const struct config_values *values, bool of_forward)
{
	size_t count;
	const struct option_spec *options = options_list(&count);

	for (size_t i = 0; i < count; i++)
		if (options[i].group == OPTION_GROUP_GENERAL ||
		    options_is_of_forward(&options[i]) != of_forward)
			continue;
		else if (options[i].type == OPTION_ALLOW)
			print_rules(dump, values);
		else if (!options_is_rule(&options[i]))
			print_option(dump, values, &options[i]);
}

char *config_dump(const struct config *config, struct fault *fault)
{
	struct dump dump = {.config = config};
	char *text = NULL;
	size_t bytes;
	int failed;

	dump.out = open_memstream(&text, &bytes);
	CHECK(dump.out);
	fputs("# The configuration in effect; behind each value, where it comes from.\n", dump.out);
	print_options(&dump, &config->values, false);
	for (unsigned i = 0; i < config->forward_count; i++) {
		if (config->forwards[i].is_of_range)
			continue;
		fprintf(dump.out, "\n[forward %s]\n", config->forwards[i].name);
		print_options(&dump, &config->forwards[i].values, true);
	}
	failed = fclose(dump.out);
	CHECK(!failed); /* fails only without memory */
	if (!dump.misfit)
		return text;
	free(text);
	if (strlen(dump.misfit->text) > CONFIG_FILE_VALUE_LIMIT)
		fault_set(fault, NULL, dump.misfit->text,
			  "cannot be written to a file, for its %zu bytes; %d are the limit of a "
			  "value",
			  strlen(dump.misfit->text), CONFIG_FILE_VALUE_LIMIT);
	else
		fault_set(fault, NULL, dump.misfit->text,
			  "cannot be written to a file, for its control characters, blanks around "
			  "it or a comment in it; give another value");
	config_origin_name(config, dump.misfit, fault);
	return NULL;
}
