/*
 * Counts, sizes and durations as people write them, and back.
 *
 * Counts are plain decimal numbers. Sizes are bytes, with the binary suffixes KiB, MiB, GiB (K, M,
 * G mean the same). Durations are milliseconds inside the program and need a unit outside: 500ms,
 * 5s, 2m, 1h, 1d; rates are sizes per second, with or without "/s" behind them. A bare 0 is allowed and means "never" wherever an option takes one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Room for any text that the functions below print. */
#define UNITS_TEXT_BYTES 32

/*
 * Each parser reads the whole of `text` and stores the value on success only.
 * Returns 0, -EINVAL when the text has not the form, -ERANGE when the value does not fit.
 */
int units_parse_count(const char *text, uint64_t *count);
int units_parse_size(const char *text, uint64_t *bytes);
int units_parse_duration(const char *text, uint64_t *milliseconds);
int units_parse_rate(const char *text, uint64_t *bytes_per_s);

/*
 * Takes the next item out of a list with commas between the items, and blanks around them if you
 * like. `at` begins as the list's text, is moved on, and is NULL after the last. Returns where the
 * item begins in there; `length` is its bytes, 0 where it is empty.
 */
const char *units_next_item(const char **at, size_t *length);

/* Each printer writes the shortest exact form that its parser reads back, and returns `text`. */
const char *units_print_size(uint64_t bytes, char text[UNITS_TEXT_BYTES]);
const char *units_print_duration(uint64_t milliseconds, char text[UNITS_TEXT_BYTES]);
const char *units_print_rate(uint64_t bytes_per_s, char text[UNITS_TEXT_BYTES]);
