/* SPDX-License-Identifier: MIT */
/* Forwards by numbered variables: SIXPIPE_FORWARD_1_LISTEN and so on. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "config/config_env.h"
#include "config/config_parse.h"
#include "support.h"

TestSuite(config_env_forwards, .fini = support_check_leaks);

#define L	   "[::1]:2000"
#define B	   "127.0.0.1:80"
#define WORD_LIMIT 8

/* more than an address and its parameters need */
#define BLANKS_32  "                                "
#define BLANKS_160 BLANKS_32 BLANKS_32 BLANKS_32 BLANKS_32 BLANKS_32
#define BLANKS_640 BLANKS_160 BLANKS_160 BLANKS_160 BLANKS_160

struct row {
	const char *environment[WORD_LIMIT];
	const char *arguments[WORD_LIMIT];
	const char *forwards; /* as support_describe_forwards() writes them; NULL: refused */
	const char *error;    /* its beginning */
	const char *remedy;   /* a part of the rest */
};

static const struct row rows[] = {
	/* forwards */
	{{"SIXPIPE_FORWARD_9_LISTEN=[::1]:9",
	  "SIXPIPE_FORWARD_9_BACKEND=" B " weight=2 127.0.0.1:81",
	  "SIXPIPE_FORWARD_10_LISTEN=[::1]:10", "SIXPIPE_FORWARD_10_BACKEND=" B,
	  "SIXPIPE_FORWARD_2_LISTEN=" L, "SIXPIPE_FORWARD_2_BACKEND=" B},
	 {NULL},
	 .forwards = L ">" B " [::1]:9>" B ",127.0.0.1:81 [::1]:10>" B},
	{{"SIXPIPE_FORWARD_2_LISTEN=[::1]:2", "SIXPIPE_FORWARD_2_BACKEND=" B, "SIXPIPE_LISTEN=" L,
	  "SIXPIPE_BACKEND=" B},
	 {NULL},
	 .forwards = L ">" B " [::1]:2>" B},
	{{"SIXPIPE_FORWARD_1_LISTEN=" L, "SIXPIPE_BACKEND=" B, "SIXPIPE_FORWARD_1_NAME="},
	 {NULL},
	 .forwards = L ">" B},
	{{"SIXPIPE_FORWARD_1_LISTEN=x", "SIXPIPE_FORWARD_1_TIMEOUT_IDLE=y"},
	 {"--listen", "[::1]:1", "--backend=127.0.0.1:1"},
	 .forwards = "[::1]:1>127.0.0.1:1"},
	{{"SIXPIPE_FORWARD_1_LISTEN=x"}, {"--", L, B}, .forwards = L ">" B},
	{{"SIXPIPE_FORWARD_1_LISTEN=" L, "SIXPIPE_FORWARD_1_BACKEND=" B},
	 {"--check-expect", "--x", "--check-backends", "--"},
	 .forwards = L ">" B},
	{{"SIXPIPE_FORWARD_1_LISTEN=" L, "SIXPIPE_FORWARD_1_BACKEND=" B, "SIXPIPE_LISTEN=[::1]:2"},
	 {NULL},
	 .error = "SIXPIPE_FORWARD_1_LISTEN '" L "': SIXPIPE_LISTEN is set too",
	 .remedy = "unset one"},
	{{"SIXPIPE_FORWARD_1_LISTEN=" L},
	 {NULL},
	 .error = "SIXPIPE_FORWARD_1_LISTEN '" L "': has no backend",
	 .remedy = "set SIXPIPE_FORWARD_1_BACKEND"},
	{{"SIXPIPE_LISTEN=" L, "SIXPIPE_BACKEND=" B BLANKS_640 "weight=0x"},
	 {NULL},
	 .error = "SIXPIPE_BACKEND '" B,
	 .remedy = "weight"},
	{{"SIXPIPE_FORWARD_3_BACKEND=" B},
	 {NULL},
	 .error = "SIXPIPE_FORWARD_3_BACKEND '" B "': comes without",
	 .remedy = "set SIXPIPE_FORWARD_3_LISTEN"},
	{{"SIXPIPE_FORWARD_3_BALANCE=source", "SIXPIPE_LISTEN=" L, "SIXPIPE_BACKEND=" B},
	 {NULL},
	 .error = "SIXPIPE_FORWARD_3_BALANCE 'source': comes without",
	 .remedy = "set SIXPIPE_FORWARD_3_LISTEN"},
	{{"SIXPIPE_FORWARD_3_NAME=web"},
	 {NULL},
	 .error = "SIXPIPE_FORWARD_3_NAME 'web': comes without",
	 .remedy = "set SIXPIPE_FORWARD_3_LISTEN"},
	{{"SIXPIPE_LISTEN=" L, "SIXPIPE_BACKEND=" B, "SIXPIPE_FORWARD_1_NAME=a b"},
	 {NULL},
	 .error = "SIXPIPE_FORWARD_1_NAME 'a b': no name",
	 .remedy = "1 to 63"},
	{{"SIXPIPE_LISTEN=" L, "SIXPIPE_BACKEND=" B, "SIXPIPE_FORWARD_1_NAME=2"},
	 {NULL},
	 .error = "SIXPIPE_FORWARD_1_NAME '2': numbers are",
	 .remedy = "give a word"},
	{{"SIXPIPE_LISTEN=" L, "SIXPIPE_BACKEND=" B, "SIXPIPE_FORWARD_1_NAME=web",
	  "SIXPIPE_FORWARD_2_LISTEN=[::1]:2", "SIXPIPE_FORWARD_2_BACKEND=" B,
	  "SIXPIPE_FORWARD_2_NAME=web"},
	 {NULL},
	 .error = "SIXPIPE_FORWARD_2_NAME 'web': is the name of another",
	 .remedy = "its own name"},
	{{"SIXPIPE_FORWARD_1_LISTEN=" L, "SIXPIPE_FORWARD_1_BACKEND=" B " 127.0.0.1:0"},
	 {NULL},
	 .error = "SIXPIPE_FORWARD_1_BACKEND '127.0.0.1:0': port 0",
	 .remedy = "1 to 65535"},
	{{"SIXPIPE_LISTEN=" L, "SIXPIPE_BACKEND=" B, "SIXPIPE_FORWARD_1_BACKLOG=x"},
	 {NULL},
	 .error = "SIXPIPE_FORWARD_1_BACKLOG 'x': not a number",
	 .remedy = "such as"},
	{{"SIXPIPE_FORWARD_1_LISTEN=" L, "SIXPIPE_FORWARD_1_BACKEND=" B,
	  "SIXPIPE_FORWARD_4_LISTEN=" L, "SIXPIPE_FORWARD_4_BACKEND=" B},
	 {NULL},
	 .error = "SIXPIPE_FORWARD_4_LISTEN '" L "': is given at SIXPIPE_FORWARD_1_LISTEN",
	 .remedy = "behind one"},
	{{"SIXPIPE_FORWARD_1_LISTEN=" L, "SIXPIPE_FORWARD_1_BACKEND=" B,
	  "SIXPIPE_FORWARD_1_ACCEPT_PROXY=1"},
	 {NULL},
	 .error = "SIXPIPE_FORWARD_1_LISTEN '" L "': --accept-proxy without",
	 .remedy = "add --trust"},

	/* no such numbered variable */
	{{"SIXPIPE_FORWARD_1_TIMEOUT_IDEL=1s"},
	 {L, B},
	 .error = "SIXPIPE_FORWARD_1_TIMEOUT_IDEL: no",
	 .remedy = "SIXPIPE_FORWARD_1_TIMEOUT_IDLE?"},
	{{"SIXPIPE_FORWARD_1_LISTENER=" L},
	 {L, B},
	 .error = "SIXPIPE_FORWARD_1_LISTENER: no",
	 .remedy = "SIXPIPE_FORWARD_1_LISTEN?"},
	{{"SIXPIPE_FORWARD_1_WORKER=1"},
	 {L, B},
	 .error = "SIXPIPE_FORWARD_1_WORKER: no",
	 .remedy = "--help all"},
	{{"SIXPIPE_FORWARD_1_MAXCONN=1"},
	 {L, B},
	 .error = "SIXPIPE_FORWARD_1_MAXCONN: --maxconn is of the whole process",
	 .remedy = "set SIXPIPE_MAXCONN"},
	{{"SIXPIPE_FORWARD_1_CHECK=1"},
	 {L, B},
	 .error = "SIXPIPE_FORWARD_1_CHECK: --check is for the command line",
	 .remedy = "unset it"},
	{{"SIXPIPE_FORWARD_1_WEIGHT=1"},
	 {L, B},
	 .error = "SIXPIPE_FORWARD_1_WEIGHT: weight is for one backend",
	 .remedy = "SIXPIPE_FORWARD_1_BACKEND"},
	{{"SIXPIPE_FORWARD_1_listen=1"},
	 {L, B},
	 .error = "SIXPIPE_FORWARD_1_listen: no such variable",
	 .remedy = "SIXPIPE_FORWARD_1_LISTEN?"},
	{{"SIXPIPE_FORWARD_1_=1"},
	 {L, B},
	 .error = "SIXPIPE_FORWARD_1_: no such variable",
	 .remedy = "--help all"},
	{{"SIXPIPE_FORWARD_WEB_LISTEN=1"},
	 {L, B},
	 .error = "SIXPIPE_FORWARD_WEB_LISTEN: has no forward number",
	 .remedy = "SIXPIPE_FORWARD_1_NAME"},
	{{"SIXPIPE_FORWARD_LISTEN=1"},
	 {L, B},
	 .error = "SIXPIPE_FORWARD_LISTEN: has no",
	 .remedy = "1_"},
	{{"SIXPIPE_FORWARD_1=1"}, {L, B}, .error = "SIXPIPE_FORWARD_1: has no", .remedy = "1_"},
	{{"SIXPIPE_FORWARD_=1"}, {L, B}, .error = "SIXPIPE_FORWARD_: has no", .remedy = "1_"},
	{{"SIXPIPE_FORWARD_0_LISTEN=1"},
	 {L, B},
	 .error = "SIXPIPE_FORWARD_0_LISTEN: has no",
	 .remedy = "1_"},
	{{"SIXPIPE_FORWARD_01_LISTEN=1"},
	 {L, B},
	 .error = "SIXPIPE_FORWARD_01_LISTEN: has no",
	 .remedy = "1_"},
	{{"SIXPIPE_FORWARD_65536_LISTEN=1"},
	 {L, B},
	 .error = "SIXPIPE_FORWARD_65536_LISTEN: has no",
	 .remedy = "1_"},
	{{"SIXPIPE_FORWARD_99999999999_LISTEN=1"},
	 {L, B},
	 .error = "SIXPIPE_FORWARD_99999999999_LISTEN: has no",
	 .remedy = "1_"},
};

/* Copies the words behind the `count` words that are there. Returns the number of all words. */
static int copy(const char *const words[WORD_LIMIT], char **to, int count)
{
	for (int i = 0; i < WORD_LIMIT && words[i]; i++)
		to[count++] = (char *)words[i];
	to[count] = NULL;
	return count;
}

static void expect(const struct row *row, size_t number)
{
	char *environment[WORD_LIMIT + 1], *argv[WORD_LIMIT + 2] = {(char *)"sixpipe"};
	struct fault fault = {0};
	char forwards[SUPPORT_FORWARDS_BYTES];
	struct config config;
	struct command_line line = {.config = &config, .environment = environment};
	int argc = copy(row->arguments, argv, 1), result;

	copy(row->environment, environment, 0);
	config_init(&config);
	result = support_parse(&line, argc, argv, &fault);
	if (row->forwards) {
		support_describe_forwards(&config, forwards);
		cr_expect_eq(result, 0, "row %zu: %s", number, support_text(&fault));
		cr_expect_str_eq(forwards, row->forwards, "row %zu: %s", number, forwards);
	} else {
		cr_expect_eq(result, -EINVAL, "row %zu", number);
		cr_expect_eq(strncmp(support_text(&fault), row->error, strlen(row->error)), 0,
			     "row %zu: %s", number, support_text(&fault));
		cr_expect_not_null(strstr(support_text(&fault), row->remedy), "row %zu: %s", number,
				   support_text(&fault));
	}
	config_finish(&config);
}

Test(config_env_forwards, rows)
{
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		expect(&rows[i], i);
}

/* So no variable of an option is a variable of a numbered forward. */
Test(config_env_forwards, no_option_is_called_like_a_part_of_a_name)
{
	size_t count;
	const struct option_spec *options = options_list(&count);

	for (size_t i = 0; i < count; i++) {
		cr_expect_neq(strncmp(options[i].name, "forward-", strlen("forward-")), 0, "%s",
			      options[i].name);
		cr_expect_str_neq(options[i].name, "name");
	}
}

Test(config_env_forwards, every_option_of_a_forward_has_a_numbered_variable)
{
	size_t count;
	const struct option_spec *options = options_list(&count);

	for (size_t i = 0; i < count; i++) {
		char variable[128] = "SIXPIPE_FORWARD_7_";
		char *environment[] = {variable, NULL};
		struct config config;

		for (const char *at = options[i].name; *at; at++)
			snprintf(variable + strlen(variable), 2, "%c",
				 *at == '-' ? '_' : toupper(*at));
		strcat(variable, "=no such value");
		config_init(&config);
		config_env_set_options(&config, environment);
		cr_expect_eq(config.errors.count, !options_is_of_forward(&options[i]), "%s",
			     variable);
		config_finish(&config);
	}
}

/*
 * The options of a forward: the command line, then its own variable, then the variable of all
 * forwards. Lists are the sum.
 */
Test(config_env_forwards, options_of_numbered_forwards)
{
	char *environment[] = {(char *)"SIXPIPE_FORWARD_3_LISTEN=[::1]:3",
			       (char *)"SIXPIPE_FORWARD_3_BACKEND=127.0.0.1:1",
			       (char *)"SIXPIPE_FORWARD_3_BACKLOG=30",
			       (char *)"SIXPIPE_FORWARD_3_FALL=31",
			       (char *)"SIXPIPE_FORWARD_3_DENY=192.0.2.3",
			       (char *)"SIXPIPE_FORWARD_3_NAME=web",
			       (char *)"SIXPIPE_LISTEN=[::1]:1",
			       (char *)"SIXPIPE_BACKEND=127.0.0.1:1",
			       (char *)"SIXPIPE_DENY=192.0.2.1",
			       (char *)"SIXPIPE_BACKLOG=40",
			       NULL};
	char *argv[] = {(char *)"sixpipe", (char *)"--fall",	(char *)"5",
			(char *)"--deny",  (char *)"192.0.2.9", NULL};
	const struct config_forward *first, *web;
	struct fault fault = {0};
	struct config config;
	struct command_line line = {.config = &config, .environment = environment};

	config_init(&config);
	cr_assert_eq(support_parse(&line, 5, argv, &fault), 0, "%s", support_text(&fault));
	cr_assert_eq(config.forward_count, 2);
	first = &config.forwards[0];
	web = &config.forwards[1];
	cr_expect_str_eq(first->name, "1");
	cr_expect_str_eq(web->name, "web");
	cr_expect_eq(first->options.backlog, 40);
	cr_expect_eq(web->options.backlog, 30);
	cr_expect_eq(first->options.fall, 5);
	cr_expect_eq(web->options.fall, 5);
	cr_assert_eq(first->options.rule_count, 2);
	cr_assert_eq(web->options.rule_count, 3);
	cr_expect_str_eq(web->options.rules[0].text, "192.0.2.1");
	cr_expect_str_eq(web->options.rules[1].text, "192.0.2.3");
	cr_expect_str_eq(web->options.rules[2].text, "192.0.2.9");
	config_finish(&config);
}

/* All faults are found, and a refused listener is not reported as missing. */
Test(config_env_forwards, all_faults_of_numbered_forwards)
{
	static const char *const errors[] = {
		"SIXPIPE_FORWARD_1_LISTEN '::1:80': looks",
		"SIXPIPE_FORWARD_1_BACKEND '127.0.0.1:0': ", "SIXPIPE_FORWARD_1_BACKLOG 'x': ",
		"SIXPIPE_FORWARD_2_BALANCE 'y': ", "SIXPIPE_FORWARD_3_BACKLOG '3': comes without"};
	char *environment[] = {(char *)"SIXPIPE_FORWARD_3_BACKLOG=3",
			       (char *)"SIXPIPE_FORWARD_2_BALANCE=y",
			       (char *)"SIXPIPE_FORWARD_2_LISTEN=[::1]:2",
			       (char *)"SIXPIPE_FORWARD_1_BACKLOG=x",
			       (char *)"SIXPIPE_FORWARD_1_BACKEND=127.0.0.1:0",
			       (char *)"SIXPIPE_FORWARD_1_LISTEN=::1:80",
			       NULL};
	char *argv[] = {(char *)"sixpipe", NULL};
	struct fault fault = {0};
	struct config config;
	struct command_line line = {.config = &config, .environment = environment};

	config_init(&config);
	cr_expect_eq(support_parse(&line, 1, argv, &fault), -EINVAL);
	cr_assert_eq(config.errors.count, ARRAY_COUNT(errors));
	for (size_t i = 0; i < ARRAY_COUNT(errors); i++)
		cr_expect_eq(
			strncmp(support_text(&config.errors.list[i]), errors[i], strlen(errors[i])),
			0, "%s", support_text(&config.errors.list[i]));
	config_finish(&config);
}

Test(config_env_forwards, too_many_numbered_forwards)
{
	enum { FORWARDS = CONFIG_FORWARD_LIMIT + 1 };
	static char text[2 * FORWARDS][64];
	char *environment[2 * FORWARDS + 1], *argv[] = {(char *)"sixpipe", NULL};
	struct fault fault = {0};
	struct config config;
	struct command_line line = {.config = &config, .environment = environment};

	for (unsigned i = 0; i < FORWARDS; i++) {
		snprintf(text[2 * i], 64, "SIXPIPE_FORWARD_%u_LISTEN=[::1]:%u", i + 1, i + 1);
		snprintf(text[2 * i + 1], 64, "SIXPIPE_FORWARD_%u_BACKEND=" B, i + 1);
	}
	for (unsigned i = 0; i < 2 * FORWARDS; i++)
		environment[i] = text[i];
	environment[2 * FORWARDS] = NULL;
	config_init(&config);
	cr_expect_eq(support_parse(&line, 1, argv, &fault), -EINVAL);
	cr_expect_eq(config.errors.count, 1);
	cr_expect_not_null(strstr(support_text(&fault),
				  "SIXPIPE_FORWARD_257_LISTEN '[::1]:257': one "
				  "too many"));
	config_finish(&config);
}
