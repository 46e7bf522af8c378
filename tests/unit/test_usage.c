/* SPDX-License-Identifier: MIT */
#include "config/usage.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(usage, .fini = support_check_leaks);

#define SCREEN_LINES   24
#define SCREEN_COLUMNS 80

/* The help on `topic`; the caller frees it. */
static char *print(const char *topic)
{
	struct fault fault = {0};
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	cr_assert_not_null(out);
	cr_assert_eq(usage_print(out, topic, &fault), 0, "%s", topic);
	fclose(out);
	return text;
}

static void expect_fits_a_screen(const char *topic, const char *text)
{
	unsigned lines = 0;

	for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
		size_t columns = strcspn(line, "\n");

		lines++;
		cr_expect_leq(columns, SCREEN_COLUMNS, "--help %s: %.*s", topic, (int)columns,
			      line);
		cr_expect(!columns || line[columns - 1] != ' ', "--help %s: a blank at the end",
			  topic);
		cr_assert_eq(line[columns], '\n', "--help %s: the last line has no end", topic);
	}
	cr_expect_leq(lines, SCREEN_LINES, "--help %s: %u lines", topic, lines);
	cr_expect_gt(lines, 2, "--help %s: %u lines", topic, lines);
}

Test(usage, the_overview_and_each_group_fit_a_screen)
{
	char *text = print(NULL);

	expect_fits_a_screen("", text);
	free(text);
	for (unsigned group = 0; group < OPTION_GROUP_COUNT; group++) {
		text = print(options_groups[group].name);
		expect_fits_a_screen(options_groups[group].name, text);
		free(text);
	}
}

Test(usage, every_option_appears)
{
	size_t count;
	const struct option_spec *options = options_list(&count);
	char *all = print("all");

	for (size_t i = 0; i < count; i++) {
		char *own = print(options_groups[options[i].group].name);
		char heading[128];

		snprintf(heading, sizeof(heading), "\n  --%s%s%s", options[i].name,
			 *options[i].argument ? " " : "", options[i].argument);
		cr_expect_not_null(strstr(own, heading), "--%s", options[i].name);
		cr_expect_not_null(strstr(all, heading), "--%s", options[i].name);
		if (*options[i].default_text)
			cr_expect_not_null(strstr(own, options[i].default_text), "--%s",
					   options[i].name);
		free(own);
	}
	free(all);
}

/* An option's words all arrive, however they are wrapped. */
Test(usage, no_word_of_the_help_is_lost)
{
	size_t count;
	const struct option_spec *options = options_list(&count);
	char *all = print("all");

	for (char *at = all; *at; at++)
		if (*at == '\n')
			*at = ' ';
	for (size_t i = 0; i < count; i++) {
		const char *at = all;

		for (const char *word = options[i].help; *word && at;) {
			int length = (int)strcspn(word, " ");
			char text[64];

			snprintf(text, sizeof(text), " %.*s ", length, word);
			at = strstr(at, text);
			cr_expect_not_null(at, "--%s: '%s' is missing", options[i].name, text);
			word += length + strspn(word + length, " ");
		}
	}
	free(all);
}

Test(usage, the_overview_names_every_group)
{
	char *overview = print(NULL);

	for (unsigned group = 0; group < OPTION_GROUP_COUNT; group++)
		cr_expect_not_null(strstr(overview, options_groups[group].name), "%s",
				   options_groups[group].name);
	cr_expect_not_null(strstr(overview, "Usage: sixpipe"));
	free(overview);
}

Test(usage, unknown_topics)
{
	static const char *const rows[] = {"",		"limit",   "Limits",
					   "--workers", "limits ", "everything"};
	struct fault fault = {0};
	char *text = NULL;
	size_t bytes;

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		FILE *out = open_memstream(&text, &bytes);

		cr_assert_not_null(out);
		cr_expect_eq(usage_print(out, rows[i], &fault), -EINVAL, "'%s'", rows[i]);
		fclose(out);
		cr_expect_eq(bytes, 0, "'%s' prints something", rows[i]);
		cr_expect_not_null(strstr(support_text(&fault), rows[i]), "%s",
				   support_text(&fault));
		cr_expect_not_null(strstr(support_text(&fault), "commands"), "%s",
				   support_text(&fault));
		for (unsigned group = 0; group < OPTION_GROUP_COUNT; group++)
			cr_expect_not_null(strstr(support_text(&fault), options_groups[group].name),
					   "the remedy leaves out %s", options_groups[group].name);
		free(text);
	}
}

Test(usage, version)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	cr_assert_not_null(out);
	usage_print_version(out);
	fclose(out);
	cr_expect_str_eq(text, "sixpipe " SIXPIPE_VERSION "\n");
	free(text);
}
