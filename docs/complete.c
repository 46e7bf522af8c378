/* SPDX-License-Identifier: MIT */
#include "complete.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/util.h"
#include "config/options.h"

/* What a shell offers as the value of an option. */
enum value {
	VALUE_NONE,  /* the option takes no value */
	VALUE_WORDS, /* one of the words in struct argument */
	VALUE_FILE,
	VALUE_USER,
	VALUE_INTERFACE,
	VALUE_CONGESTION,
	VALUE_BACKEND, /* an address, and in the same word parameters */
	VALUE_OTHER,   /* a value that the shell cannot know */
	VALUE_COUNT
};

struct argument {
	const char *name; /* of the option, without dashes */
	const char *note; /* the value's name in help texts */
	const char *help; /* "": none */
	enum value value;
	bool repeats;
	char words[256]; /* with blanks between them */
};

struct part {
	const char *name;
	void (*print)(void);
};

struct command {
	const char *word;
	const char *arguments;
	const char *help;
};

static const struct command commands[] = {
#define COMMAND(word, function, arguments, help) {#word, arguments, help},
#include "config/commands.def"
#undef COMMAND
};

/* The texts of the tables ---------------------------------------------------------------------- */

static void set_words(struct argument *argument, const char *words)
{
	CHECK(strlen(words) < sizeof(argument->words));
	strcpy(argument->words, words);
	for (char *at = argument->words; (at = strchr(at, '|'));)
		*at = ' ';
	argument->value = VALUE_WORDS;
}

/* The groups of --help. */
static void set_topics(struct argument *argument)
{
	char words[1024] = "all commands";

	for (unsigned i = 0; i < OPTION_GROUP_COUNT; i++)
		strcat(strcat(words, " "), options_groups[i].name);
	set_words(argument, words);
}

static enum value value_of_note(const char *note)
{
	return !strcmp(note, "FILE") || !strcmp(note, "PATH") ? VALUE_FILE : VALUE_OTHER;
}

static struct argument describe(const struct option_spec *option)
{
	struct argument argument = {
		.name = option->name,
		.note = option->argument,
		.help = option->help,
		.value = value_of_note(option->argument),
		/* each --listen begins a forward, with options of its own */
		.repeats = options_is_of_forward(option),
	};

	if (!strcmp(option->name, "help"))
		set_topics(&argument);
	else if (option->type == OPTION_CHOICE)
		set_words(&argument, option->argument);
	else if (option->type == OPTION_SOURCE)
		set_words(&argument, "none|pseudo|loopback|embedded");
	else if (option->type == OPTION_FLAG)
		argument.value = VALUE_NONE;
	else if (option->type == OPTION_BACKEND)
		argument.value = VALUE_BACKEND;
	else if (!strcmp(option->name, "user"))
		argument.value = VALUE_USER;
	else if (!strcmp(option->name, "bind-device"))
		argument.value = VALUE_INTERFACE;
	else if (!strcmp(option->name, "congestion"))
		argument.value = VALUE_CONGESTION;
	return argument;
}

/*
 * Takes the next option of a command's arguments, such as "WHO [--for TIME] [--json]". False: there
 * is no more. `name` and `note` get the texts, which the argument refers to.
 */
static bool next_argument(const char **at, struct argument *argument, char name[32], char note[32])
{
	*argument = (struct argument){.name = name, .note = note, .help = ""};
	*at = strstr(*at, "--");
	note[0] = '\0';
	if (!*at || sscanf(*at, "--%31[a-z-] %31[A-Za-z|]", name, note) < 1)
		return false;
	*at += strlen("--") + strlen(name);
	argument->value = *note ? value_of_note(note) : VALUE_NONE;
	if (strchr(note, '|'))
		set_words(argument, note);
	return true;
}

static bool takes_all_options(const struct command *command)
{
	return strstr(command->arguments, "[OPTIONS]");
}

/* Prints the text within a word in quotes ('...'), with a backslash before each of `special`. */
static void print_part(const char *text, size_t length, const char *special)
{
	for (size_t i = 0; i < length; i++) {
		/* the quote ends, \' stands for itself, and the quote begins again */
		if (text[i] == '\'')
			fputs("'\\'", stdout);
		else if (strchr(special, text[i]))
			putchar('\\');
		putchar(text[i]);
	}
}

static void print_escaped(const char *text, const char *special)
{
	print_part(text, strlen(text), special);
}

/* The first sentence of a help text, without its full stop. */
static void print_sentence(const char *help, const char *special)
{
	const char *end = strstr(help, ". ");
	size_t length = end ? (size_t)(end - help) : strlen(help);

	if (!end && length && help[length - 1] == '.')
		length--;
	print_part(help, length, special);
}

static void for_each_option(void (*print)(const struct argument *argument))
{
	size_t count;
	const struct option_spec *options = options_list(&count);

	for (size_t i = 0; i < count; i++) {
		const struct argument argument = describe(&options[i]);

		print(&argument);
	}
}

/* The parameters of backends: "weight=", "backup", a word for each choice. */
static void print_parameters(void)
{
	size_t count;
	const struct option_spec *parameters = options_parameters(&count);

	for (size_t i = 0; i < count; i++) {
		const struct argument argument = describe(&parameters[i]);
		const char *at = argument.words;

		if (!*at)
			printf(" %s%s", argument.name, argument.value == VALUE_NONE ? "" : "=");
		for (; *at; at += strspn(at, " ")) {
			int length = (int)strcspn(at, " ");

			printf(" %s=%.*s", argument.name, length, at);
			at += length;
		}
	}
}

/* bash ----------------------------------------------------------------------------------------- */

static void bash_option(const struct argument *argument)
{
	printf(" --%s", argument->name);
}

/* What the shell offers after each option: a case for each. Flags have none. */
static void bash_value(const struct argument *argument)
{
	static const char *const actions[VALUE_COUNT] = {
		[VALUE_FILE] = "_sixpipe_files \"$2\"",
		[VALUE_USER] = "words=$(compgen -u)",
		[VALUE_INTERFACE] = "words=$(cd /sys/class/net && echo *)",
		[VALUE_CONGESTION] = "words=$(</proc/sys/net/ipv4/tcp_allowed_congestion_control)",
		[VALUE_BACKEND] = "_sixpipe_backend \"$2\"",
		[VALUE_OTHER] = "",
	};

	if (argument->value == VALUE_WORDS)
		printf("\t--%s) words='%s' ;;\n", argument->name, argument->words);
	else if (argument->value != VALUE_NONE)
		printf("\t--%s) %s ;;\n", argument->name, actions[argument->value]);
}

static void bash_options(void)
{
	fputs("_sixpipe_options='", stdout);
	for_each_option(bash_option);
	puts("'");
}

static void bash_parameters(void)
{
	fputs("_sixpipe_parameters='", stdout);
	print_parameters();
	puts("'");
}

static void bash_values(void)
{
	struct argument argument;
	char name[32], note[32];

	for_each_option(bash_value);
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
		for (const char *at = commands[i].arguments;
		     next_argument(&at, &argument, name, note);)
			if (!options_find(name, strlen(name)))
				bash_value(&argument);
}

static void bash_commands(void)
{
	struct argument argument;
	char name[32], note[32];

	fputs("_sixpipe_commands='", stdout);
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
		printf("%s%s", i ? " " : "", commands[i].word);
	puts("'");
	puts("declare -gA _sixpipe_command_options=(");
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
		const char *at = commands[i].arguments;

		printf("\t[%s]=\"", commands[i].word);
		while (next_argument(&at, &argument, name, note))
			printf(" --%s", name);
		puts(takes_all_options(&commands[i]) ? " $_sixpipe_options\"" : "\"");
	}
	puts(")");
}

static const struct part bash_parts[] = {
	{"@OPTIONS@", bash_options},
	{"@PARAMETERS@", bash_parameters},
	{"@COMMANDS@", bash_commands},
	{"@VALUES@", bash_values},
};

/* zsh ------------------------------------------------------------------------------------------ */

/* A line for _arguments: '*--name=[help]:note:action'. */
static void zsh_option(const struct argument *argument)
{
	static const char *const actions[VALUE_COUNT] = {
		[VALUE_FILE] = "_files",
		[VALUE_USER] = "_users",
		[VALUE_INTERFACE] = "_net_interfaces",
		[VALUE_CONGESTION] =
			"{compadd -- $(</proc/sys/net/ipv4/tcp_allowed_congestion_control)}",
		[VALUE_BACKEND] = "_sixpipe_backend",
		[VALUE_OTHER] = " ",
	};
	const char *note = argument->value == VALUE_WORDS ? "value" : argument->note;
	bool is_help = !strcmp(argument->name, "help");

	printf("\t'%s--%s", argument->repeats ? "*" : "", argument->name);
	if (argument->value != VALUE_NONE && !is_help)
		putchar('=');
	if (*argument->help) {
		putchar('[');
		print_sentence(argument->help, "[]\\");
		putchar(']');
	}
	if (argument->value != VALUE_NONE) {
		fputs(is_help ? "::" : ":", stdout);
		print_escaped(note, ":");
		putchar(':');
		if (argument->value == VALUE_WORDS)
			printf("(%s)", argument->words);
		else
			fputs(actions[argument->value], stdout);
	}
	puts("'");
}

static void zsh_options(void)
{
	puts("local -a _sixpipe_options=(");
	for_each_option(zsh_option);
	puts(")");
}

static void zsh_parameters(void)
{
	fputs("\tlocal -a parameters=(", stdout);
	print_parameters();
	puts(")");
}

static void zsh_commands(void)
{
	struct argument argument;
	char name[32], note[32];

	puts("local -a _sixpipe_commands=(");
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
		printf("\t'%s:", commands[i].word);
		print_sentence(commands[i].help, ":\\");
		puts("'");
	}
	puts(")");
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
		const char *at = commands[i].arguments;

		/* a name of a variable has no '-' */
		fputs("local -a _sixpipe_", stdout);
		for (const char *at = commands[i].word; *at; at++)
			putchar(*at == '-' ? '_' : *at);
		puts("=(");
		while (next_argument(&at, &argument, name, note))
			zsh_option(&argument);
		if (takes_all_options(&commands[i]))
			puts("\t$_sixpipe_options");
		puts(")");
	}
}

static const struct part zsh_parts[] = {
	{"@OPTIONS@", zsh_options},
	{"@PARAMETERS@", zsh_parameters},
	{"@COMMANDS@", zsh_commands},
};

/* fish ----------------------------------------------------------------------------------------- */

/* The rest of a line, from the option's name on. */
static void fish_option(const struct argument *argument)
{
	static const char *const actions[VALUE_COUNT] = {
		[VALUE_NONE] = "",
		[VALUE_FILE] = " -r -F",
		[VALUE_USER] = " -x -a '(__fish_complete_users)'",
		[VALUE_INTERFACE] = " -x -a '(command ls /sys/class/net)'",
		[VALUE_CONGESTION] = " -x -a '(string split \" \" "
				     "</proc/sys/net/ipv4/tcp_allowed_congestion_control)'",
		[VALUE_BACKEND] = " -x -a '(__sixpipe_backend)'",
		[VALUE_OTHER] = " -x",
	};

	printf(" -l %s", argument->name);
	if (argument->value == VALUE_WORDS)
		printf(" -x -a '%s'", argument->words);
	else
		fputs(actions[argument->value], stdout);
	if (*argument->help) {
		fputs(" -d '", stdout);
		print_sentence(argument->help, "\\");
		putchar('\'');
	}
	putchar('\n');
}

static void fish_forward_option(const struct argument *argument)
{
	fputs("complete -c sixpipe -n __sixpipe_takes_options", stdout);
	fish_option(argument);
}

static void fish_options(void)
{
	for_each_option(fish_forward_option);
}

static void fish_parameters(void)
{
	fputs("    set -l parameters", stdout);
	print_parameters();
	putchar('\n');
}

static void fish_commands(void)
{
	struct argument argument;
	char name[32], note[32];

	for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
		const char *at = commands[i].arguments;

		printf("complete -c sixpipe -n __sixpipe_is_first -a %s -d '", commands[i].word);
		print_sentence(commands[i].help, "\\");
		puts("'");
		while (next_argument(&at, &argument, name, note)) {
			printf("complete -c sixpipe -n '__sixpipe_command %s'", commands[i].word);
			fish_option(&argument);
		}
	}
}

/* The commands that do not take all options. */
static void fish_command_words(void)
{
	fputs("set -g __sixpipe_commands", stdout);
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
		if (!takes_all_options(&commands[i]))
			printf(" %s", commands[i].word);
	putchar('\n');
}

static const struct part fish_parts[] = {
	{"@OPTIONS@", fish_options},
	{"@PARAMETERS@", fish_parameters},
	{"@COMMANDS@", fish_commands},
	{"@COMMAND_WORDS@", fish_command_words},
};

static bool print(const struct part *parts, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(parts[i].name, name)) {
			parts[i].print();
			return true;
		}
	return false;
}

bool complete_print_bash(const char *part)
{
	return print(bash_parts, ARRAY_COUNT(bash_parts), part);
}

bool complete_print_zsh(const char *part)
{
	return print(zsh_parts, ARRAY_COUNT(zsh_parts), part);
}

bool complete_print_fish(const char *part)
{
	return print(fish_parts, ARRAY_COUNT(fish_parts), part);
}
