/* SPDX-License-Identifier: MIT */
/* Finds the known name that a user probably meant by a misspelt word. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * One more than the number of letters that may be wrong in a word of `length` bytes. That number is
 * a third of the letters, at least one and at most three.
 */
unsigned spelling_limit(size_t length);

/*
 * Whether the distance from `word`, of `length` bytes, to `name` is less than `*best`. If so, sets
 * `*best` to the distance: the number of letters to change, insert, remove, or swap with a
 * neighbour. The first `*best` is spelling_limit(). `name` has at most 31 bytes.
 */
bool spelling_is_nearer(const char *word, size_t length, const char *name, unsigned *best);
