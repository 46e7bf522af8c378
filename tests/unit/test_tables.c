/* SPDX-License-Identifier: MIT */
/* The texts of the tables in src/: what the manual, the pages in docs/ and --help print. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(tables, .fini = support_check_leaks);

struct text_row {
	const char *word;
	const char *remedy;
};

/* Whole sentences: "Raise ... .", "Nothing: ... .", or "reason= is ... ." with a key of the log. */
static bool is_advice(const char *text)
{
	size_t length = strlen(text);

	return length > 10 && text[0] != ' ' && text[length - 1] == '.' && !strstr(text, "  ");
}

Test(tables, every_close_reason_says_what_to_do)
{
	static const struct text_row rows[] = {
#define CLOSE_REASON(word, side, how, meaning, remedy) {#word, remedy},
#include "stats/close_reasons.def"
#undef CLOSE_REASON
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		cr_expect(is_advice(rows[i].remedy), "%s: '%s'", rows[i].word, rows[i].remedy);
}

Test(tables, every_log_event_says_what_to_do)
{
	static const struct text_row rows[] = {
#define LOG_EVENT(word, level, rate, meaning, remedy) {#word, remedy},
#include "base/log_events.def"
#undef LOG_EVENT
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		cr_expect(is_advice(rows[i].remedy), "%s: '%s'", rows[i].word, rows[i].remedy);
}
