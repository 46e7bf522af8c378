#include "config/config_socket.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "support.h"

TestSuite(config_socket, .fini = support_check_leaks);

struct number_row {
	const char *text;
	int64_t value; /* -1: refused */
	const char *reason;
};

static void check_numbers(int (*parse)(uint64_t *value, const char *text, struct fault *fault),
			  const struct number_row *rows, size_t count)
{
	struct fault fault = {0};

	for (size_t i = 0; i < count; i++) {
		uint64_t value = 77;
		int result = parse(&value, rows[i].text, &fault);

		cr_expect_eq(result, rows[i].value < 0 ? -EINVAL : 0, "'%s'", rows[i].text);
		cr_expect_eq(value, rows[i].value < 0 ? 77 : (uint64_t)rows[i].value, "'%s'",
			     rows[i].text);
		if (result)
			cr_expect_not_null(strstr(support_text(&fault), rows[i].reason), "%s",
					   support_text(&fault));
	}
}

Test(config_socket, tos)
{
	static const struct number_row rows[] = {
		{"0", 0, ""},	       {"252", 252, ""},	{"0xb8", 0xb8, ""},
		{"0XB8", 0xb8, ""},    {"ef", 0xb8, ""},	{"EF", 0xb8, ""},
		{"le", 0x04, ""},      {"cs0", 0, ""},		{"cs1", 0x20, ""},
		{"cs7", 0xe0, ""},     {"af11", 0x28, ""},	{"af41", 0x88, ""},
		{"af43", 0x98, ""},    {"af44", -1, "neither"}, {"cs8", -1, "neither"},
		{"1", -1, "ECN"},      {"255", -1, "ECN"},	{"256", -1, "neither"},
		{"-4", -1, "neither"}, {"", -1, "neither"},	{"0x", -1, "neither"},
		{"8 ", -1, "neither"}, {"0xg0", -1, "neither"}, {"af", -1, "neither"},
	};

	check_numbers(config_socket_parse_tos, rows, ARRAY_COUNT(rows));
}

Test(config_socket, mark)
{
	static const struct number_row rows[] = {
		{"1", 1, ""},
		{"4294967295", UINT32_MAX, ""},
		{"0xffffffff", UINT32_MAX, ""},
		{"0x10", 16, ""},
		{"0", -1, "not a mark"},
		{"4294967296", -1, "not a mark"},
		{"-1", -1, "not a "},
		{"", -1, "not a mark"},
		{"1/2", -1, "not a mark"},
		{"0x-1", -1, "not a"},
		{"99999999999999999999", -1, "not a mark"},
	};

	check_numbers(config_socket_parse_mark, rows, ARRAY_COUNT(rows));
}

struct ports_row {
	const char *text;
	unsigned first, last; /* 0: refused */
};

Test(config_socket, ports)
{
	static const struct ports_row rows[] = {
		{"40000-49999", 40000, 49999},
		{"1-65535", 1, 65535},
		{"7-7", 7, 7},
		{"0-9", 0, 0},
		{"9-8", 0, 0},
		{"1-65536", 0, 0},
		{"1", 0, 0},
		{"1-", 0, 0},
		{"-1", 0, 0},
		{"1-2-3", 0, 0},
		{"1 - 2", 0, 0},
		{"", 0, 0},
		{"1-99999999999999999999", 0, 0},
	};
	struct fault fault = {0};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct sock_ports ports = {0};
		int result = config_socket_parse_ports(&ports, rows[i].text, &fault);

		cr_expect_eq(result, rows[i].first ? 0 : -EINVAL, "'%s'", rows[i].text);
		cr_expect_eq(ports.first, rows[i].first, "'%s'", rows[i].text);
		cr_expect_eq(ports.last, rows[i].last, "'%s'", rows[i].text);
	}
}

struct range_row {
	const char *text, *word;
	unsigned count; /* 0: refused */
};

Test(config_socket, ranges_behind_an_address)
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
			config_socket_split_range(rows[i].text, word, sizeof(word), &count);

		cr_expect_eq(!problem, rows[i].count > 0, "'%s'", rows[i].text);
		if (problem)
			continue;
		cr_expect_str_eq(word, rows[i].word, "'%s'", rows[i].text);
		cr_expect_eq(count, rows[i].count, "'%s'", rows[i].text);
	}
}

Test(config_socket, a_text_that_does_not_fit_is_cut)
{
	char word[8];
	unsigned count;

	cr_expect_null(
		config_socket_split_range("[2001:db8::1]:80-81", word, sizeof(word), &count));
	cr_expect_str_eq(word, "[2001:d");
	cr_expect_eq(count, 2);
}

Test(config_socket, modes)
{
	static const struct number_row rows[] = {
		{"0660", 0660, ""}, {"660", 0660, ""}, {"0", 0, ""},   {"777", 0777, ""},
		{"1777", -1, ""},   {"00660", -1, ""}, {"8", -1, ""},  {"rw", -1, ""},
		{"", -1, ""},	    {"066 ", -1, ""},  {"-1", -1, ""},
	};

	check_numbers(config_socket_parse_mode, rows, ARRAY_COUNT(rows));
}
