/* SPDX-License-Identifier: MIT */
#include "config/config_address.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support.h"

TestSuite(config_names, .fini = support_check_leaks);

#define L63   "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-012345678"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000000000000000000"

struct text_row {
	const char *text;
	const char *name;    /* "": an address */
	const char *printed; /* NULL: refused, and then */
	const char *problem; /* ... a part of the reason */
};

static const struct text_row text_rows[] = {
	{"192.0.2.1:80", "", "192.0.2.1:80", NULL},
	{"[2001:db8::1]:80", "", "[2001:db8::1]:80", NULL},
	{"localhost:80", "localhost", "localhost:80", NULL},
	{"web.example:65535", "web.example", "web.example:65535", NULL},
	{"web.example.:80", "web.example.", "web.example.:80", NULL},
	{"_http.web-1.example:0", "_http.web-1.example", "_http.web-1.example:0", NULL},
	{"1.web:80", "1.web", "1.web:80", NULL},
	{"4a:80", "4a", "4a:80", NULL},
	{"0x7f000001:80", "0x7f000001", "0x7f000001:80", NULL},
	{L63 "." L63 "." L63 "." L63 ":80", NULL, NULL, "too long"},
	{L63 "." L63 "." L63 ":80", L63 "." L63 "." L63, L63 "." L63 "." L63 ":80", NULL},
	{L63 "x:80", NULL, NULL, "longer than 63"},
	/* whoever writes digits means an address */
	{"192.0.2.256:80", NULL, NULL,
	 "is not an IPv4 address; write it as in 192.0.2.1:80, or a name"},
	{"192.0.2:80", NULL, NULL, "is not an IPv4 address"},
	{"192.0.2.1.:80", NULL, NULL, "is not an IPv4 address"},
	{"2130706433:80", NULL, NULL, "is not an IPv4 address"},
	{"web.1:80", NULL, NULL, "its last part is a number"},
	{"192.0.2.1", NULL, NULL, "has no port; write address:port"},
	{"192.0.2.1:http", NULL, NULL, "has a port that is not a number"},
	{"::1:80", NULL, NULL, "IPv6 without brackets"},
	{"[::1]", NULL, NULL, "has no port; write [address]:port"},
	{"[web.example]:80", NULL, NULL, "no IPv6 address between the brackets"},
	{"", NULL, NULL, "is empty"},
	{":80", NULL, NULL, "has nothing before the ':'; write address:port or name:port"},
	{"web.example", NULL, NULL, "has no port; write name:port"},
	{"web.example:", NULL, NULL, "has no port after the ':'"},
	{"web.example:http", NULL, NULL, "has a port that is not a number"},
	{"web.example:65536", NULL, NULL, "has a port above 65535"},
	{"web.example:" ZEROS ZEROS "80", NULL, NULL, "has a port that is too long"},
	{"web.example:0080", "web.example", "web.example:80", NULL},
	{"web..example:80", NULL, NULL, "two dots in a row"},
	{".example:80", NULL, NULL, "begins with one"},
	{"-web.example:80", NULL, NULL, "begins or ends with '-'"},
	{"w\xc3\xa9"
	 "b.example:80",
	 NULL, NULL, "is not a host name"},
	{"*.example:80", NULL, NULL, "is not a host name"},
	{"http://web.example:80", NULL, NULL, "is a URL"},
};

Test(config_names, texts)
{
	char printed[CONFIG_BACKEND_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(text_rows); i++) {
		const struct text_row *row = &text_rows[i];
		struct config_backend backend = {.name = "left over"};
		const char *problem = config_address_parse_backend(row->text, &backend);

		if (row->problem) {
			cr_expect(problem && strstr(problem, row->problem), "%s: %s", row->text,
				  problem);
			continue;
		}
		cr_expect_null(problem, "%s: %s", row->text, problem);
		cr_expect_str_eq(backend.name, row->name, "%s", row->text);
		cr_expect_str_eq(config_print_backend(&backend, printed), row->printed);
	}
}

/* Each length of a name and of what is too long for one. */
Test(config_names, any_length)
{
	char text[400];

	for (size_t length = 1; length < sizeof(text) - 4; length++) {
		struct config_backend backend = {0};
		const char *problem;

		for (size_t i = 0; i < length; i++)
			text[i] = i % 50 == 49 && i + 1 < length ? '.' : 'a';
		memcpy(text + length, ":80", 4);
		problem = config_address_parse_backend(text, &backend);
		cr_expect_eq(!problem, length <= DNS_NAME_LENGTH_MOST, "%zu: %s", length, problem);
		if (!problem)
			cr_expect_eq(strlen(backend.name), length);
	}
}

#define L "[::1]:2000"

struct option_row {
	const char *options[8]; /* name and value, in turn */
	const char *error;	/* its beginning; NULL: fine */
};

static const struct option_row option_rows[] = {
	{{"listen", L, "backend", "web.example:80"}, NULL},
	{{"listen", L, "backend", "web.example:80 weight=3 backup maxconn=5 send-proxy=v2 check"},
	 NULL},
	{{"dns-server", "192.0.2.53,[2001:db8::53]:5353", "listen", L, "backend", "web.example:80"},
	 NULL},
	{{"dns-server", "ns.example", "listen", L, "backend", "web.example:80"},
	 "--dns-server 'ns.example': is not an address"},
	{{"dns-server", "192.0.2.53,", "listen", L, "backend", "web.example:80"},
	 "--dns-server '': is empty"},
	{{"dns-server", "x", "listen", L, "backend", "192.0.2.1:80"}, "--dns-server 'x'"},
	{{"dns-min-ttl", "0", "listen", L, "backend", "web.example:80"}, "--dns-min-ttl '0':"},
	{{"dns-min-ttl", "2s", "dns-max-ttl", "1s", "listen", L, "backend", "web.example:80"},
	 "--dns-max-ttl '1s': is less than --dns-min-ttl 2s; give more"},
	{{"dns-max-ttl", "0", "listen", L, "backend", "web.example:80"},
	 "--dns-max-ttl '0': is less than --dns-min-ttl 1s"},
	{{"dns-min-ttl", "2h", "listen", L, "backend", "web.example:80"},
	 "--dns-min-ttl '2h': is more than --dns-max-ttl 1h; give less"},
	{{"resolve-at-start", "require", "resolve-timeout", "0", "listen", L, "backend", "a:80"},
	 "--resolve-at-start 'require': needs time"},
	{{"resolve-at-start", "try", "resolve-timeout", "0", "listen", L, "backend", "a:80"}, NULL},
	{{"source", "198.51.100.1", "listen", L, "backend", "web.example:80"}, NULL},
	{{"source", "2001:db8::2", "listen", L, "backend", "web.example:80"},
	 "--listen '" L
	 "': --source gives IPv6 addresses, which cannot reach backend web.example:80"},
	{{"source", "pseudo", "dns-family", "both", "listen", L, "backend", "web.example:80"},
	 "--listen '" L "': --source reaches addresses of one family"},
	{{"listen", "0.0.0.0:2000", "backend", "web.example:2000"}, NULL},
	{{"listen", "0.0.0.0:2000", "backend", "0.0.0.0:2000"}, "--backend '0.0.0.0:2000': is the"},
	{{"listen", L, "backend", "web.example:0"}, "--backend 'web.example:0': port 0"},
};

static int set_all(struct config *config, const char *const *options, struct fault *fault)
{
	for (size_t i = 0; i < 8 && options[i]; i += 2) {
		int result = support_set(config, options[i], options[i + 1], fault);

		if (result)
			return result;
	}
	return support_check(config, fault);
}

Test(config_names, options)
{
	for (size_t i = 0; i < ARRAY_COUNT(option_rows); i++) {
		const struct option_row *row = &option_rows[i];
		struct fault fault = {0};
		struct config config;

		config_init(&config);
		cr_expect_eq(set_all(&config, row->options, &fault), row->error ? -EINVAL : 0,
			     "row %zu: %s", i, support_text(&fault));
		if (row->error)
			cr_expect_eq(strncmp(support_text(&fault), row->error, strlen(row->error)),
				     0, "row %zu: %s", i, support_text(&fault));
		config_finish(&config);
	}
}

/* How many failures take a backend down is known where the number of backends is. */
Test(config_names, max_fails)
{
	static const struct {
		const char *options[8];
		bool automatic;
		uint64_t max_fails;
		unsigned names;
	} rows[] = {
		{{"listen", L, "backend", "192.0.2.1:80"}, true, 0, 0},
		{{"listen", L, "backend", "web.example:80"}, true, 1, 1},
		{{"listen", L, "backend", "a:80", "backend", "192.0.2.1:80"}, true, 1, 1},
		{{"max-fails", "0", "listen", L, "backend", "web.example:80"}, false, 0, 1},
		{{"max-fails", "7", "listen", L, "backend", "web.example:80"}, false, 7, 1},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct fault fault = {0};
		struct config config;

		config_init(&config);
		cr_assert_eq(set_all(&config, rows[i].options, &fault), 0, "row %zu: %s", i,
			     support_text(&fault));
		cr_expect_eq(config.forwards[0].auto_max_fails, rows[i].automatic, "row %zu", i);
		cr_expect_eq(config.forwards[0].options.max_fails, rows[i].max_fails, "row %zu", i);
		cr_expect_eq(config.forwards[0].name_count, rows[i].names, "row %zu", i);
		cr_expect_eq(config.name_count, rows[i].names, "row %zu", i);
		config_finish(&config);
	}
}

Test(config_names, one_too_many)
{
	const struct option_spec *listen = options_find("listen", 6);
	const struct option_spec *backend = options_find("backend", 7);
	struct fault fault = {0};

	for (unsigned more = 0; more < 2; more++) {
		struct config config;
		char text[32];

		config_init(&config);
		for (unsigned i = 0; i < CONFIG_DNS_NAME_LIMIT + more; i++) {
			snprintf(text, sizeof(text), "[::1]:%u", 2000 + i / 200);
			if (i % 200 == 0)
				cr_assert_eq(config_set(&config, listen, text, &fault), 0);
			cr_assert_eq(config_set(&config, backend, "web.example:80", &fault), 0);
		}
		cr_expect_eq(support_check(&config, &fault), more ? -EINVAL : 0, "%s",
			     support_text(&fault));
		config_finish(&config);
	}
	cr_expect_not_null(
		strstr(support_text(&fault), "1025 of them are names; 1024 are the limit"), "%s",
		support_text(&fault));
}
