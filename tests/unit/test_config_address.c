/* SPDX-License-Identifier: MIT */
#include "config/config_address.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

#define LISTEN	   CONFIG_ADDRESS_LISTEN
#define BACKEND	   CONFIG_ADDRESS_BACKEND
#define MONITORING CONFIG_ADDRESS_MONITORING

struct mistake_row {
	enum config_address_use use;
	const char *text;
	const char *explanation; /* NULL: none but the one that is there */
};

Test(config_address, mistakes)
{
	static const struct mistake_row rows[] = {
		{LISTEN, "2100",
		 "is a port without an address; write [::]:2100 for every address of this host, or "
		 "[::1]:2100 for itself alone"},
		{LISTEN, "2100-2110",
		 "is a port without an address; write [::]:2100-2110 for every address of this "
		 "host, or [::1]:2100-2110 for itself alone"},
		{LISTEN, ":2100",
		 "has no address before the ':'; write [::]:2100 for every address of this host, "
		 "or "
		 "[::1]:2100 for itself alone"},
		{LISTEN, "*:2100",
		 "has a '*', which is no address; write [::]:2100 for every address of this host, "
		 "or [::1]:2100 for itself alone"},
		{LISTEN, "localhost:2100", "is a name, and an address is needed; write [::1]:2100"},
		{LISTEN, "web.example:2100",
		 "is a name, and an address is needed; write one of this host's ('ip address' "
		 "lists "
		 "them), as in [2001:db8::1]:2100"},
		{LISTEN, "TCP6-LISTEN:2100",
		 "begins with TCP6-LISTEN:, as socat's addresses do; write [::]:2100 for every "
		 "address of this host, or [::1]:2100 for itself alone"},
		{LISTEN, "tcp6-l:2100,su=nobody,bind=[2001:db8::dead],fork",
		 "begins with tcp6-l:, as socat's addresses do; write [2001:db8::dead]:2100"},
		{LISTEN, "UNIX-LISTEN:/run/x,fork",
		 "begins with UNIX-LISTEN:, as socat's addresses do; write unix:/run/x"},
		{LISTEN, "[::1]:80,[::1]:81",
		 "holds several addresses; each needs a listener of its own, see --listen"},
		{MONITORING, "9100",
		 "is a port without an address; write [::1]:9100 for this host alone, or the "
		 "address that monitoring connects to"},
		{MONITORING, ":9100",
		 "has no address before the ':'; write [::1]:9100 for this host alone, or the "
		 "address that monitoring connects to"},
		{MONITORING, "unix:/run/x",
		 "is a local socket, and HTTP is answered on TCP alone; write it as in [::1]:9006"},
		{MONITORING, "[::1]:80,[::1]:81", "holds several addresses; write one"},
		{BACKEND, "80",
		 "is a port without an address; write the service's address, as in 127.0.0.1:80"},
		{BACKEND, "TCP:192.0.2.1:80,nodelay",
		 "begins with TCP:, as socat's addresses do; write 192.0.2.1:80"},
		{BACKEND, "a:1,", /* of 'a:1, b:2' */
		 "holds several addresses; put blanks between them, not commas, or a --backend "
		 "before each"},
		{BACKEND, "a:1,b", NULL},
		{BACKEND, "localhost", NULL},
		{LISTEN, "localhost", NULL},
		{LISTEN, "localhost:", NULL},
		{LISTEN, "192.0.2:80", NULL},
		{LISTEN, "::1:80", NULL},
		{LISTEN, "unix:x", NULL},
		{LISTEN, "tcp://[::1]:80", NULL},
		{LISTEN, "80-", NULL},
		{LISTEN, ":", NULL},
		{LISTEN, "*", NULL},
		{LISTEN, "", NULL},
	};
	static const char problem[] = "is wrong; write it right";

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const char *expected = rows[i].explanation ? rows[i].explanation : problem;
		struct fault fault;
		char wanted[FAULT_TEXT_BYTES];

		config_address_explain(rows[i].use, CONFIG_ORIGIN_COMMAND_LINE, rows[i].text,
				       problem, &fault);
		snprintf(wanted, sizeof(wanted), "'%s': %s", rows[i].text, expected);
		cr_expect_str_eq(support_text(&fault), wanted, "%s", support_text(&fault));
	}
}

struct list_row {
	enum config_origin_kind kind;
	const char *remedy;
};

Test(config_address, the_remedy_for_several_is_that_of_the_place)
{
	static const struct list_row rows[] = {
		{CONFIG_ORIGIN_FILE, "write a line backend = ADDRESS for each"},
		{CONFIG_ORIGIN_ENVIRONMENT, "put blanks between them, not commas"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct fault fault;

		config_address_explain(BACKEND, rows[i].kind, "a:1,b:2", "", &fault);
		cr_expect_str_eq(fault.remedy, rows[i].remedy, "%s", fault.remedy);
	}
}

Test(config_address, a_long_text_is_cut)
{
	static const char *const beginnings[] = {"TCP:", "1:", "*:", ":", "unix-l:", "localhost:"};
	struct fault fault;
	char text[4096];

	for (size_t i = 0; i < ARRAY_COUNT(beginnings); i++) {
		memset(text, '1', sizeof(text));
		memcpy(text, beginnings[i], strlen(beginnings[i]));
		text[sizeof(text) - 1] = '\0';
		for (int use = LISTEN; use <= (int)MONITORING; use++) {
			config_address_explain((enum config_address_use)use, CONFIG_ORIGIN_FILE,
					       text, "-", &fault);
			cr_expect_lt(strlen(fault.reason) + strlen(fault.remedy), 300, "%s",
				     fault.reason);
		}
	}
}

struct range_row {
	const char *text, *word;
	unsigned count; /* 0: refused */
};

Test(config_address, ranges_behind_an_address)
{
	static const struct range_row rows[] = {
		{"[::]:8000-8010", "[::]:8000", 11},
		{"192.0.2.1:80-80", "192.0.2.1:80", 1},
		{"[fe80::1%eth0]:1-65535", "[fe80::1%eth0]:1", 65535},
		{"a-name:80", "a-name:80", 1},
		/* left to those who read addresses */
		{"[::]:80", "[::]:80", 1},
		{"[::]", "[::]", 1},
		{"", "", 1},
		{"[::]:80-", "[::]:80-", 1},
		{"[::]:-90", "[::]:-90", 1},
		{"[::]:80-90-100", "[::]:80-90-100", 1},
		{"[::]:80-9x", "[::]:80-9x", 1},
		{"[::]:0-10", NULL, 0},
		{"[::]:90-80", NULL, 0},
		{"[::]:1-65536", NULL, 0},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char word[64];
		unsigned count = 0;
		const char *problem =
			config_address_split_range(rows[i].text, word, sizeof(word), &count);

		cr_expect_eq(!problem, rows[i].count > 0, "'%s'", rows[i].text);
		if (problem)
			continue;
		cr_expect_str_eq(word, rows[i].word, "'%s'", rows[i].text);
		cr_expect_eq(count, rows[i].count, "'%s'", rows[i].text);
	}
}

Test(config_address, a_text_that_does_not_fit_is_cut)
{
	char word[8];
	unsigned count;

	cr_expect_null(
		config_address_split_range("[2001:db8::1]:80-81", word, sizeof(word), &count));
	cr_expect_str_eq(word, "[2001:d");
	cr_expect_eq(count, 2);
}
