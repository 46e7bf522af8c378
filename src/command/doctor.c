/* SPDX-License-Identifier: MIT */
#include "command/doctor.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "command/doctor_facts.h"
#include "config/config_parse.h"
#include "config/usage.h"
#include "os/activation.h"

/* A screen of 80 columns: name, state, and text. */
#define SCREEN_COLUMNS 80
#define NAME_COLUMNS   12
#define STATE_COLUMNS  5
#define VALUE_COLUMNS  61
#define REMEDY_COLUMNS 64

/* By enum doctor_state. */
static const char *const state_names[] = {"ok", "warn", "fail"};

static void print_json(FILE *out, const char *name, const struct doctor_finding *finding,
		       bool first)
{
	fputs(first ? "\n" : ",\n", out);
	fprintf(out, "{\"name\":\"%s\",\"state\":\"%s\",\"value\":", name,
		state_names[finding->state]);
	json_print_string(out, finding->value);
	fputs(",\"remedy\":", out);
	json_print_string(out, finding->remedy);
	fputc('}', out);
}

/* The bytes of a text that fit a line. A long text is cut at a blank. */
static int fit(const char *text, int columns)
{
	int length = (int)strnlen(text, (size_t)columns + 1);

	if (length <= columns)
		return length;
	for (length = columns; length > columns / 2; length--)
		if (text[length] == ' ')
			return length;
	return columns;
}

/* Prints a text for a terminal, without control characters, on as many lines as needed. */
static void print_words(FILE *out, const char *text, int columns)
{
	for (int length = fit(text, columns);; length = fit(text, columns)) {
		for (; length; text++, length--)
			fputc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, out);
		fputc('\n', out);
		text += strspn(text, " ");
		if (!*text)
			return;
		fprintf(out, "%*s", SCREEN_COLUMNS - columns, "");
	}
}

static void print_row(FILE *out, const char *name, const struct doctor_finding *finding)
{
	/* capitals: a failure must be seen */
	const char *state = finding->state == DOCTOR_FAIL ? "FAIL" : state_names[finding->state];

	fprintf(out, "%-*s %-*s ", NAME_COLUMNS, name, STATE_COLUMNS, state);
	print_words(out, finding->value, VALUE_COLUMNS);
	if (*finding->remedy) {
		fprintf(out, "%*s -> ", NAME_COLUMNS, "");
		print_words(out, finding->remedy, REMEDY_COLUMNS);
	}
}

bool doctor_print(FILE *out, const struct doctor_facts *facts, bool json)
{
	size_t count;
	const struct doctor_check *checks = doctor_checks(&count);
	unsigned states[] = {0, 0, 0};
	struct doctor_finding finding;
	bool first = true;

	for (size_t i = 0; i < count; i++)
		if (doctor_judge(&checks[i], facts, &finding))
			states[finding.state]++;
	if (json)
		fprintf(out, "{\"ok\":%s,\"checks\":[", states[DOCTOR_FAIL] ? "false" : "true");
	for (size_t i = 0; i < count; i++) {
		if (!doctor_judge(&checks[i], facts, &finding))
			continue;
		if (json)
			print_json(out, checks[i].name, &finding, first);
		else
			print_row(out, checks[i].name, &finding);
		first = false;
	}
	if (json)
		fputs("\n]}\n", out);
	else
		fprintf(out, "%s: %u ok, %u to improve, %u to mend.\n",
			states[DOCTOR_FAIL] ? "Cannot serve like this" : "Can serve",
			states[DOCTOR_OK], states[DOCTOR_WARN], states[DOCTOR_FAIL]);
	return !states[DOCTOR_FAIL];
}

/* Takes --json out of the arguments. All others are options of sixpipe itself. */
static bool take_json(int *argc, char **argv)
{
	bool json = false, options_over = false;
	int kept = 1;

	for (int i = 1; i < *argc; i++) {
		options_over |= !strcmp(argv[i], "--");
		if (!options_over && !strcmp(argv[i], "--json"))
			json = true;
		else
			argv[kept++] = argv[i];
	}
	*argc = kept;
	argv[kept] = NULL;
	return json;
}

int doctor_main(int argc, char **argv)
{
	struct config config;
	struct command_line line = {
		.config = &config, .environment = environ, .forwards_optional = true};
	bool json = take_json(&argc, argv);
	struct doctor_facts facts;
	struct fault fault;
	int result;

	config_init(&config);
	if (activation_take(&config.passed, &fault)) {
		result = usage_fail(EXIT_USAGE, &fault);
	} else if (config_parse(&line, argc, argv)) {
		result = usage_fail_all(EXIT_USAGE, &config.errors);
	} else if (config.version) {
		usage_print_version(stdout);
		result = EXIT_SUCCESS;
	} else if (config.help) {
		usage_print_command(stdout, argv[0]);
		result = EXIT_SUCCESS;
	} else {
		doctor_gather("", &config, &facts);
		result = doctor_print(stdout, &facts, json) ? EXIT_SUCCESS : EXIT_FAILURE;
	}
	config_finish(&config);
	return result;
}
