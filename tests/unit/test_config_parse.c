/* SPDX-License-Identifier: MIT */
#include "config/config_parse.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(config_parse, .fini = support_check_leaks);

#define ARGUMENT_LIMIT 16

static int parse(struct command_line *line, struct config *config, const char *const *arguments,
		 struct fault *fault)
{
	char *argv[ARGUMENT_LIMIT + 2] = {(char *)"sixpipe"};
	int argc = 1;

	while (arguments[argc - 1]) {
		argv[argc] = (char *)arguments[argc - 1];
		argc++;
	}
	config_init(config);
	*line = (struct command_line){.config = config};
	return support_parse(line, argc, argv, fault);
}

static void join(const char *const *arguments, char text[256])
{
	text[0] = '\0';
	for (; *arguments; arguments++)
		snprintf(text + strlen(text), 256 - strlen(text), "<%s> ", *arguments);
}

struct valid_row {
	const char *arguments[ARGUMENT_LIMIT + 1];
	const char *forwards; /* as support_describe_forwards() writes them */
};

#define L "[::1]:2000"
#define B "127.0.0.1:80"

Test(config_parse, forwards)
{
	static const struct valid_row rows[] = {
		{{L, B}, L ">" B},
		{{L, B, "127.0.0.1:81", "[::1]:82"}, L ">" B ",127.0.0.1:81,[::1]:82"},
		{{"--listen", L, "--backend", B}, L ">" B},
		{{"--listen=" L, "--backend=" B}, L ">" B},
		{{"--listen", L, "--backend", B, "--listen", "[::1]:2001", "--backend", B,
		  "--backend", "127.0.0.1:81"},
		 L ">" B " [::1]:2001>" B ",127.0.0.1:81"},
		{{"--workers", "2", L, "--maxconn", "5", B, "--check"}, L ">" B},
		{{"--", L, B}, L ">" B},
		{{L, "--", B}, L ">" B},
		/* port 0 asks for any port: two of those are no conflict */
		{{"--listen", "[::1]:0", "--backend", B, "--listen", "[::1]:0", "--backend", B},
		 "[::1]:0>" B " [::1]:0>" B},
		{{"--listen", "127.0.0.1:2000", "--backend", B, "--listen", "127.0.0.2:2000",
		  "--backend", B},
		 "127.0.0.1:2000>" B " 127.0.0.2:2000>" B},
		{{L, B, B}, L ">" B "," B}, /* twice the turns */
		{{L, B, "--metrics", "[::1]:0"}, L ">" B},
		{{"[::1]:0", B, "--metrics", "[::1]:0"}, "[::1]:0>" B},
	};
	struct fault fault = {0};
	char forwards[SUPPORT_FORWARDS_BYTES], words[256];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct command_line line;
		struct config config;
		int result = parse(&line, &config, rows[i].arguments, &fault);

		join(rows[i].arguments, words);
		support_describe_forwards(&config, forwards);
		cr_expect_eq(result, 0, "%s: %s", words, support_text(&fault));
		cr_expect_str_eq(forwards, rows[i].forwards, "%s: %s", words, forwards);
		config_finish(&config);
	}
}

struct help_row {
	const char *arguments[ARGUMENT_LIMIT + 1];
	bool help, version;
	const char *topic;
};

/* Nothing else needs to be right, or even there, for --help and --version. */
Test(config_parse, help_and_version)
{
	static const struct help_row rows[] = {
		{{"--help"}, true, false, NULL},
		{{"-h"}, true, false, NULL},
		{{"--help", "limits"}, true, false, "limits"},
		{{"-h", "all", "more"}, true, false, "all"},
		{{"--version"}, false, true, NULL},
		{{"--help=logging"}, true, false, "logging"},
		{{L, "--help", "--no-such-option"}, true, false, NULL},
		{{"--workers", "3", "--help"}, true, false, NULL},
		{{"--workers", "x", "--help"}, true, false, NULL},
	};
	struct fault fault = {0};
	char words[256];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct command_line line;
		struct config config;

		join(rows[i].arguments, words);
		cr_expect_eq(parse(&line, &config, rows[i].arguments, &fault), 0, "%s", words);
		cr_expect_eq(config.help, rows[i].help, "%s", words);
		cr_expect_eq(config.version, rows[i].version, "%s", words);
		if (rows[i].topic)
			cr_expect_str_eq(line.help_topic, rows[i].topic, "%s", words);
		else
			cr_expect_null(line.help_topic, "%s", words);
		config_finish(&config);
	}
}

struct invalid_row {
	const char *arguments[ARGUMENT_LIMIT + 1];
	const char *error;  /* its beginning */
	const char *remedy; /* a part of the rest */
};

static const struct invalid_row invalid_rows[] = {
	{{NULL}, "LISTEN and BACKEND are missing", "--help"},
	{{"--check"}, "LISTEN and BACKEND are missing", "--help"},
	{{L}, "--listen '" L "': has no backend", "--backend"},
	{{"--listen", L}, "--listen '" L "': has no backend", "--backend"},
	{{"--listen", L, B}, "'" B "': a plain argument beside --listen", "put --backend"},
	{{"--backend", B}, "--backend '" B "': comes before any --listen", "first"},
	{{"--backend", B, "--listen", L}, "--backend '" B "': comes before any", "first"},
	{{"--listen", L, "--backend", B, "--listen", L, "--backend", B},
	 "--listen '" L "': given twice",
	 "behind one --listen"},
	{{L, L}, "BACKEND '" L "': is the listener's own", "give the service's"},
	{{L, "127.0.0.1:0"}, "BACKEND '127.0.0.1:0': port 0", "1 to 65535"},
	{{"::1:80", B}, "LISTEN '::1:80': looks like IPv6 without brackets", "[address]:port"},
	{{"", B}, "LISTEN '': is empty", "[address]:port"},
	{{L, ""}, "BACKEND '': is empty", "[address]:port"},
	{{L, "192.0.2.300:80"}, "BACKEND '192.0.2.300:80': is not an IPv4", "web.example:80"},
	{{L, "web..example:80"}, "BACKEND 'web..example:80': has two dots", "remove one"},
	{{"localhost:80", B}, "LISTEN 'localhost:80': is a name", "write [::1]:80"},
	{{"--listen", "x", "--backend", B}, "--listen 'x': has no port", "address:port"},
	{{"x", B}, "LISTEN 'x': is neither an address nor a command", "sixpipe --help"},
	{{L, B, "--workers"}, "--workers: has no value", "give N"},
	{{L, B, "--workers", "x"}, "--workers 'x': not a number", "such as 1000"},
	{{L, B, "--workers="}, "--workers '': not a number", "such as 1000"},
	{{L, B, "--workers", "--check"},
	 "--workers: has no value: the next word is '--check'",
	 "give N"},
	{{L, B, "--workers", "0"}, "--workers '0': out of range", "give 1 to 256"},
	{{L, B, "--workers", "99999999999999999999"}, "--workers '9999", "give 1 to 256"},
	{{L, B, "--pipe-size", "1Mb"}, "--pipe-size '1Mb': not a size", "64KiB"},
	{{L, B, "--pipe-size", "1K"}, "--pipe-size '1K': out of range", "give 4KiB to 1GiB"},
	{{L, B, "--timeout-idle", "30"}, "--timeout-idle '30': not a time", "500ms"},
	{{L, B, "--timeout-idle", "11d"}, "--timeout-idle '11d': out of", "or 0 for never"},
	{{L, B, "--keepalive", "999ms"}, "--keepalive '999ms': out of range", "give 1s to"},
	{{L, B, "--drain-delay", "11d"}, "--drain-delay '11d': out of range", "or 0 for never"},
	{{L, B, "--metrics", "9100"}, "--metrics '9100': is a port without", "write [::1]:9100"},
	{{L, B, "--metrics", ""}, "--metrics '': is empty", "[address]:port"},
	{{L, B, "--metrics", L}, "--metrics '" L "': is a listener's", "another port"},
	{{L, B, "--engine", "kqueue"}, "--engine 'kqueue': not one of", "give one of"},
	{{L, B, "--engine", "auto|io_uring"}, "--engine 'auto|io_uring': not one", "give one"},
	{{L, B, "--engine", ""}, "--engine '': not one of", "give one of"},
	{{L, B, "--log-level", "INFO"}, "--log-level 'INFO': not one of", "give one of"},
	{{L, B, "--user", ""}, "--user '': empty", "give NAME"},
	{{L, B, "--access-log=maybe"}, "--access-log 'maybe': neither yes nor no", "give 1, yes"},
	{{L, B, "--access-log="}, "--access-log '': neither yes nor no", "give 1, yes"},
	{{L, B, "--check=no"}, "--check 'no': takes no value", "--check alone"},
	{{L, B, "--dump-config=yes"}, "--dump-config 'yes': takes no value", "alone"},
	{{L, B, "--version=1"}, "--version '1': takes no value", "--version alone"},
	{{L, B, "--listen", "[::1]:2001", "--backend", B}, "--listen: given beside", "before all"},
	{{L, B, "--backend", "127.0.0.1:0"}, "--backend '127.0.0.1:0': port 0", "1 to 65535"},
	{{"[::ffff:127.0.0.1]:80", B}, "LISTEN '[::ffff:127.0.0.1]:80': is an IPv4", "as in"},
	{{"[fe80::1]:80", B}, "LISTEN '[fe80::1]:80': is link-local", "%eth0"},
	{{"[ff02::1%1]:80", B}, "LISTEN '[ff02::1%1]:80': is the address of many", "of one"},
	{{L, "[fe80::1]:80"}, "BACKEND '[fe80::1]:80': is link-local", "%eth0"},
	{{L, "[::ffff:127.0.0.1]:80"}, "BACKEND '[::ffff:127.0.0.1]:80': is an IPv4", "as in"},
	{{L, "224.0.0.1:80"}, "BACKEND '224.0.0.1:80': is the address of many", "of one"},
	{{L, B, "--timeout-idel", "5s"}, "--timeout-idel: no such", "mean --timeout-idle?"},
	{{L, B, "--worker=3"}, "--worker: no such option", "did you mean --workers?"},
	{{L, B, "--Workers=3"}, "--Workers: no such option", "did you mean --workers?"},
	{{L, B, "--frobnicate"}, "--frobnicate: no such option", "--help"},
	{{L, B, "--=x"}, "--: no such option", "--help"},
	{{L, B, "-u", "nobody"}, "-u: no such option", "two dashes"},
	{{L, B, "-"}, "-: no such option", "two dashes"},
	{{L, B, "--", "--check"}, "BACKEND '--check': has a part that begins", "remove it"},
};

Test(config_parse, invalid)
{
	struct fault fault = {0};
	char words[256];

	for (size_t i = 0; i < ARRAY_COUNT(invalid_rows); i++) {
		const struct invalid_row *row = &invalid_rows[i];
		struct command_line line;
		struct config config;

		join(row->arguments, words);
		cr_expect_eq(parse(&line, &config, row->arguments, &fault), -EINVAL, "%s", words);
		cr_expect_lt(strlen(support_text(&fault)), FAULT_TEXT_BYTES - 1, "%s", words);
		cr_expect_eq(strncmp(support_text(&fault), row->error, strlen(row->error)), 0,
			     "%s: %s", words, support_text(&fault));
		cr_expect_not_null(strstr(support_text(&fault), row->remedy), "%s: %s", words,
				   support_text(&fault));
		config_finish(&config);
	}
}

struct errors_row {
	const char *arguments[ARGUMENT_LIMIT + 1];
	const char *environment[4];
	const char *errors[6]; /* their beginnings, and no others */
};

/* All that is wrong is told, and nothing that may follow from it. */
Test(config_parse, all_errors_at_once)
{
	static const struct errors_row rows[] = {
		{{L, B, "--maxconn", "x", "--workers", "y"},
		 {NULL},
		 {"--maxconn 'x': ", "--workers 'y': "}},
		{{"--maxconn=x", L, "y", "z", "--frob=1", "--version=1", "--access-log=2"},
		 {NULL},
		 {"--maxconn 'x': ", "BACKEND 'y': ", "BACKEND 'z': ", "--frob: no such",
		  "--version '1': ", "--access-log '2': "}},
		{{"--maxconn", "x"},
		 {"SIXPIPE_WORKERS=y", "SIXPIPE_FROB=1", "SIXPIPE_LISTEN=z"},
		 {"SIXPIPE_FROB: ", "SIXPIPE_WORKERS 'y': ", "SIXPIPE_LISTEN 'z': ",
		  "--maxconn 'x': "}},
		/* the next word may be the value, and the listener may be the one before */
		{{L, "--workers=y", "--frob", "x", "--maxconn", "x"},
		 {NULL},
		 {"--workers 'y': ", "--frob: no such"}},
		{{"-u", "x", "--maxconn", "x"}, {NULL}, {"-u: no such"}},
		{{"--listen", "x", "--backend", B, "--maxconn", "x"}, {NULL}, {"--listen 'x': "}},
		{{"x", "y"}, {NULL}, {"LISTEN 'x': "}},
		/* what is missing may be what was refused */
		{{"--accept-proxy", "--trust", "x", "--listen", L, "--backend", "y"},
		 {NULL},
		 {"--trust 'x': ", "--backend 'y': "}},
		{{L, B, "--accept-proxy"}, {"SIXPIPE_TRUST=x"}, {"SIXPIPE_TRUST 'x': "}},
		{{"--backend", B, "--listen", L}, {NULL}, {"--backend '" B "': comes before"}},
		{{"--listen", L, "--backend", B, "--listen", L, "--maxconn", "x"},
		 {NULL},
		 {"--maxconn 'x': ", "--listen '" L "': given twice"}},
		/* a value that was left out takes no other word away */
		{{"--user", L, B, "--admin", "--maxconn", "x", "--access-log", "yes", "weight=3"},
		 {NULL},
		 {"--user: has no value", "--admin: has no value",
		  "--maxconn 'x': ", "--access-log 'yes': ", "'weight=3': "}},
		{{"--source", "eth0", L, B}, {NULL}, {"--source 'eth0': "}},
		{{"--listen", L, "--backend", B, "weight=3", "--listen", "[::1]:3", "--backend", B},
		 {NULL},
		 {"'weight=3': "}},
		{{"--config", "a", "--config", "b", "--maxconn", "x"},
		 {"SIXPIPE_WORKERS=y"},
		 {"--config 'b': one too many", "SIXPIPE_WORKERS 'y': ", "--maxconn 'x': "}},
	};
	char words[256];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char *argv[ARGUMENT_LIMIT + 2] = {(char *)"sixpipe"};
		char *environment[ARRAY_COUNT(rows->environment) + 1] = {NULL};
		struct config config;
		struct command_line line = {.config = &config, .environment = environment};
		unsigned wanted = 0;
		int argc = 1;

		for (; rows[i].arguments[argc - 1]; argc++)
			argv[argc] = (char *)rows[i].arguments[argc - 1];
		for (size_t j = 0; j < ARRAY_COUNT(rows->environment); j++)
			environment[j] = (char *)rows[i].environment[j];
		join(rows[i].arguments, words);
		config_init(&config);
		cr_expect_eq(config_parse(&line, argc, argv), -EINVAL, "%s", words);
		while (wanted < ARRAY_COUNT(rows->errors) && rows[i].errors[wanted])
			wanted++;
		cr_expect_eq(config.errors.count, wanted, "%s: %u errors", words,
			     config.errors.count);
		for (unsigned j = 0; j < MIN(wanted, config.errors.count); j++)
			cr_expect_eq(strncmp(support_text(&config.errors.list[j]),
					     rows[i].errors[j], strlen(rows[i].errors[j])),
				     0, "%s: %s", words, support_text(&config.errors.list[j]));
		config_finish(&config);
	}
}

struct flag_row {
	const char *arguments[ARGUMENT_LIMIT + 1];
	bool access_log;
};

/* So that one of a file can be turned off. */
Test(config_parse, flags_may_have_a_value)
{
	static const struct flag_row rows[] = {
		{{L, B}, false},
		{{L, B, "--access-log"}, true},
		{{L, B, "--access-log=yes"}, true},
		{{L, B, "--access-log=On"}, true},
		{{L, B, "--access-log=1"}, true},
		{{L, B, "--access-log", "--access-log=no"}, false},
		{{L, B, "--access-log", "--access-log=false"}, false},
		{{L, B, "--access-log=off", "--access-log"}, true},
	};
	struct fault fault = {0};
	char words[256];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct command_line line;
		struct config config;

		join(rows[i].arguments, words);
		cr_expect_eq(parse(&line, &config, rows[i].arguments, &fault), 0, "%s",
			     support_text(&fault));
		cr_expect_eq(config.access_log, rows[i].access_log, "%s", words);
		config_finish(&config);
	}
}

Test(config_parse, names_and_arguments_of_any_length_fit_the_error)
{
	char *text = calloc(1, 4096);

	cr_assert_not_null(text);
	for (unsigned length = 3; length < 4096; length = length * 5 / 4 + 1) {
		const char *const rows[][3] = {{text}, {L, text}, {"--listen", L, text}};

		for (unsigned dashes = 0; dashes < 3; dashes++) {
			memset(text, 'x', length);
			memset(text, '-', dashes);
			for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
				const char *const arguments[] = {rows[i][0], rows[i][1], rows[i][2],
								 NULL};
				struct fault fault = {0};
				struct command_line line;
				struct config config;

				cr_expect_eq(parse(&line, &config, arguments, &fault), -EINVAL);
				cr_expect_lt(strlen(support_text(&fault)), FAULT_TEXT_BYTES - 1);
				config_finish(&config);
			}
		}
	}
	free(text);
}
