/* SPDX-License-Identifier: MIT */
#include "config/config_dump.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "base/util.h"
#include "config/config_file.h"
#include "config/config_parse.h"
#include "support.h"

TestSuite(config_dump, .fini = support_check_leaks);

static struct fault fault; /* the last one */

#define VALUE_BYTES 256
#define ROUNDS	    400

/* Origins -------------------------------------------------------------------------------------- */

static bool has_line(const char *dump, const char *line)
{
	const char *at = strstr(dump, line);

	return at && (at == dump || at[-1] == '\n') && at[strlen(line)] == '\n';
}

Test(config_dump, origins)
{
	static const char file[] = "maxconn = 5\nuser = nobody\ntrust = 10.0.0.0/8\n[forward web]\n"
				   "listen = [::1]:1\nbackend = 127.0.0.1:2 send-proxy=v1\n"
				   "accept-proxy = on\n";
	static const char *const lines[] = {
		"maxconn = 5                                       # F:1",
		"user = nobody                                     # F:2",
		"workers = 3                                       # SIXPIPE_WORKERS",
		"backlog = 7                                       # command line",
		"maxpipes = 64                                     # default",
		"access-log = no                                   # default",
		"[forward web]",
		"listen = [::1]:1                                  # F:5",
		"backend = 127.0.0.1:2 send-proxy=v1               # F:6",
		"accept-proxy = on                                 # F:7",
		"trust = 10.0.0.0/8                                # F:3",
		"timeout-idle = 9s                                 # command line",
		"[forward 1]",
		"listen = [::1]:3                                  # command line",
		"trust = 192.0.2.1                                 # command line",
	};
	struct config config;
	char *dump;
	const struct {
		enum config_origin_kind kind;
		const char *name, *text;
	} sets[] = {
		{CONFIG_ORIGIN_ENVIRONMENT, "workers", "3"},
		{CONFIG_ORIGIN_COMMAND_LINE, "backlog", "6"},
		{CONFIG_ORIGIN_COMMAND_LINE, "backlog", "7"},
		{CONFIG_ORIGIN_COMMAND_LINE, "timeout-idle", "9s"},
		{CONFIG_ORIGIN_COMMAND_LINE, "listen", "[::1]:3"},
		{CONFIG_ORIGIN_COMMAND_LINE, "backend", "127.0.0.1:4"},
		{CONFIG_ORIGIN_COMMAND_LINE, "trust", "192.0.2.1"},
	};

	config_init(&config);
	config_file_parse(&config, "F", file, strlen(file));
	for (size_t i = 0; i < ARRAY_COUNT(sets); i++) {
		config.origin.kind = sets[i].kind;
		support_must_set(&config, sets[i].name, sets[i].text);
	}
	cr_assert_eq(support_check(&config, &fault), 0, "%s", support_text(&fault));
	dump = config_dump(&config, &fault);
	cr_assert_not_null(dump, "%s", support_text(&fault));
	for (size_t i = 0; i < ARRAY_COUNT(lines); i++)
		cr_expect(has_line(dump, lines[i]), "'%s' is not in\n%s", lines[i], dump);
	cr_expect_null(strstr(dump, "backlog = 6"));
	cr_expect_null(strstr(dump, "\ncheck ="));
	free(dump);
	config_finish(&config);
}

/* A number that no section has for its name. */
Test(config_dump, names)
{
	static const char file[] = "[forward 1]\nlisten=[::1]:1\nbackend=127.0.0.1:1\n"
				   "[forward 3]\nlisten=[::1]:2\nbackend=127.0.0.1:1\n";
	static const char *const names[] = {"1", "3", "2", "4"};
	struct config config;

	config_init(&config);
	config_file_parse(&config, "F", file, strlen(file));
	config.origin.kind = CONFIG_ORIGIN_COMMAND_LINE;
	for (unsigned i = 0; i < 2; i++) {
		support_must_set(&config, "listen", i ? "[::1]:3" : "[::1]:4");
		support_must_set(&config, "backend", "127.0.0.1:1");
	}
	cr_assert_eq(support_check(&config, &fault), 0, "%s", support_text(&fault));
	for (unsigned i = 0; i < ARRAY_COUNT(names); i++)
		cr_expect_str_eq(config.forwards[i].name, names[i]);
	config_finish(&config);
}

/* What a file would not give back is refused, not changed. */
Test(config_dump, what_no_file_holds)
{
	static const struct {
		const char *text;
		bool fits;
	} rows[] = {
		{"a b", true},	 {"a#b;c", true},  {"a\tb", true},  {"\xc3\xa4 = b", true},
		{"[a]", true},	 {"=", true},	   {" a", false},   {"a ", false},
		{"a\nb", false}, {"a #b", false},  {"a ;b", false}, {"#a", false},
		{";a", false},	 {"a\x01", false}, {"\xff", false}, {"\t", false},
		{"a\r", false},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct config config, again;
		char *dump;

		config_init(&config);
		support_must_set(&config, "listen", "[::1]:1");
		support_must_set(&config, "backend", "127.0.0.1:1");
		support_must_set(&config, "user", rows[i].text);
		cr_assert_eq(support_check(&config, &fault), 0);
		dump = config_dump(&config, &fault);
		cr_expect_eq(dump != NULL, rows[i].fits, "row %zu", i);
		if (dump) {
			config_init(&again);
			config_file_parse(&again, "F", dump, strlen(dump));
			cr_expect_str_eq(again.user ? again.user : "", rows[i].text);
			config_finish(&again);
		} else {
			cr_expect_str_eq(fault.name, "--user");
		}
		free(dump);
		config_finish(&config);
	}
}

Test(config_dump, what_is_too_long_for_a_file)
{
	for (size_t more = 0; more < 2; more++) {
		char text[CONFIG_FILE_VALUE_LIMIT + 2], *dump;
		struct config config;

		memset(text, 'x', sizeof(text));
		text[CONFIG_FILE_VALUE_LIMIT + more] = '\0';
		config_init(&config);
		support_must_set(&config, "listen", "[::1]:1");
		support_must_set(&config, "backend", "127.0.0.1:1");
		support_must_set(&config, "user", text);
		cr_assert_eq(support_check(&config, &fault), 0);
		dump = config_dump(&config, &fault);
		cr_expect_eq(!dump, more);
		if (more)
			cr_expect_not_null(strstr(support_text(&fault),
						  "for its 4097 bytes; 4096 are the limit"),
					   "%s", support_text(&fault));
		free(dump);
		config_finish(&config);
	}
}

/* The words of a backend may stand on several lines of a variable. */
Test(config_dump, backend_over_lines)
{
	char *environment[] = {(char *)"SIXPIPE_LISTEN=[::1]:1",
			       (char *)"SIXPIPE_BACKEND=127.0.0.1:1\n\tsend-proxy=v2\n", NULL};
	char *argv[] = {(char *)"sixpipe", NULL};
	struct config config;
	struct command_line line = {.config = &config, .environment = environment};
	char *dump;

	config_init(&config);
	cr_assert_eq(support_parse(&line, 1, argv, &fault), 0, "%s", support_text(&fault));
	dump = config_dump(&config, &fault);
	cr_assert_not_null(dump, "%s", support_text(&fault));
	cr_expect(has_line(dump, "backend = 127.0.0.1:1  send-proxy=v2              # "
				 "SIXPIPE_BACKEND"),
		  "%s", dump);
	free(dump);
	config_finish(&config);
}

/* Round trips ---------------------------------------------------------------------------------- */

static uint64_t state;

static uint64_t below(uint64_t limit)
{
	return support_random(&state) % limit;
}

static void pick_choice(const char *choices, char text[VALUE_BYTES])
{
	unsigned count = 1;

	for (const char *at = choices; *at; at++)
		count += *at == '|';
	for (uint64_t skipped = below(count); skipped; skipped--)
		choices += strcspn(choices, "|") + 1;
	snprintf(text, VALUE_BYTES, "%.*s", (int)strcspn(choices, "|"), choices);
}

static void pick_text(char text[VALUE_BYTES])
{
	static const char letters[] = "abcXYZ019/._-=:[]#;\"'\\%$";
	size_t count = 1 + below(40);

	text[0] = '/';
	for (size_t i = 1; i < count; i++)
		text[i] = letters[below(sizeof(letters) - 1)];
	text[count] = '\0';
}

/* Any value that the option takes. A new type needs a line here. */
static void pick(const struct option_spec *option, char text[VALUE_BYTES])
{
	static const char *const sources[] = {
		"none",	     "embedded",	  "pseudo",
		"192.0.2.9", "pseudo:10.0.0.0/8", "embedded,loopback"};
	static const char *const blocks[] = {"10.0.0.0/8", "::/0", "2001:db8::/32,192.0.2.1"};
	uint64_t number = option->least + below(option->most - option->least + 1);

	switch (option->type) {
	case OPTION_COUNT:
		snprintf(text, VALUE_BYTES, "%" PRIu64, number);
		break;
	case OPTION_SIZE:
		units_print_size(number, text);
		break;
	case OPTION_DURATION:
		units_print_duration(below(4) ? number : 0, text);
		break;
	case OPTION_FLAG:
		snprintf(text, VALUE_BYTES, "%s", below(2) ? "yes" : "off");
		break;
	case OPTION_CHOICE:
		pick_choice(option->argument, text);
		break;
	case OPTION_TEXT:
	case OPTION_SERVERS:
	case OPTION_BYTES:
		pick_text(text);
		break;
	case OPTION_ADDRESS:
	case OPTION_LISTEN:
		snprintf(text, VALUE_BYTES, "[::1]:%u", 1024 + (unsigned)below(60000));
		break;
	case OPTION_BACKEND:
		snprintf(text, VALUE_BYTES, "127.0.0.1:%u", 1 + (unsigned)below(1000));
		break;
	case OPTION_RATE:
		units_print_rate(below(4) ? number : 0, text);
		break;
	case OPTION_ALLOW_FILE:
	case OPTION_DENY_FILE:
		pick_text(text);
		break;
	case OPTION_ALLOW:
	case OPTION_DENY:
	case OPTION_CIDRS:
		snprintf(text, VALUE_BYTES, "%s", blocks[below(ARRAY_COUNT(blocks))]);
		break;
	case OPTION_TLV:
		snprintf(text, VALUE_BYTES, "0xE%X=a %u", (unsigned)below(16),
			 (unsigned)below(100));
		break;
	case OPTION_SOURCE:
		snprintf(text, VALUE_BYTES, "%s", sources[below(ARRAY_COUNT(sources))]);
		break;
	case OPTION_TOS:
		snprintf(text, VALUE_BYTES, "%s", below(2) ? "ef" : "0x20");
		break;
	case OPTION_MARK:
		snprintf(text, VALUE_BYTES, "%u", 1 + (unsigned)below(1000));
		break;
	case OPTION_MODE:
		snprintf(text, VALUE_BYTES, "0%o", (unsigned)below(01000));
		break;
	case OPTION_PORTS:
		snprintf(text, VALUE_BYTES, "%u-40000", 1 + (unsigned)below(40000));
		break;
	}
}

static void append_parameters(char text[VALUE_BYTES])
{
	size_t count;
	const struct option_spec *parameters = options_parameters(&count);
	char value[VALUE_BYTES];

	for (size_t i = 0; i < count; i++) {
		if (below(3))
			continue;
		pick(&parameters[i], value);
		snprintf(text + strlen(text), VALUE_BYTES - strlen(text), " %s=%.60s",
			 parameters[i].name, value);
	}
}

/* Sets some of the options, as a command line would in that place. What does not go together is refused. */
static void set_some(struct config *config)
{
	size_t count;
	const struct option_spec *options = options_list(&count);
	char text[VALUE_BYTES];

	for (size_t i = 0; i < count; i++) {
		if (options[i].group == OPTION_GROUP_GENERAL || options[i].type == OPTION_LISTEN ||
		    options[i].type == OPTION_BACKEND || below(5))
			continue;
		pick(&options[i], text);
		config_set(config, &options[i], text, &fault);
	}
}

static void make_any(struct config *config)
{
	const struct option_spec *listen = options_find("listen", strlen("listen"));
	const struct option_spec *backend = options_find("backend", strlen("backend"));
	static const char *const needed[][2] = {
		{"log-target", "stderr"}, {"accept-proxy", "yes"}, {"trust", "2001:db8::/32"},
		{"source", "loopback"},	  {"send-proxy", "v2"},	   {"check-backends", "yes"},
	};
	char text[VALUE_BYTES];

	config_init(config);
	set_some(config);
	for (uint64_t forwards = 1 + below(3); forwards; forwards--) {
		pick(listen, text);
		config_set(config, listen, text, &fault);
		for (uint64_t backends = 1 + below(3); backends; backends--) {
			pick(backend, text);
			append_parameters(text);
			config_set(config, backend, text, &fault);
		}
		set_some(config);
	}
	/* what some of the others are nothing without, or what goes with --log-file */
	for (size_t i = 0; i < ARRAY_COUNT(needed) && below(16); i++)
		config_set(config, options_find(needed[i][0], strlen(needed[i][0])), needed[i][1],
			   &fault);
}

/* Whether a field is the same in both, by its type; lists are compared by expect_same(). */
static void expect_same_field(const struct option_spec *option, const void *a, const void *b)
{
	const char *left = (const char *)a + option->offset;
	const char *right = (const char *)b + option->offset;
	const char *texts[2];

	switch (option->type) {
	case OPTION_FLAG:
		cr_expect_eq(*(const bool *)left, *(const bool *)right, "%s", option->name);
		break;
	case OPTION_COUNT:
	case OPTION_SIZE:
	case OPTION_DURATION:
	case OPTION_RATE:
	case OPTION_CHOICE:
		cr_expect_eq(memcmp(left, right, sizeof(uint64_t)), 0, "%s", option->name);
		break;
	case OPTION_ADDRESS:
		cr_expect(addr_equal((const struct addr *)left, (const struct addr *)right), "%s",
			  option->name);
		break;
	case OPTION_SOURCE:
		cr_expect_eq(memcmp(left, right, sizeof(struct config_source)), 0, "%s",
			     option->name);
		break;
	case OPTION_BYTES:
		cr_expect_eq(memcmp(left, right, sizeof(struct config_bytes)), 0, "%s",
			     option->name);
		break;
	case OPTION_TEXT:
	case OPTION_SERVERS:
		memcpy(&texts[0], left, sizeof(texts[0]));
		memcpy(&texts[1], right, sizeof(texts[1]));
		cr_expect_eq(!texts[0], !texts[1], "%s", option->name);
		if (texts[0] && texts[1])
			cr_expect_str_eq(texts[0], texts[1], "%s", option->name);
		break;
	default:
		break;
	}
}

static void expect_same_backends(const struct config_forward *a, const struct config_forward *b)
{
	size_t count;
	const struct option_spec *parameters = options_parameters(&count);

	cr_assert_eq(a->backend_count, b->backend_count);
	for (unsigned i = 0; i < a->backend_count; i++) {
		cr_expect(addr_equal(&a->backends[i].addr, &b->backends[i].addr));
		for (size_t j = 0; j < count; j++)
			expect_same_field(&parameters[j], &a->backends[i], &b->backends[i]);
	}
}

static void expect_same_forward(const struct config_forward *a, const struct config_forward *b)
{
	const struct config_forward_options *left = &a->options, *right = &b->options;

	cr_expect_str_eq(a->name, b->name);
	cr_expect(addr_equal(&a->listen, &b->listen));
	expect_same_backends(a, b);
	cr_assert_eq(left->trust_count, right->trust_count);
	cr_expect_eq(memcmp(left->trust, right->trust, left->trust_count * sizeof(*left->trust)),
		     0);
	cr_assert_eq(left->proxy_tlv_count, right->proxy_tlv_count);
	for (unsigned i = 0; i < left->proxy_tlv_count; i++) {
		cr_expect_eq(left->proxy_tlvs[i].type, right->proxy_tlvs[i].type);
		cr_expect_str_eq(left->proxy_tlvs[i].text, right->proxy_tlvs[i].text);
	}
	/* in their order */
	cr_expect(config_rules_are_same(left, right));
}

static void expect_same(const struct config *a, const struct config *b)
{
	size_t count;
	const struct option_spec *options = options_list(&count);

	cr_assert_eq(a->forward_count, b->forward_count);
	for (size_t i = 0; i < count; i++) {
		if (options[i].group == OPTION_GROUP_GENERAL)
			continue;
		if (options[i].scope == OPTION_SCOPE_GLOBAL)
			expect_same_field(&options[i], a, b);
		for (unsigned j = 0; j < a->forward_count; j++)
			if (options[i].scope == OPTION_SCOPE_FORWARD)
				expect_same_field(&options[i], &a->forwards[j].options,
						  &b->forwards[j].options);
	}
	for (unsigned i = 0; i < a->forward_count; i++)
		expect_same_forward(&a->forwards[i], &b->forwards[i]);
}

/* Takes the origins off. */
static void strip(char *dump)
{
	char *to = dump;

	for (char *at = dump; *at;) {
		if (!strncmp(at, "  # ", 4))
			at += strcspn(at, "\n");
		else if (!strncmp(at, "  ", 2))
			at++;
		else
			*to++ = *at++;
	}
	*to = '\0';
}

static bool round_trip(void)
{
	struct config config, again;
	char *dump, *second;

	make_any(&config);
	if (support_check(&config, &fault)) {
		config_finish(&config);
		return false;
	}
	dump = config_dump(&config, &fault);
	cr_assert_not_null(dump, "%s", support_text(&fault));
	config_init(&again);
	config_file_parse(&again, "F", dump, strlen(dump));
	cr_assert_eq(support_check(&again, &fault), 0, "%s in\n%s", support_text(&fault), dump);
	expect_same(&config, &again);
	second = config_dump(&again, &fault);
	cr_assert_not_null(second, "%s", support_text(&fault));
	strip(dump);
	strip(second);
	cr_expect_str_eq(dump, second);
	free(dump);
	free(second);
	config_finish(&config);
	config_finish(&again);
	return true;
}

Test(config_dump, round_trips)
{
	unsigned accepted = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		state = round;
		accepted += round_trip();
	}
	/* many are in conflict with themselves; but not so many that nothing is tested */
	cr_expect_geq(accepted, ROUNDS / 30, "%u", accepted);
}
