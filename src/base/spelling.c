/* SPDX-License-Identifier: MIT */
#include "base/spelling.h"

#include <string.h>

#include "base/check.h"

#define NAME_BYTES 32
#define WORD_MOST  64 /* a longer word is no misspelling of a name */

unsigned spelling_limit(size_t length)
{
	return (unsigned)MAX(1, MIN(length / 3, 3)) + 1;
}

/*
 * The number of letters to change, insert, remove, or swap with a neighbour to turn `a` into `b`.
 */
static unsigned distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	unsigned rows[3][NAME_BYTES]; /* rows of this letter of `a` and of the two letters before */

	CHECK(b_length < NAME_BYTES);
	for (size_t j = 0; j <= b_length; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_length; i++) {
		unsigned *own = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

		own[0] = (unsigned)i;
		for (size_t j = 1; j <= b_length; j++) {
			unsigned change = last[j - 1] + (a[i - 1] != b[j - 1]);
			unsigned insert_or_remove = MIN(own[j - 1], last[j]) + 1;

			own[j] = MIN(change, insert_or_remove);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				own[j] = MIN(own[j], before[j - 2] + 1);
		}
	}
	return rows[a_length % 3][b_length];
}

bool spelling_is_nearer(const char *word, size_t length, const char *name, unsigned *best)
{
	unsigned letters;

	if (length > WORD_MOST)
		return false;
	letters = distance(word, length, name, strlen(name));
	if (letters >= *best || letters >= length)
		return false;
	*best = letters;
	return true;
}
