/* SPDX-License-Identifier: MIT */
#include "base/units.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(units, .fini = support_check_leaks);

#define UNTOUCHED 0xdeadbeefULL

typedef int parser(const char *text, uint64_t *value);

struct parse_row {
	const char *text;
	int result;
	uint64_t value;
};

static void check_rows(parser *parse, const struct parse_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct parse_row *row = &rows[i];
		uint64_t value = UNTOUCHED;
		int result = parse(row->text, &value);
		uint64_t expected = row->result ? UNTOUCHED : row->value;

		cr_expect_eq(result, row->result, "'%s': result %d, not %d", row->text, result,
			     row->result);
		cr_expect_eq(value, expected, "'%s': value %" PRIu64 ", not %" PRIu64, row->text,
			     value, expected);
	}
}

Test(units, parse_count)
{
	static const struct parse_row rows[] = {
		{"0", 0, 0},
		{"1", 0, 1},
		{"007", 0, 7},
		{"65536", 0, 65536},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -ERANGE, 0},
		{"18446744073709551620", -ERANGE, 0},
		{"99999999999999999999999", -ERANGE, 0},
		{"", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"1 ", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"1k", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
		{"1.5", -EINVAL, 0},
		{"1\n", -EINVAL, 0},
		{"\xd9\xa1", -EINVAL, 0}, /* a digit of another script */
	};

	check_rows(units_parse_count, rows, ARRAY_COUNT(rows));
}

Test(units, parse_size)
{
	static const struct parse_row rows[] = {
		{"0", 0, 0},
		{"4096", 0, 4096},
		{"1K", 0, 1 << 10},
		{"1KiB", 0, 1 << 10},
		{"64KiB", 0, 64 << 10},
		{"1M", 0, 1 << 20},
		{"1MiB", 0, 1 << 20},
		{"3G", 0, 3ULL << 30},
		{"3GiB", 0, 3ULL << 30},
		{"0G", 0, 0},
		{"17179869183GiB", 0, 17179869183ULL << 30},
		{"17179869184GiB", -ERANGE, 0},
		{"18446744073709551616", -ERANGE, 0},
		{"", -EINVAL, 0},
		{"K", -EINVAL, 0},
		{"1k", -EINVAL, 0},
		{"1kib", -EINVAL, 0},
		{"1KB", -EINVAL, 0},
		{"1 KiB", -EINVAL, 0},
		{"1KiBx", -EINVAL, 0},
		{"1KiB ", -EINVAL, 0},
		{"1.5MiB", -EINVAL, 0},
		{"-1K", -EINVAL, 0},
		{"1TiB", -EINVAL, 0},
		{"1s", -EINVAL, 0},
	};

	check_rows(units_parse_size, rows, ARRAY_COUNT(rows));
}

Test(units, parse_duration)
{
	static const struct parse_row rows[] = {
		{"0", 0, 0},
		{"0s", 0, 0},
		{"1ms", 0, 1},
		{"500ms", 0, 500},
		{"5s", 0, 5000},
		{"2m", 0, 120000},
		{"1h", 0, 3600000},
		{"1d", 0, 86400000},
		{"213503982334d", 0, 213503982334ULL * 86400000},
		{"213503982335d", -ERANGE, 0},
		{"18446744073709551616ms", -ERANGE, 0},
		{"5", -EINVAL, 0}, /* no unit */
		{"00", -EINVAL, 0},
		{"", -EINVAL, 0},
		{"s", -EINVAL, 0},
		{"5S", -EINVAL, 0},
		{"5 s", -EINVAL, 0},
		{"5sec", -EINVAL, 0},
		{"1h30m", -EINVAL, 0},
		{"-5s", -EINVAL, 0},
		{"0.5s", -EINVAL, 0},
		{"5K", -EINVAL, 0},
	};

	check_rows(units_parse_duration, rows, ARRAY_COUNT(rows));
}

struct print_row {
	uint64_t value;
	const char *text;
};

Test(units, print_size)
{
	static const struct print_row rows[] = {
		{0, "0"},
		{1, "1"},
		{1023, "1023"},
		{1024, "1KiB"},
		{1025, "1025"},
		{1536, "1536"},
		{65536, "64KiB"},
		{1 << 20, "1MiB"},
		{3 << 19, "1536KiB"},
		{1 << 30, "1GiB"},
		{UINT64_MAX, "18446744073709551615"},
	};
	char text[UNITS_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const char *printed = units_print_size(rows[i].value, text);

		cr_expect_eq(printed, text);
		cr_expect_str_eq(printed, rows[i].text, "'%s', not '%s'", printed, rows[i].text);
	}
}

Test(units, parse_rate)
{
	static const struct parse_row rows[] = {
		{"0", 0, 0},
		{"1000", 0, 1000},
		{"1000/s", 0, 1000},
		{"1MiB", 0, 1 << 20},
		{"1MiB/s", 0, 1 << 20},
		{"2G/s", 0, 2ULL << 30},
		{"18446744073709551615/s", 0, UINT64_MAX},
		{"18446744073709551616/s", -ERANGE, 0},
		{"1GiB/s/s", -EINVAL, 0},
		{"/s", -EINVAL, 0},
		{"", -EINVAL, 0},
		{"1MiB/m", -EINVAL, 0},
		{"1MiB /s", -EINVAL, 0},
		{"1MiB/", -EINVAL, 0},
		{"1Mbit/s", -EINVAL, 0},
		{"000000000000000000000000000000000000000000000000000001", -EINVAL, 0},
	};

	check_rows(units_parse_rate, rows, ARRAY_COUNT(rows));
}

Test(units, print_rate)
{
	char text[UNITS_TEXT_BYTES];

	cr_expect_str_eq(units_print_rate(1000, text), "1000/s");
	cr_expect_str_eq(units_print_rate(3 << 20, text), "3MiB/s");
	cr_expect_str_eq(units_print_rate(UINT64_MAX, text), "18446744073709551615/s");
}

Test(units, print_duration)
{
	static const struct print_row rows[] = {
		{0, "0"},	  {1, "1ms"},	      {999, "999ms"},
		{1000, "1s"},	  {1500, "1500ms"},   {60000, "1m"},
		{90000, "90s"},	  {3600000, "1h"},    {5400000, "90m"},
		{86400000, "1d"}, {129600000, "36h"}, {UINT64_MAX, "18446744073709551615ms"},
	};
	char text[UNITS_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const char *printed = units_print_duration(rows[i].value, text);

		cr_expect_eq(printed, text);
		cr_expect_str_eq(printed, rows[i].text, "'%s', not '%s'", printed, rows[i].text);
	}
}

/* The parser reads back the printed text: round and random values of every magnitude. */
Test(units, printed_values_are_read_back)
{
	static const uint64_t factors[] = {1,	    1000,     1024,    60000,
					   3600000, 86400000, 1 << 20, 1 << 30};
	uint64_t state = 1;

	for (unsigned i = 0; i < 20000; i++) {
		uint64_t value = support_random(&state) >> (i % 64);
		char text[UNITS_TEXT_BYTES];
		uint64_t back = 0;

		if (i % 2)
			value = value % 4096 * factors[i / 2 % ARRAY_COUNT(factors)];
		cr_assert_eq(units_parse_size(units_print_size(value, text), &back), 0, "%s", text);
		cr_assert_eq(back, value, "size %s", text);
		cr_assert_eq(units_parse_duration(units_print_duration(value, text), &back), 0,
			     "%s", text);
		cr_assert_eq(back, value, "duration %s", text);
	}
}

Test(units, items_of_a_list)
{
	static const struct {
		const char *text;
		const char *items; /* in brackets */
	} rows[] = {
		{"", "[]"},	   {"a", "[a]"},
		{"a,b", "[a][b]"}, {" a ,\tb c\t, d", "[a][b c][d]"},
		{"a,", "[a][]"},   {",,a", "[][][a]"},
		{" , ", "[][]"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char items[64] = "";

		for (const char *at = rows[i].text; at;) {
			size_t length, had = strlen(items);
			const char *item = units_next_item(&at, &length);

			snprintf(items + had, sizeof(items) - had, "[%.*s]", (int)length, item);
		}
		cr_expect_str_eq(items, rows[i].items, "'%s': %s", rows[i].text, items);
	}
}
