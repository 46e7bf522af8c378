/* SPDX-License-Identifier: MIT */
/*
 * Reads and prints counts, sizes, durations and rates in the form of the configuration.
 *
 * - A count is a plain decimal number.
 * - A size is a number of bytes, with or without a binary suffix: KiB, MiB, GiB, or the same as K,
 *   M, G.
 * - A duration is milliseconds in the program. Its text needs a unit: 500ms, 5s, 2m, 1h, 1d. Only 0
 *   needs none; an option that takes 0 reads it as "never".
 * - A rate is a size per second, with or without "/s" at its end.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Room for every text that the functions below print. */
#define UNITS_TEXT_BYTES 32

/*
 * Each parser reads the whole of `text` and sets the value on success only. Returns 0; -EINVAL if
 * the text is malformed; -ERANGE if the value does not fit.
 */
int units_parse_count(const char *text, uint64_t *count);
int units_parse_size(const char *text, uint64_t *bytes);
int units_parse_duration(const char *text, uint64_t *milliseconds);
int units_parse_rate(const char *text, uint64_t *bytes_per_s);

/*
 * Steps through a list of items with commas between them; blanks around an item are left out. `*at`
 * is the rest of the list: the whole text at first, NULL after the last item. Returns the beginning
 * of the next item within the text, and its length in bytes in `length`, 0 for an empty item.
 */
const char *units_next_item(const char **at, size_t *length);

/* Each printer writes the shortest exact form that the parser reads back. Returns `text`. */
const char *units_print_size(uint64_t bytes, char text[UNITS_TEXT_BYTES]);
const char *units_print_duration(uint64_t milliseconds, char text[UNITS_TEXT_BYTES]);
const char *units_print_rate(uint64_t bytes_per_s, char text[UNITS_TEXT_BYTES]);
