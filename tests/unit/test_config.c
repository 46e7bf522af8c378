/* SPDX-License-Identifier: MIT */
#include "config/config.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"
#include "base/util.h"
#include "os/engine.h"
#include "os/host.h"
#include "support.h"

TestSuite(config, .fini = support_check_leaks);

Test(config, defaults)
{
	struct config config;

	config_init(&config);
	cr_expect_eq(config.forward_count, 0);
	cr_expect_null(config.user);
	cr_expect_eq(config.workers, 0);
	cr_expect_eq(config.engine, ENGINE_AUTO);
	cr_expect_eq(config.maxconn, 0);
	cr_expect_eq(config.pipe_bytes, 1 << 20);
	cr_expect_eq(config.maxpipes, 64);
	cr_expect_eq(config.defaults.timeout_connect_ms, 5000);
	cr_expect_eq(config.defaults.timeout_idle_ms, 3600000);
	cr_expect_eq(config.drain_delay_ms, 0);
	cr_expect_eq(config.metrics.length_bytes, 0);
	cr_expect_eq(config.log_level, LOG_INFO);
	cr_expect_eq(config.log_format, LOG_LOGFMT);
	cr_expect(!config.access_log && !config.check && !config.help && !config.version);
	config_finish(&config);
}

static uint64_t number_of(const struct config *config, const struct option_spec *option)
{
	uint64_t value;

	memcpy(&value,
	       option->scope == OPTION_SCOPE_FORWARD
		       ? (const char *)&config->defaults + option->offset
		       : (const char *)config + option->offset,
	       sizeof(value));
	return value;
}

static const char *print(const struct option_spec *option, uint64_t value,
			 char text[UNITS_TEXT_BYTES])
{
	if (option->type == OPTION_SIZE)
		return units_print_size(value, text);
	if (option->type == OPTION_DURATION)
		return units_print_duration(value, text);
	if (option->type == OPTION_RATE)
		return units_print_rate(value, text);
	snprintf(text, UNITS_TEXT_BYTES, "%" PRIu64, value);
	return text;
}

static void expect_bound(const struct option_spec *option, uint64_t value, bool accepted)
{
	struct fault fault = {0};
	char text[UNITS_TEXT_BYTES], named[64];
	struct config config;
	uint64_t before;
	int result;

	config_init(&config);
	before = number_of(&config, option);
	result = support_set(&config, option->name, print(option, value, text), &fault);
	cr_expect_eq(result, accepted ? 0 : -EINVAL, "--%s %s", option->name, text);
	cr_expect_eq(number_of(&config, option), accepted ? value : before, "--%s %s", option->name,
		     text);
	if (!accepted) {
		snprintf(named, sizeof(named), "--%s '%s': out of range; give ", option->name,
			 text);
		cr_expect_eq(strncmp(support_text(&fault), named, strlen(named)), 0, "%s",
			     support_text(&fault));
	}
	config_finish(&config);
}

/* From the table: every number is accepted at its bounds and refused beyond them. */
Test(config, numbers_keep_their_bounds)
{
	size_t count;
	const struct option_spec *options = options_list(&count);

	for (size_t i = 0; i < count; i++) {
		const struct option_spec *option = &options[i];
		bool zero = option->type == OPTION_DURATION || option->type == OPTION_RATE;

		if (option->type != OPTION_COUNT && option->type != OPTION_SIZE && !zero)
			continue;
		expect_bound(option, option->least, true);
		expect_bound(option, option->most, true);
		expect_bound(option, option->most + 1, false);
		expect_bound(option, UINT64_MAX, false);
		/* for a time, 0 is "never", for a rate "no limit", and allowed besides */
		if (option->least > 0)
			expect_bound(option, 0, zero);
		if (option->least > 1)
			expect_bound(option, option->least - 1, false);
	}
}

Test(config, choices_are_their_index)
{
	size_t count;
	const struct option_spec *options = options_list(&count);

	for (size_t i = 0; i < count; i++) {
		const struct option_spec *option = &options[i];
		char *choices = strdup(option->argument);
		uint64_t index = 0;
		char *rest = NULL;

		cr_assert_not_null(choices);
		if (option->type == OPTION_CHOICE)
			for (const char *choice = strtok_r(choices, "|", &rest); choice;
			     choice = strtok_r(NULL, "|", &rest)) {
				struct fault fault = {0};
				struct config config;

				config_init(&config);
				cr_expect_eq(support_set(&config, option->name, choice, &fault), 0,
					     "%s", choice);
				cr_expect_eq(number_of(&config, option), index, "%s", choice);
				index++;
				config_finish(&config);
			}
		free(choices);
	}
}

struct choice_row {
	const char *name, *text;
	uint64_t value;
};

/* The order of the words is the order of the enum. */
Test(config, choices_mean_their_enum)
{
	static const struct choice_row rows[] = {
		{"engine", "auto", ENGINE_AUTO},
		{"engine", "io_uring", ENGINE_IO_URING},
		{"engine", "epoll", ENGINE_EPOLL},
		{"pin", "auto", CONFIG_PIN_AUTO},
		{"pin", "on", CONFIG_PIN_ON},
		{"pin", "off", CONFIG_PIN_OFF},
		{"log-level", "error", LOG_ERROR},
		{"log-level", "warn", LOG_WARN},
		{"log-level", "info", LOG_INFO},
		{"log-level", "debug", LOG_DEBUG},
		{"log-format", "logfmt", LOG_LOGFMT},
		{"log-format", "json", LOG_JSON},
		{"send-proxy", "off", CONFIG_SEND_PROXY_OFF},
		{"send-proxy", "v1", CONFIG_SEND_PROXY_V1},
		{"send-proxy", "v2", CONFIG_SEND_PROXY_V2},
		{"pseudo-prefix", "64", CONFIG_PSEUDO_PREFIX_64},
		{"pseudo-prefix", "128", CONFIG_PSEUDO_PREFIX_128},
	};
	struct fault fault = {0};
	struct config config;

	config_init(&config);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct option_spec *option = options_find(rows[i].name, strlen(rows[i].name));

		cr_expect_eq(support_set(&config, rows[i].name, rows[i].text, &fault), 0, "%s",
			     support_text(&fault));
		cr_expect_eq(number_of(&config, option), rows[i].value, "%s", rows[i].text);
	}
	config_finish(&config);
}

/* They make one list together. */
static bool is_rule(const struct option_spec *option)
{
	return option->type == OPTION_ALLOW || option->type == OPTION_DENY ||
	       option->type == OPTION_ALLOW_FILE || option->type == OPTION_DENY_FILE;
}

/* A value out of reach of every option's field would be written over something else. */
Test(config, the_table_is_sound)
{
	size_t count;
	const struct option_spec *options = options_list(&count);

	cr_assert_gt(count, 0);
	for (size_t i = 0; i < count; i++) {
		const struct option_spec *option = &options[i];

		cr_expect_eq(options_find(option->name, strlen(option->name)), option,
			     "--%s is there twice", option->name);
		cr_expect_null(options_find(option->name, strlen(option->name) - 1));
		cr_expect_leq(option->least, option->most, "--%s", option->name);
		cr_expect_lt(option->offset,
			     option->scope == OPTION_SCOPE_FORWARD
				     ? sizeof(struct config_forward_options)
				     : sizeof(struct config),
			     "--%s", option->name);
		cr_expect_gt(strlen(option->help), 10, "--%s", option->name);
		cr_expect_eq(option->type == OPTION_FLAG, !*option->argument, "--%s", option->name);
		/* --dump-config writes it, and reading that would add it once more */
		cr_expect(!config_is_list(option) || !*option->default_text, "--%s", option->name);
		for (size_t j = 0; j < i; j++)
			cr_expect(options[j].offset != option->offset ||
					  options[j].scope != option->scope ||
					  option->offset == offsetof(struct config, none) ||
					  (is_rule(option) && is_rule(&options[j])),
				  "--%s and --%s share a field", option->name, options[j].name);
	}
}

struct suggest_row {
	const char *name;
	const char *suggestion; /* NULL: none */
};

Test(config, suggestions)
{
	static const struct suggest_row rows[] = {
		{"worker", "workers"},
		{"Workers", "workers"},
		{"max-conn", "maxconn"},
		{"timeout-idel", "timeout-idle"},
		{"timeout_connect", "timeout-connect"},
		{"pipesize", "pipe-size"},
		{"acces-log", "access-log"},
		{"timeout-client-fn", "timeout-client-fin"},
		{"usr", "user"},
		{"hlep", "help"},
		{"daemon", NULL},
		{"fork", NULL},
		{"", NULL},
		{"x", NULL},
		{"zzz", NULL},
		{"frobnicate", NULL},
		{"a-name-that-is-far-longer-than-any-option-that-there-is-or-will-be", NULL},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct option_spec *option =
			options_suggest(rows[i].name, strlen(rows[i].name));
		const char *got = option ? option->name : "(none)";

		cr_expect_str_eq(got, rows[i].suggestion ? rows[i].suggestion : "(none)",
				 "'%s': %s", rows[i].name, got);
	}
}

Test(config, group_names)
{
	for (unsigned i = 0; i < OPTION_GROUP_COUNT; i++)
		for (unsigned j = 0; j < i; j++)
			cr_expect_str_neq(options_groups[i].name, options_groups[j].name);
}

Test(config, more_listeners_than_the_limit)
{
	struct fault fault = {0};
	char text[ADDR_TEXT_BYTES];
	struct config config;

	config_init(&config);
	for (unsigned i = 0; i < CONFIG_FORWARD_LIMIT; i++) {
		snprintf(text, sizeof(text), "[::1]:%u", 2000 + i);
		cr_assert_eq(support_set(&config, "listen", text, &fault), 0, "%s", text);
		cr_assert_eq(support_set(&config, "backend", "127.0.0.1:80", &fault), 0);
	}
	cr_expect_eq(support_check(&config, &fault), 0);
	cr_expect_eq(support_set(&config, "listen", "[::1]:9999", &fault), -EINVAL);
	cr_expect_not_null(strstr(support_text(&fault), "one too many"), "%s",
			   support_text(&fault));
	cr_expect_eq(config.forward_count, CONFIG_FORWARD_LIMIT);
	config_finish(&config);
	cr_expect_null(config.forwards);
}

Test(config, more_backends_than_the_limit)
{
	struct fault fault = {0};
	char text[ADDR_TEXT_BYTES];
	struct config config;

	config_init(&config);
	cr_assert_eq(support_set(&config, "listen", "[::1]:2000", &fault), 0);
	for (unsigned i = 0; i < CONFIG_BACKEND_LIMIT; i++) {
		snprintf(text, sizeof(text), "127.0.0.1:%u", 1 + i);
		cr_assert_eq(support_set(&config, "backend", text, &fault), 0, "%s", text);
	}
	cr_expect_eq(support_set(&config, "backend", "127.0.0.1:9999", &fault), -EINVAL);
	cr_expect_not_null(strstr(support_text(&fault), "one too many"), "%s",
			   support_text(&fault));
	cr_expect_eq(config.forwards[0].backend_count, CONFIG_BACKEND_LIMIT);
	config_finish(&config);
}

/* However long the value is, what is wrong with it and what to do are told: config.h. */
Test(config, a_long_value_does_not_push_out_the_reason)
{
	static const char *const names[] = {"listen",	    "workers", "pipe-size",
					    "timeout-idle", "engine",  "log-level"};
	char *text = calloc(1, 4096);

	cr_assert_not_null(text);
	memset(text, 'x', 4095);
	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		struct fault fault = {0};
		struct config config;

		config_init(&config);
		cr_expect_eq(support_set(&config, names[i], text, &fault), -EINVAL);
		cr_expect_not_null(strstr(support_text(&fault), "; "), "--%s: ...%s", names[i],
				   support_text(&fault) + strlen(support_text(&fault)) - 20);
		config_finish(&config);
	}
	free(text);
}

Test(config, bytes_and_their_escapes)
{
	static const struct {
		const char *text;
		const char *bytes; /* NULL: refused, with `count` of no meaning */
		unsigned count;
	} rows[] = {
		{"plain", "plain", 5},
		{"PING\\r\\n", "PING\r\n", 6},
		{"\\x00\\xfF\\t\\\\", "\0\xff\t\\", 4},
		{"\\x411", "A1", 2},
		{"caf\xc3\xa9", "caf\xc3\xa9", 5},
		{"", NULL, 0},
		{"\\", NULL, 0},
		{"a\\", NULL, 0},
		{"\\x", NULL, 0},
		{"\\x4", NULL, 0},
		{"\\x4g", NULL, 0},
		{"\\xg4", NULL, 0},
		{"\\x 4", NULL, 0},
		{"\\0", NULL, 0},
		{"\\e", NULL, 0},
	};
	struct fault fault = {0};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct config_bytes *read;
		struct config config;
		int result;

		config_init(&config);
		read = &config.defaults.check_send;
		result = support_set(&config, "check-send", rows[i].text, &fault);
		if (!rows[i].bytes) {
			cr_expect_eq(result, -EINVAL, "'%s'", rows[i].text);
			cr_expect_not_null(strstr(support_text(&fault), "--check-send"), "%s",
					   support_text(&fault));
			cr_expect_eq(read->count, 0);
		} else {
			cr_expect_eq(result, 0, "'%s': %s", rows[i].text, support_text(&fault));
			cr_expect_eq(read->count, rows[i].count, "'%s'", rows[i].text);
			cr_expect_eq(memcmp(read->bytes, rows[i].bytes, rows[i].count), 0, "'%s'",
				     rows[i].text);
		}
		config_finish(&config);
	}
}

Test(config, bytes_have_a_limit)
{
	struct fault fault = {0};
	char text[4 * CONFIG_BYTES_LIMIT + 5] = "";
	struct config config;

	config_init(&config);
	for (unsigned i = 0; i < CONFIG_BYTES_LIMIT; i++)
		memcpy(text + (size_t)4 * i, "\\x61", 5);
	cr_expect_eq(support_set(&config, "check-expect", text, &fault), 0);
	cr_expect_eq(config.defaults.check_expect.count, CONFIG_BYTES_LIMIT);
	memcpy(text + (size_t)4 * CONFIG_BYTES_LIMIT, "a", 2);
	cr_expect_eq(support_set(&config, "check-expect", text, &fault), -EINVAL);
	config_finish(&config);
}

/* A process that takes over has no privileges; a restart has them. */
Test(config, a_missing_permission_in_a_takeover)
{
	static const struct {
		int error;
		bool takes_over;
		const char *remedy, *text;
		bool restart;
	} rows[] = {
		{EACCES, false, "do this", "--config 'f': Permission denied; do this", false},
		{EACCES, true, "do this", "--config 'f': Permission denied; do this, or ", true},
		{EACCES, true, "", "--config 'f': Permission denied; ", true},
		{ENOENT, true, "do this", "--config 'f': No such file or directory; do this",
		 false},
	};
	char user[HOST_USER_BYTES], restart[256], text[512];

	snprintf(restart, sizeof(restart),
		 "restart sixpipe, which runs as user '%s' and has given up the privileges of its "
		 "start",
		 host_user_name(user));
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct config_errors errors = {.takes_over = rows[i].takes_over};
		struct fault fault;

		snprintf(text, sizeof(text), "%s%s", rows[i].text, rows[i].restart ? restart : "");
		fault_set(&fault, "config", "f", "%s; %s", strerror(rows[i].error), rows[i].remedy);
		config_errors_add(&errors, &fault);
		cr_expect_str_eq(support_text(&errors.list[0]), text);
		config_errors_finish(&errors);
	}
}
