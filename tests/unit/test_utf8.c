/* SPDX-License-Identifier: MIT */
#include "base/utf8.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"

Test(utf8, printable)
{
	static const struct {
		const char *text;
		size_t length;
	} rows[] = {
		{"a", 1},
		{" b", 1},
		{"~", 1},
		{"", 0},
		{"\t", 0},
		{"\x1f", 0},
		{"\x7f", 0},
		/* the bounds of each length */
		{"\xc2\xa0", 2},
		{"\xdf\xbf!", 2},
		{"\xe0\xa0\x80", 3},
		{"\xef\xbf\xbf", 3},
		{"\xf0\x90\x80\x80", 4},
		{"\xf4\x8f\xbf\xbf", 4},
		{"\xf4\x90\x80\x80", 0},
		{"\xf8\x88\x80\x80\x80", 0},
		/* C1, overlong forms, surrogates */
		{"\xc2\x80", 0},
		{"\xc2\x9b", 0},
		{"\xc0\x80", 0},
		{"\xc1\xbf", 0},
		{"\xe0\x9f\xbf", 0},
		{"\xf0\x8f\xbf\xbf", 0},
		{"\xed\x9f\xbf", 3},
		{"\xed\xa0\x80", 0},
		{"\xed\xbf\xbf", 0},
		{"\xee\x80\x80", 3},
		/* cut off, and bytes that cannot come first */
		{"\xc3", 0},
		{"\xe2\x82", 0},
		{"\xe2\x82!", 0},
		{"\x80", 0},
		{"\xff", 0},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		cr_expect_eq(utf8_printable(rows[i].text, strlen(rows[i].text)), rows[i].length,
			     "row %zu", i);
	cr_expect_eq(utf8_printable("\xe2\x82\xac", 2), 0);
	cr_expect_eq(utf8_printable("\0", 1), 0);
}
