/* SPDX-License-Identifier: MIT */
#include "base/spelling.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"

struct spelling_row {
	const char *word, *name;
	unsigned letters; /* 0: the word is no misspelling of the name, or the name itself */
	bool near;
};

Test(spelling, nearness)
{
	static const struct spelling_row rows[] = {
		{"doctor", "doctor", 0, true},
		{"doctr", "doctor", 1, true},	/* a letter is missing */
		{"doctoor", "doctor", 1, true}, /* a letter too many */
		{"dcotor", "doctor", 1, true},	/* two letters swapped */
		{"doktor", "doctor", 1, true},	/* a wrong letter */
		{"healthchek", "healthcheck", 1, true},
		{"helthchk", "healthcheck", 3, false}, /* a third of eight letters is two */
		{"daemon", "admin", 0, false},
		{"whoo", "who", 1, true},
		{"wh", "who", 1, true},
		{"w", "who", 0, false},
		{"", "who", 0, false},
		{"b", "a", 0, false}, /* no letter of the word would be left */
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		size_t length = strlen(rows[i].word);
		unsigned best = spelling_limit(length);
		bool near = spelling_is_nearer(rows[i].word, length, rows[i].name, &best);

		cr_expect_eq(near, rows[i].near, "%s", rows[i].word);
		if (near)
			cr_expect_eq(best, rows[i].letters, "%s: %u", rows[i].word, best);
	}
}

Test(spelling, the_nearest_wins_and_a_long_word_is_none)
{
	unsigned best = spelling_limit(4);
	char word[256];

	cr_expect(spelling_is_nearer("bans", 4, "ban", &best));
	cr_expect(spelling_is_nearer("bans", 4, "bans", &best));
	cr_expect(!spelling_is_nearer("bans", 4, "ban", &best));
	memset(word, 'x', sizeof(word));
	best = 300;
	cr_expect(!spelling_is_nearer(word, sizeof(word), "ban", &best));
}
