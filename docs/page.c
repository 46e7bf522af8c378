/* SPDX-License-Identifier: MIT */
#include "page.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "base/util.h"
#include "config/options.h"

struct row {
	const char *word;
	const char *note; /* NULL: none */
	const char *meaning;
	const char *remedy; /* NULL: the table has none */
};

static const struct row commands[] = {
#define COMMAND(word, function, arguments, help) {#word, arguments, help, NULL},
#include "config/commands.def"
#undef COMMAND
};

static const struct row signals[] = {
#define SIGNAL(name, action, meaning)		   {#name, #action, meaning, NULL},
#define SIGNAL_RANGE(first, last, action, meaning) {#first " to " #last, #action, meaning, NULL},
#include "control/signals.def"
#undef SIGNAL
#undef SIGNAL_RANGE
};

static const struct row close_reasons[] = {
#define CLOSE_REASON(word, side, how, meaning, remedy) {#word, #how, meaning, remedy},
#include "stats/close_reasons.def"
#undef CLOSE_REASON
};

static const struct row log_events[] = {
#define LOG_EVENT(word, level, rate, meaning, remedy) {#word, #level, meaning, remedy},
#include "base/log_events.def"
#undef LOG_EVENT
};

static const struct row metrics[] = {
#define METRIC(word, kind, meaning) {#word, #kind, meaning, NULL},
#define BACKEND_METRIC(word, kind, meaning)
#include "stats/metrics.def"
#undef METRIC
#undef BACKEND_METRIC
};

static const struct row backend_metrics[] = {
#define METRIC(word, kind, meaning)
#define BACKEND_METRIC(word, kind, meaning) {"backend_" #word, #kind, meaning, NULL},
#include "stats/metrics.def"
#undef METRIC
#undef BACKEND_METRIC
};

static bool man;

/* Text for troff: '-' is a minus there, a backslash an escape. */
static void print_text(const char *text)
{
	for (; *text; text++) {
		if (man && *text == '-')
			fputs("\\-", stdout);
		else if (man && *text == '\\')
			fputs("\\e", stdout);
		else if (!man && *text == '|')
			fputs("\\|", stdout);
		else
			putchar(*text);
	}
}

static void print_option(const struct option_spec *option)
{
	if (man) {
		printf(".TP\n.BI \\-\\-");
		print_text(option->name);
		if (*option->argument) {
			fputs(" \" ", stdout);
			print_text(option->argument);
			putchar('"');
		}
		putchar('\n');
		print_text(option->help);
		if (*option->default_text)
			printf(" Default: %s.", option->default_text);
		putchar('\n');
		return;
	}
	printf("| `--%s%s", option->name, *option->argument ? " " : "");
	print_text(option->argument);
	printf("` | %s | ", *option->default_text ? option->default_text : "");
	print_text(option->help);
	puts(" |");
}

static void print_group(enum option_group group)
{
	const char *name = options_groups[group].name;

	printf(".SS %c%s\n", name[0] - 'a' + 'A', name + 1);
}

static void print_options(void)
{
	size_t count;
	const struct option_spec *options = options_list(&count);

	for (unsigned group = 0; group < OPTION_GROUP_COUNT; group++) {
		const char *name = options_groups[group].name;

		if (man)
			print_group((enum option_group)group);
		else
			printf("\n### %c%s\n\n| option | default | meaning |\n| --- | --- | --- |\n",
			       name[0] - 'a' + 'A', name + 1);
		for (size_t i = 0; i < count; i++)
			if (options[i].group == group)
				print_option(&options[i]);
	}
}

/* Options of files, for sixpipe.conf(5) -------------------------------------------------------- */

static bool is_list(const struct option_spec *option)
{
	return option->type == OPTION_BACKEND || option->type == OPTION_CIDRS ||
	       option->type == OPTION_TLV || options_is_rule(option);
}

static const char *place_of(const struct option_spec *option)
{
	if (option->type == OPTION_LISTEN || option->type == OPTION_BACKEND)
		return "Section only";
	return option->scope == OPTION_SCOPE_FORWARD ? "Global part or section" : "Global part";
}

/* config_check.c refuses 0 for the times of checks and of names. */
static const char *zero_of(const struct option_spec *option)
{
	bool has_zero = option->type == OPTION_RATE || option->type == OPTION_DURATION;

	return has_zero && strncmp(option->name, "check-", 6) && strncmp(option->name, "dns-", 4)
		       ? ", or 0"
		       : "";
}

static void print_bounds(const struct option_spec *option)
{
	char least[UNITS_TEXT_BYTES], most[UNITS_TEXT_BYTES];

	if (!option->most)
		return;
	switch (option->type) {
	case OPTION_SIZE:
		units_print_size(option->least, least);
		units_print_size(option->most, most);
		break;
	case OPTION_RATE:
		units_print_rate(option->least, least);
		units_print_rate(option->most, most);
		break;
	case OPTION_DURATION:
		units_print_duration(option->least, least);
		units_print_duration(option->most, most);
		break;
	default:
		snprintf(least, sizeof(least), "%" PRIu64, option->least);
		snprintf(most, sizeof(most), "%" PRIu64, option->most);
	}
	printf("From %s to %s%s.", least, most, zero_of(option));
}

static void print_setting(const struct option_spec *option, const char *between)
{
	bool flag = option->type == OPTION_FLAG;

	fputs(".TP\n.BI \"", stdout);
	print_text(option->name);
	if (*between) {
		printf("%s\" \"", between);
		print_text(flag ? "yes|no" : option->argument);
	}
	puts("\"");
	print_text(option->help);
	putchar('\n');
}

static void print_file_option(const struct option_spec *option)
{
	const char *default_text = option->type == OPTION_FLAG ? "no" : option->default_text;

	print_setting(option, " = ");
	printf(".br\n%s.", place_of(option));
	if (is_list(option))
		fputs(" May be repeated.", stdout);
	if (*default_text)
		printf(" Default: %s.", default_text);
	if (option->most)
		putchar(' ');
	print_bounds(option);
	putchar('\n');
}

static void print_file_options(void)
{
	size_t count;
	const struct option_spec *options = options_list(&count);

	for (unsigned group = 0; group < OPTION_GROUP_COUNT; group++) {
		if (group == OPTION_GROUP_GENERAL)
			continue;
		print_group((enum option_group)group);
		for (size_t i = 0; i < count; i++)
			if (options[i].group == group)
				print_file_option(&options[i]);
	}
}

static void print_parameters(void)
{
	size_t count;
	const struct option_spec *parameters = options_parameters(&count);

	for (size_t i = 0; i < count; i++) {
		print_setting(&parameters[i], *parameters[i].argument ? "=" : "");
		if (!parameters[i].most)
			continue;
		fputs(".br\n", stdout);
		print_bounds(&parameters[i]);
		putchar('\n');
	}
}

/* ---------------------------------------------------------------------------------------------- */

/* In the manual a command is shown as it is typed. */
static void print_commands(void)
{
	if (!man)
		puts("| command | meaning |\n| --- | --- |");
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
		printf(man ? ".TP\n.BI \"sixpipe %s \" \"" : "| `sixpipe %s ", commands[i].word);
		print_text(commands[i].note);
		fputs(man ? "\"\n" : "` | ", stdout);
		print_text(commands[i].meaning);
		puts(man ? "" : " |");
	}
}

/* In the manual, where rows have no note, a signal's action comes first. */
static void print_signals(void)
{
	if (!man)
		puts("| signal | action | meaning |\n| --- | --- | --- |");
	for (size_t i = 0; i < ARRAY_COUNT(signals); i++) {
		printf(man ? ".TP\n.B %s\n%s: " : "| `%s` | %s | ", signals[i].word,
		       signals[i].note);
		print_text(signals[i].meaning);
		puts(man ? "" : " |");
	}
}

static void print_rows(const struct row *rows, size_t count, const char *heading)
{
	if (!man)
		printf("%s\n| --- | --- | --- |\n", heading);
	for (size_t i = 0; i < count; i++) {
		if (man)
			printf(".TP\n.B %s\n", rows[i].word);
		else
			printf("| `%s` | %s | ", rows[i].word, rows[i].note);
		print_text(rows[i].meaning);
		puts(man ? "" : " |");
	}
}

/* For markdown only: what each row means, and what to do. */
static void print_remedies(const struct row *rows, size_t count, const char *heading)
{
	printf("%s\n| --- | --- | --- |\n", heading);
	for (size_t i = 0; i < count; i++) {
		printf("| `%s` | ", rows[i].word);
		print_text(rows[i].meaning);
		fputs(" | ", stdout);
		print_text(rows[i].remedy);
		puts(" |");
	}
}

static void print_close_reasons(void)
{
	print_rows(close_reasons, ARRAY_COUNT(close_reasons), "| reason | how | meaning |");
}

static void print_close_reason_remedies(void)
{
	print_remedies(close_reasons, ARRAY_COUNT(close_reasons),
		       "| reason | meaning | what to do |");
}

static void print_log_events(void)
{
	print_rows(log_events, ARRAY_COUNT(log_events), "| event | level | meaning |");
}

static void print_log_event_remedies(void)
{
	print_remedies(log_events, ARRAY_COUNT(log_events), "| event | meaning | what to do |");
}

static void print_metrics(void)
{
	print_rows(metrics, ARRAY_COUNT(metrics), "| counter | kind | meaning |");
}

static void print_backend_metrics(void)
{
	print_rows(backend_metrics, ARRAY_COUNT(backend_metrics), "| counter | kind | meaning |");
}

static const struct table {
	const char *name;
	void (*print)(void);
} tables[] = {
	{"@OPTIONS@", print_options},
	{"@FILE_OPTIONS@", print_file_options},
	{"@PARAMETERS@", print_parameters},
	{"@COMMANDS@", print_commands},
	{"@SIGNALS@", print_signals},
	{"@CLOSE_REASONS@", print_close_reasons},
	{"@CLOSE_REASON_REMEDIES@", print_close_reason_remedies},
	{"@LOG_EVENTS@", print_log_events},
	{"@LOG_EVENT_REMEDIES@", print_log_event_remedies},
	{"@METRICS@", print_metrics},
	{"@BACKEND_METRICS@", print_backend_metrics},
};

static bool print(const char *name)
{
	for (size_t i = 0; i < ARRAY_COUNT(tables); i++)
		if (!strcmp(tables[i].name, name)) {
			tables[i].print();
			return true;
		}
	return false;
}

bool page_print_markdown(const char *table)
{
	man = false;
	return print(table);
}

bool page_print_man(const char *table)
{
	man = true;
	return print(table);
}
