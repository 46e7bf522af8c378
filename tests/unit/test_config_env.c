/* SPDX-License-Identifier: MIT */
#include "config/config_env.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "config/config_parse.h"
#include "support.h"

TestSuite(config_env, .fini = support_check_leaks);

#define L	   "[::1]:2000"
#define B	   "127.0.0.1:80"
#define WORD_LIMIT 8

struct row {
	const char *environment[WORD_LIMIT];
	const char *arguments[WORD_LIMIT];
	const char *forwards; /* as support_describe_forwards() writes them; NULL: refused */
	const char *error;    /* its beginning */
	const char *remedy;   /* a part of the rest */
	bool access_log;
	uint64_t maxconn;
	bool forwards_optional;
};

static const struct row rows[] = {
	/* one forward */
	{{"SIXPIPE_LISTEN=" L, "SIXPIPE_BACKEND=" B}, {NULL}, .forwards = L ">" B},
	{{"SIXPIPE_BACKEND=" B "  127.0.0.1:81\t[::1]:82 ", "SIXPIPE_LISTEN=" L},
	 {NULL},
	 .forwards = L ">" B ",127.0.0.1:81,[::1]:82"},
	{{"SIXPIPE_LISTEN=" L, "SIXPIPE_BACKEND=" B},
	 {"[::1]:1", "127.0.0.1:1"},
	 .forwards = "[::1]:1>127.0.0.1:1"},
	{{"SIXPIPE_LISTEN=x", "SIXPIPE_BACKEND=y"},
	 {"--listen", "[::1]:1", "--backend=127.0.0.1:1"},
	 .forwards = "[::1]:1>127.0.0.1:1"},
	{{"SIXPIPE_BACKEND=" B},
	 {"--listen", L},
	 .error = "--listen '" L "': has no backend",
	 .remedy = "--backend"},
	{{"SIXPIPE_LISTEN=" L},
	 {"--backend", B},
	 .error = "--backend '" B "': comes before",
	 .remedy = "first"},
	{{"SIXPIPE_LISTEN=" L},
	 {NULL},
	 .error = "SIXPIPE_LISTEN '" L "': has no backend",
	 .remedy = "SIXPIPE_BACKEND"},
	{{"SIXPIPE_BACKEND=" B},
	 {NULL},
	 .error = "SIXPIPE_BACKEND '" B "': comes without",
	 .remedy = "SIXPIPE_LISTEN"},
	{{"SIXPIPE_LISTEN=", "SIXPIPE_BACKEND="},
	 {NULL},
	 .error = "LISTEN and BACKEND are missing",
	 .remedy = "--help"},
	{{"SIXPIPE_LISTEN=::1:80", "SIXPIPE_BACKEND=" B},
	 {NULL},
	 .error = "SIXPIPE_LISTEN '::1:80': looks like IPv6",
	 .remedy = "[address]:port"},
	{{"SIXPIPE_LISTEN=" L, "SIXPIPE_BACKEND=" B " 127.0.0.1:0"},
	 {NULL},
	 .error = "SIXPIPE_BACKEND '127.0.0.1:0': port 0",
	 .remedy = "1 to 65535"},
	{{"SIXPIPE_LISTEN=" L, "SIXPIPE_BACKEND=" L},
	 {NULL},
	 .error = "SIXPIPE_BACKEND '" L "': is the listener's own",
	 .remedy = "the service's"},
	{{"SIXPIPE_LISTEN=" L, "SIXPIPE_BACKEND= "},
	 {NULL},
	 .error = "SIXPIPE_LISTEN '" L "': has no",
	 .remedy = "SIXPIPE_BACKEND"},

	/* options */
	{{"SIXPIPE_MAXCONN=7"}, {L, B}, .forwards = L ">" B, .maxconn = 7},
	{{"SIXPIPE_MAXCONN=7"}, {L, B, "--maxconn", "8"}, .forwards = L ">" B, .maxconn = 8},
	{{"SIXPIPE_MAXCONN="}, {L, B}, .forwards = L ">" B},
	{{"SIXPIPE_TIMEOUT_CLIENT_FIN=5m", "SIXPIPE_PIPE_SIZE=64KiB"}, {L, B}, .forwards = L ">" B},
	{{"SIXPIPE_MAXCONN=x"},
	 {L, B},
	 .error = "SIXPIPE_MAXCONN 'x': not a number; ",
	 .remedy = "such as 1000"},
	{{"SIXPIPE_MAXCONN=x"},
	 {L, B, "--maxconn", "8"},
	 .error = "SIXPIPE_MAXCONN 'x': not",
	 .remedy = "such as"},
	{{"SIXPIPE_TIMEOUT_IDLE=30"},
	 {L, B},
	 .error = "SIXPIPE_TIMEOUT_IDLE '30': not a time",
	 .remedy = "500ms"},
	{{"SIXPIPE_ENGINE=kqueue"},
	 {L, B},
	 .error = "SIXPIPE_ENGINE 'kqueue': not one of",
	 .remedy = "give one"},
	{{"SIXPIPE_WORKERS=0"},
	 {L, B},
	 .error = "SIXPIPE_WORKERS '0': out of range",
	 .remedy = "1 to 256"},

	/* flags */
	{{"SIXPIPE_ACCESS_LOG=1"}, {L, B}, .forwards = L ">" B, .access_log = true},
	{{"SIXPIPE_ACCESS_LOG=yes"}, {L, B}, .forwards = L ">" B, .access_log = true},
	{{"SIXPIPE_ACCESS_LOG=True"}, {L, B}, .forwards = L ">" B, .access_log = true},
	{{"SIXPIPE_ACCESS_LOG=on"}, {L, B}, .forwards = L ">" B, .access_log = true},
	{{"SIXPIPE_ACCESS_LOG=0"}, {L, B}, .forwards = L ">" B},
	{{"SIXPIPE_ACCESS_LOG=no"}, {L, B}, .forwards = L ">" B},
	{{"SIXPIPE_ACCESS_LOG=false"}, {L, B}, .forwards = L ">" B},
	{{"SIXPIPE_ACCESS_LOG=off"}, {L, B}, .forwards = L ">" B},
	{{"SIXPIPE_ACCESS_LOG=off"},
	 {L, B, "--access-log"},
	 .forwards = L ">" B,
	 .access_log = true},
	{{"SIXPIPE_ACCESS_LOG=2"},
	 {L, B},
	 .error = "SIXPIPE_ACCESS_LOG '2': neither",
	 .remedy = "give 1, yes"},
	{{"SIXPIPE_ACCESS_LOG=yess"},
	 {L, B},
	 .error = "SIXPIPE_ACCESS_LOG 'yess': neither",
	 .remedy = "give 1"},

	/* no such variable */
	{{"SIXPIPE_MAXCON=7"},
	 {L, B},
	 .error = "SIXPIPE_MAXCON: no such variable",
	 .remedy = "SIXPIPE_MAXCONN?"},
	{{"SIXPIPE_MAX_CONN=7"},
	 {L, B},
	 .error = "SIXPIPE_MAX_CONN: no such",
	 .remedy = "SIXPIPE_MAXCONN?"},
	{{"SIXPIPE_maxconn=7"},
	 {L, B},
	 .error = "SIXPIPE_maxconn: no such",
	 .remedy = "SIXPIPE_MAXCONN?"},
	{{"SIXPIPE_TIMEOUT_IDEL=1s"},
	 {L, B},
	 .error = "SIXPIPE_TIMEOUT_IDEL: no",
	 .remedy = "SIXPIPE_TIMEOUT_IDLE?"},
	{{"SIXPIPE_FROBNICATE=7"},
	 {L, B},
	 .error = "SIXPIPE_FROBNICATE: no such variable; ",
	 .remedy = "--help all"},
	{{"SIXPIPE_=7"}, {L, B}, .error = "SIXPIPE_: no such variable; ", .remedy = "--help all"},
	{{"SIXPIPE_HELP=1"},
	 {L, B},
	 .error = "SIXPIPE_HELP: --help is for the command line",
	 .remedy = "unset it"},
	{{"SIXPIPE_VERSION=1"},
	 {L, B},
	 .error = "SIXPIPE_VERSION: --version is for",
	 .remedy = "unset it"},
	{{"SIXPIPE_CHECK=1"},
	 {L, B},
	 .error = "SIXPIPE_CHECK: --check is for",
	 .remedy = "unset it"},
	{{"SIXPIPE_CHEK=1"},
	 {L, B},
	 .error = "SIXPIPE_CHEK: no such variable; unset",
	 .remedy = "--help all"},
	{{"SIXPIPE_FROBNICATE="}, {L, B}, .forwards = L ">" B},
	{{"SIXPIPE_FROBNICATE"}, {L, B}, .forwards = L ">" B},
	{{"SIXPIPE=x", "SIXPIPER_X=y", "XSIXPIPE_Y=z", "sixpipe_z=1", ""},
	 {L, B},
	 .forwards = L ">" B},

	/* Kubernetes */
	{{"SIXPIPE_SERVICE_HOST=10.0.0.1", "SIXPIPE_SERVICE_PORT=2000",
	  "SIXPIPE_SERVICE_PORT_HTTP=80", "SIXPIPE_PORT=tcp://10.0.0.1:2000",
	  "SIXPIPE_PORT_2000_TCP=tcp://10.0.0.1:2000", "SIXPIPE_PORT_2000_TCP_PROTO=tcp",
	  "SIXPIPE_PORT_2000_TCP_ADDR=10.0.0.1"},
	 {L, B},
	 .forwards = L ">" B},
	{{"SIXPIPE_EDGE_SERVICE_HOST=10.0.0.1", "SIXPIPE_EDGE_PORT=tcp://10.0.0.1:2000",
	  "SIXPIPE_PORT_53_UDP_PORT=53", "SIXPIPE_LISTEN_PORT_53_UDP=x"},
	 {L, B},
	 .forwards = L ">" B},
	{{"SIXPIPE_FORWARD_1_SERVICE_HOST=10.0.0.1", "SIXPIPE_FORWARD_1_PORT=tcp://10.0.0.1:2000",
	  "SIXPIPE_FORWARD_1_PORT_2000_TCP_ADDR=10.0.0.1", "SIXPIPE_FORWARD_WEB_SERVICE_PORT=2000"},
	 {L, B},
	 .forwards = L ">" B},
	{{"SIXPIPE_PORTS=1"}, {L, B}, .error = "SIXPIPE_PORTS: no such variable", .remedy = "; "},
	{{"SIXPIPE_PORT_X=1"}, {L, B}, .error = "SIXPIPE_PORT_X: no such variable", .remedy = "; "},
	{{"SIXPIPE_SERVICE=1"},
	 {L, B},
	 .error = "SIXPIPE_SERVICE: no such variable",
	 .remedy = "; "},
	{{"SIXPIPE_X=_PORT"}, {L, B}, .error = "SIXPIPE_X: no such variable", .remedy = "; "},

	/* for a command that can do without */
	{{NULL}, {NULL}, .forwards = "", .forwards_optional = true},
	{{"SIXPIPE_LISTEN=" L}, {NULL}, .forwards = L ">", .forwards_optional = true},
	{{NULL}, {L}, .forwards = L ">", .forwards_optional = true},
	{{NULL},
	 {"--listen", L, "--listen", L, "--backend", B},
	 .error = "--listen '" L "': has no backend",
	 .remedy = "--backend",
	 .forwards_optional = true},
};

/* Copies what is not NULL behind the `count` words that are there. */
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
	struct command_line line = {.config = &config,
				    .environment = environment,
				    .forwards_optional = row->forwards_optional};
	int argc = copy(row->arguments, argv, 1), result;

	copy(row->environment, environment, 0);
	config_init(&config);
	result = support_parse(&line, argc, argv, &fault);
	if (row->forwards) {
		support_describe_forwards(&config, forwards);
		cr_expect_eq(result, 0, "row %zu: %s", number, support_text(&fault));
		cr_expect_str_eq(forwards, row->forwards, "row %zu: %s", number, forwards);
		cr_expect_eq(config.access_log, row->access_log, "row %zu", number);
		cr_expect_eq(config.maxconn, row->maxconn, "row %zu", number);
	} else {
		cr_expect_eq(result, -EINVAL, "row %zu", number);
		cr_expect_eq(strncmp(support_text(&fault), row->error, strlen(row->error)), 0,
			     "row %zu: %s", number, support_text(&fault));
		cr_expect_not_null(strstr(support_text(&fault), row->remedy), "row %zu: %s", number,
				   support_text(&fault));
	}
	config_finish(&config);
}

Test(config_env, rows)
{
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		expect(&rows[i], i);
}

/* From the table: every option but the last group's flags has a variable. */
Test(config_env, every_option_has_a_variable)
{
	size_t count;
	const struct option_spec *options = options_list(&count);

	for (size_t i = 0; i < count; i++) {
		char variable[128], name[64];
		char *environment[] = {variable, NULL};
		struct config config;

		snprintf(name, sizeof(name), "SIXPIPE_%s", options[i].name);
		for (char *at = name; *at; at++)
			*at = *at == '-' ? '_' : (char)toupper(*at);
		snprintf(variable, sizeof(variable), "%s=no such value", name);
		config_init(&config);
		config_env_set_options(&config, environment);
		if (options[i].type == OPTION_ALLOW_FILE || options[i].type == OPTION_DENY_FILE ||
		    options[i].type == OPTION_TEXT || options[i].type == OPTION_SERVERS ||
		    options[i].type == OPTION_BYTES || options[i].type == OPTION_LISTEN ||
		    options[i].type == OPTION_BACKEND) {
			cr_expect_eq(config.errors.count, 0, "%s", variable);
		} else {
			const char *error =
				config.errors.list ? support_text(&config.errors.list[0]) : "";

			cr_expect_eq(config.errors.count, 1, "%s", variable);
			cr_expect_eq(strncmp(error, name, strlen(name)), 0, "%s: %s", variable,
				     error);
			cr_expect_eq(!!strstr(error, "command line"),
				     options[i].group == OPTION_GROUP_GENERAL, "%s", error);
		}
		config_finish(&config);
	}
}

/* Help is for those who have made a mistake. */
Test(config_env, help_needs_no_environment)
{
	char *environment[] = {(char *)"SIXPIPE_NONSENSE=1", NULL};
	char *argv[] = {(char *)"sixpipe", (char *)"--help", NULL};
	struct fault fault = {0};
	struct config config;
	struct command_line line = {.config = &config, .environment = environment};

	config_init(&config);
	cr_expect_eq(support_parse(&line, 2, argv, &fault), 0);
	cr_expect(config.help);
	config_finish(&config);
}

Test(config_env, names_and_values_of_any_length_fit_the_error)
{
	static const char *const names[] = {"SIXPIPE_",
					    "SIXPIPE_MAXCONN=",
					    "SIXPIPE_LISTEN=",
					    "SIXPIPE_LISTEN=[::1]:1 ",
					    "SIXPIPE_FORWARD_1_",
					    "SIXPIPE_FORWARD_",
					    "SIXPIPE_FORWARD_1_NAME="};
	char *text = malloc(4200), *backend = malloc(4200);

	cr_assert(text && backend);
	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		for (size_t length = 1; length < 4000; length = length * 3 / 2 + 1) {
			char *environment[] = {text, backend, NULL};
			char *argv[] = {(char *)"sixpipe", NULL};
			struct fault fault = {0};
			struct config config;
			struct command_line line = {.config = &config, .environment = environment};

			strcpy(text, names[i]);
			memset(text + strlen(names[i]), 'x', length);
			strcpy(text + strlen(names[i]) + length, "=1");
			strcpy(backend, "SIXPIPE_BACKEND=");
			memset(backend + 16, 'y', length);
			backend[16 + length] = '\0';
			config_init(&config);
			cr_expect_eq(support_parse(&line, 1, argv, &fault), -EINVAL);
			cr_expect_lt(strlen(support_text(&fault)), FAULT_TEXT_BYTES - 1);
			config_finish(&config);
		}
	free(text);
	free(backend);
}
