/* Which of several words somebody meant who misspelt one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The most letters that may be wrong in a word of this length, plus one: a third of the letters, at least one, at most three. */
unsigned spelling_limit(size_t length);

/*
 * Whether `word`, of `length` bytes, is nearer to `name` than `*best`, a number of letters to change, insert,
 * remove or swap with their neighbour. If so, `*best` becomes that number. Begin with spelling_limit(). `name` has at most 31 bytes.
 */
bool spelling_is_nearer(const char *word, size_t length, const char *name, unsigned *best);
