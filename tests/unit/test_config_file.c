/* SPDX-License-Identifier: MIT */
#include "config/config_file.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "config/config_parse.h"
#include "support.h"

TestSuite(config_file, .fini = support_check_leaks);

#define FORWARD "[forward a]\nlisten=[::1]:1\nbackend=127.0.0.1:2\n"

static void read_well(struct config *config, const char *text)
{
	struct fault fault = {0};

	config_init(config);
	config_file_parse(config, "f", text, strlen(text));
	cr_assert_eq(support_check(config, &fault), 0, "%s", support_text(&fault));
}

/* Comments, blanks, line ends and the order of the keys; what stands before the sections is for all of them. */
Test(config_file, values)
{
	char forwards[SUPPORT_FORWARDS_BYTES];
	struct config config;

	read_well(&config, "\xef\xbb\xbfmaxconn = 5 # as many\r\n"
			   "\ttimeout-idle=5m\t;half of it\n"
			   "user=1#1\n"
			   "trust = 10.0.0.0/8\n"
			   "[ global ] # the same part\n"
			   "pseudo-key = a#b;c = d\n"
			   "trust = 2001:db8::/32,192.0.2.1\n"
			   "[forward edge.1_x-y];comment\n"
			   "  accept-proxy=on\n"
			   "  backend = 127.0.0.1:1   send-proxy=v2 \n"
			   "  backend = 127.0.0.1:2\n"
			   "  listen = [::1]:1\n"
			   "  timeout-idle = 0\n"
			   "  trust = 198.51.100.0/24\n"
			   "\t[forward\tb\t]\n"
			   "listen=[::1]:0\nbackend=127.0.0.1:3\nsource=loopback");
	support_describe_forwards(&config, forwards);
	cr_expect_str_eq(forwards, "[::1]:1>127.0.0.1:1,127.0.0.1:2 [::1]:0>127.0.0.1:3", "%s",
			 forwards);
	cr_expect_eq(config.maxconn, 5);
	cr_expect_str_eq(config.user, "1#1");
	cr_assert_eq(config.forward_count, 2);
	cr_expect_str_eq(config.forwards[0].name, "edge.1_x-y");
	cr_expect_str_eq(config.forwards[1].name, "b");
	cr_expect_eq(config.forwards[0].options.timeout_idle_ms, 0);
	cr_expect_eq(config.forwards[1].options.timeout_idle_ms, 300000);
	cr_expect_eq(config.forwards[0].options.trust_count, 4);
	cr_expect_eq(config.forwards[1].options.trust_count, 3);
	cr_expect(config.forwards[0].options.accept_proxy);
	cr_expect(!config.forwards[1].options.accept_proxy);
	cr_expect_str_eq(config.forwards[1].options.pseudo_key, "a#b;c = d");
	cr_expect_eq(config.forwards[0].backends[0].send_proxy, CONFIG_SEND_PROXY_V2);
	cr_expect_eq(config.forwards[0].backends[1].send_proxy, CONFIG_SEND_PROXY_OFF);
	config_finish(&config);
}

Test(config_file, flags)
{
	static const struct {
		const char *text;
		bool value;
	} words[] = {
		{"yes", true}, {"on", true},   {"true", true},	 {"1", true},  {"Yes", true},
		{"no", false}, {"off", false}, {"false", false}, {"0", false}, {"OFF", false},
	};

	for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
		struct config config;
		char text[128];

		snprintf(text, sizeof(text), "access-log=%s\n" FORWARD, words[i].text);
		read_well(&config, text);
		cr_expect_eq(config.access_log, words[i].value, "%s", words[i].text);
		config_finish(&config);
	}
}

/* A line may be as long as the limit says and no longer, and the next is read all the same. */
Test(config_file, long_lines)
{
	static const size_t counts[] = {CONFIG_FILE_LINE_LIMIT - 1, CONFIG_FILE_LINE_LIMIT,
					CONFIG_FILE_LINE_LIMIT + 1, 1 << 20};

	for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
		static const char rest[] = "\nmaxconn=x\n" FORWARD;
		size_t count = counts[i] + strlen(rest);
		char *text = malloc(count + 1), wanted[128];
		bool fits = counts[i] <= CONFIG_FILE_LINE_LIMIT;
		struct config config;

		cr_assert_not_null(text);
		memset(text, '#', counts[i]);
		memcpy(text + counts[i], rest, sizeof(rest));
		config_init(&config);
		config_file_parse(&config, "f", text, count);
		cr_expect_eq(config.errors.count, fits ? 1 : 2, "%zu", counts[i]);
		snprintf(wanted, sizeof(wanted), "f:1: has %zu bytes; %d are the limit of a line",
			 counts[i], CONFIG_FILE_LINE_LIMIT);
		if (!fits)
			cr_expect_str_eq(support_text(&config.errors.list[0]), wanted, "%s",
					 support_text(&config.errors.list[0]));
		config_finish(&config);
		free(text);
	}
}

/* Also where the line is a header. */
Test(config_file, long_headers)
{
	size_t count = strlen(FORWARD) + 2 * CONFIG_FILE_LINE_LIMIT;
	char *text = malloc(count);
	struct config config;

	cr_assert_not_null(text);
	memset(text, '#', count);
	memcpy(text, FORWARD "[", strlen(FORWARD) + 1);
	memcpy(text + count - strlen("\nlisten=x"), "\nlisten=x", strlen("\nlisten=x"));
	config_init(&config);
	config_file_parse(&config, "f", text, count);
	cr_expect_eq(config.errors.count, 1, "%s", support_text(&config.errors.list[1]));
	config_finish(&config);
	free(text);
}

Test(config_file, long_values)
{
	for (unsigned more = 0; more < 2; more++) {
		char text[CONFIG_FILE_VALUE_LIMIT + 64];
		struct config config;

		snprintf(text, sizeof(text), "user=%0*u\n" FORWARD,
			 (int)(CONFIG_FILE_VALUE_LIMIT + more), 1);
		config_init(&config);
		config_file_parse(&config, "f", text, strlen(text));
		cr_expect_eq(config.errors.count, more);
		cr_expect_eq(config.user ? strlen(config.user) : 0,
			     more ? 0 : CONFIG_FILE_VALUE_LIMIT);
		if (more)
			cr_expect_str_eq(support_text(&config.errors.list[0]),
					 "f:1: user: has 4097 bytes; 4096 are the limit of a "
					 "value");
		config_finish(&config);
	}
}

Test(config_file, more_errors_than_are_told)
{
	char text[8 * (CONFIG_ERROR_LIMIT + 7) + 1] = "";
	struct config config;

	for (unsigned i = 0; i < CONFIG_ERROR_LIMIT + 7; i++)
		memcpy(text + 4 * i, "x=1\n", 5);
	config_init(&config);
	config_file_parse(&config, "f", text, strlen(text));
	cr_expect_eq(config.errors.count, CONFIG_ERROR_LIMIT);
	cr_expect_eq(config.errors.more, 7);
	config_finish(&config);
}

Test(config_file, more_forwards_than_the_limit)
{
	struct fault fault = {0};
	char *text = NULL;
	struct config config;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	cr_assert_not_null(out);
	for (unsigned i = 0; i < CONFIG_FORWARD_LIMIT + 2; i++)
		fprintf(out, "[forward %u]\nlisten=[::1]:%u\nbackend=127.0.0.1:1\n", i, i + 1);
	fclose(out);
	config_init(&config);
	config_file_parse(&config, "f", text, bytes);
	cr_expect_eq(config.forward_count, CONFIG_FORWARD_LIMIT);
	cr_assert_eq(config.errors.count, 2);
	cr_expect_str_eq(support_text(&config.errors.list[0]),
			 "f:769: [forward 256]: one too many; 256 listeners are the limit, start "
			 "another process for more");
	cr_expect_neq(support_check(&config, &fault), 0);
	cr_expect_eq(config.errors.count, 2);
	config_finish(&config);
	free(text);
}

/* Precedence ----------------------------------------------------------------------------------- */

#define WORD_LIMIT 10

struct precedence_row {
	const char *text;
	const char *environment, *words[WORD_LIMIT];
	const char *forwards;	      /* NULL: refused */
	uint64_t maxconn, idle_ms[2]; /* the latter of the first two forwards */
	const char *error;
};

#define BOTH FORWARD "timeout-idle=2s\n[forward b]\nlisten=[::1]:3\nbackend=127.0.0.1:4\n"
#define A    "[::1]:1>127.0.0.1:2"
#define B    "[::1]:3>127.0.0.1:4"

static const struct precedence_row precedence_rows[] = {
	{"maxconn=5\ntimeout-idle=9s\n" BOTH,
	 NULL,
	 {"--config", "F"},
	 A " " B,
	 5,
	 {2000, 9000},
	 NULL},
	{"maxconn=5\n" BOTH,
	 "SIXPIPE_MAXCONN=6",
	 {"--config=F"},
	 A " " B,
	 6,
	 {2000, 3600000},
	 NULL},
	{"maxconn=5\n" BOTH,
	 "SIXPIPE_MAXCONN=6",
	 {"--maxconn", "7", "--config", "F"},
	 A " " B,
	 7,
	 {2000, 3600000},
	 NULL},
	/* also before what the file says of one forward */
	{BOTH, "SIXPIPE_TIMEOUT_IDLE=3s", {"--config", "F"}, A " " B, 0, {3000, 3000}, NULL},
	{BOTH, NULL, {"--config", "F", "--timeout-idle", "4s"}, A " " B, 0, {4000, 4000}, NULL},
	{BOTH,
	 "SIXPIPE_TIMEOUT_IDLE=3s",
	 {"--timeout-idle", "4s", "--config", "F"},
	 A " " B,
	 0,
	 {4000, 4000},
	 NULL},
	/* both kinds of forwards */
	{FORWARD,
	 NULL,
	 {"--config", "F", "[::1]:3", "127.0.0.1:4"},
	 A " " B,
	 0,
	 {3600000, 3600000},
	 NULL},
	{"timeout-idle=9s\n" FORWARD,
	 NULL,
	 {"--config", "F", "--listen", "[::1]:3", "--backend", "127.0.0.1:4", "--timeout-idle",
	  "5s"},
	 A " " B,
	 0,
	 {9000, 5000},
	 NULL},
	{"maxconn=5\n",
	 NULL,
	 {"[::1]:1", "127.0.0.1:2", "--config", "F"},
	 A,
	 5,
	 {3600000, 0},
	 NULL},
	{FORWARD, "SIXPIPE_LISTEN=[::1]:9", {"--config", "F"}, A, 0, {3600000, 0}, NULL},
	{"maxconn=5\n", "SIXPIPE_CONFIG=F", {"[::1]:1", "127.0.0.1:2"}, A, 5, {3600000, 0}, NULL},
	{"maxconn=5\n",
	 "SIXPIPE_CONFIG=/nonexistent",
	 {"--config", "F", "[::1]:1", "127.0.0.1:2"},
	 A,
	 5,
	 {3600000, 0},
	 NULL},
	/* a word that is an option's value is none itself, and an option is no value */
	{"", NULL, {"--user=--config", "[::1]:1", "127.0.0.1:2"}, A, 0, {3600000, 0}, NULL},
	/* what is refused */
	{FORWARD,
	 NULL,
	 {"--config", "F", "--backend", "127.0.0.1:4"},
	 NULL,
	 0,
	 {0, 0},
	 "--backend '127.0.0.1:4': comes before any"},
	{FORWARD,
	 NULL,
	 {"--config", "F", "--config", "F"},
	 NULL,
	 0,
	 {0, 0},
	 "--config 'F': one too many; "},
	{FORWARD,
	 NULL,
	 {"--config", "F", "[::1]:1", "127.0.0.1:4"},
	 NULL,
	 0,
	 {0, 0},
	 "--listen '[::1]:1': is given at F:2 too; "},
	{FORWARD, NULL, {"--config", "F", "--maxconn", "x"}, NULL, 0, {0, 0}, "--maxconn 'x': "},
	{"x=1\n",
	 "SIXPIPE_MAXCONN=x",
	 {"--config", "F"},
	 NULL,
	 0,
	 {0, 0},
	 "F:1: x: no such option"},
	{FORWARD, "SIXPIPE_MAXCONN=x", {"--config", "F"}, NULL, 0, {0, 0}, "SIXPIPE_MAXCONN 'x': "},
	{FORWARD,
	 NULL,
	 {"--config", "/nonexistent"},
	 NULL,
	 0,
	 {0, 0},
	 "--config '/nonexistent': cannot be read: No such file"},
	{FORWARD,
	 NULL,
	 {"--config", "."},
	 NULL,
	 0,
	 {0, 0},
	 "--config '.': cannot be read: Is a directory"},
	{FORWARD,
	 NULL,
	 {"--config", "/dev/zero"},
	 NULL,
	 0,
	 {0, 0},
	 "--config '/dev/zero': has more than 16 MiB"},
	{FORWARD, NULL, {"--config"}, NULL, 0, {0, 0}, "--config: has no value; give FILE"},
	{FORWARD, NULL, {"--config="}, NULL, 0, {0, 0}, "--config ''"},
};

static void expect_precedence(const struct precedence_row *row, size_t number)
{
	char *argv[WORD_LIMIT + 2] = {(char *)"sixpipe"},
				*environment[] = {(char *)row->environment, NULL};
	struct fault fault = {0};
	char forwards[SUPPORT_FORWARDS_BYTES];
	struct config config;
	struct command_line line = {.config = &config, .environment = environment};
	FILE *file = fopen("F", "w");
	int argc = 1, result;

	cr_assert_not_null(file);
	fputs(row->text, file);
	fclose(file);
	while (row->words[argc - 1]) {
		argv[argc] = (char *)row->words[argc - 1];
		argc++;
	}
	config_init(&config);
	result = support_parse(&line, argc, argv, &fault);
	if (row->forwards) {
		support_describe_forwards(&config, forwards);
		cr_expect_eq(result, 0, "row %zu: %s", number, support_text(&fault));
		cr_expect_str_eq(forwards, row->forwards, "row %zu: %s", number, forwards);
		cr_expect_eq(config.maxconn, row->maxconn, "row %zu", number);
		for (unsigned i = 0; i < config.forward_count; i++)
			cr_expect_eq(config.forwards[i].options.timeout_idle_ms, row->idle_ms[i],
				     "row %zu", number);
	} else {
		cr_expect_neq(result, 0, "row %zu", number);
		cr_expect_eq(strncmp(support_text(&fault), row->error, strlen(row->error)), 0,
			     "row %zu: %s", number, support_text(&fault));
	}
	config_finish(&config);
}

Test(config_file, precedence)
{
	char directory[] = "/tmp/test_config_file.XXXXXX";

	cr_assert_not_null(mkdtemp(directory));
	cr_assert_eq(chdir(directory), 0);
	for (size_t i = 0; i < ARRAY_COUNT(precedence_rows); i++)
		expect_precedence(&precedence_rows[i], i);
	cr_expect_eq(unlink("F"), 0);
	cr_expect_eq(rmdir(directory), 0);
}
