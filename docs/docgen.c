/*
 * docgen man|markdown: copies a template from stdin to stdout, with every line that is one of
 * @OPTIONS@, @COMMANDS@, @SIGNALS@, @CLOSE_REASONS@, @CLOSE_REASON_REMEDIES@, @LOG_EVENTS@,
 * @LOG_EVENT_REMEDIES@, @METRICS@ and @BACKEND_METRICS@ replaced by that table, from the .def files
 * in src/.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "config/config.h"

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

static void print_options(void)
{
	size_t count;
	const struct option_spec *options = options_list(&count);

	for (unsigned group = 0; group < OPTION_GROUP_COUNT; group++) {
		const char *name = options_groups[group].name;

		if (man)
			printf(".SS %c%s\n", name[0] - 'a' + 'A', name + 1);
		else
			printf("\n### %c%s\n\n| option | default | meaning |\n| --- | --- | --- |\n",
			       name[0] - 'a' + 'A', name + 1);
		for (size_t i = 0; i < count; i++)
			if (options[i].group == group)
				print_option(&options[i]);
	}
}

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

int main(int argc, char **argv)
{
	char line[1024];

	if (argc != 2 || (strcmp(argv[1], "man") && strcmp(argv[1], "markdown"))) {
		fputs("usage: docgen man|markdown <TEMPLATE\n", stderr);
		return 2;
	}
	man = !strcmp(argv[1], "man");
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "@OPTIONS@\n"))
			print_options();
		else if (!strcmp(line, "@COMMANDS@\n"))
			print_commands();
		else if (!strcmp(line, "@SIGNALS@\n"))
			print_signals();
		else if (!strcmp(line, "@CLOSE_REASONS@\n"))
			print_rows(close_reasons, ARRAY_COUNT(close_reasons),
				   "| reason | how | meaning |");
		else if (!strcmp(line, "@LOG_EVENTS@\n"))
			print_rows(log_events, ARRAY_COUNT(log_events),
				   "| event | level | meaning |");
		else if (!strcmp(line, "@CLOSE_REASON_REMEDIES@\n"))
			print_remedies(close_reasons, ARRAY_COUNT(close_reasons),
				       "| reason | meaning | what to do |");
		else if (!strcmp(line, "@LOG_EVENT_REMEDIES@\n"))
			print_remedies(log_events, ARRAY_COUNT(log_events),
				       "| event | meaning | what to do |");
		else if (!strcmp(line, "@METRICS@\n"))
			print_rows(metrics, ARRAY_COUNT(metrics), "| counter | kind | meaning |");
		else if (!strcmp(line, "@BACKEND_METRICS@\n"))
			print_rows(backend_metrics, ARRAY_COUNT(backend_metrics),
				   "| counter | kind | meaning |");
		else
			fputs(line, stdout);
	}
	return ferror(stdin) || fflush(stdout) ? 1 : 0;
}
