/* SPDX-License-Identifier: MIT */
#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

#define BLANKS " \t"

struct unit {
	const char *suffix;
	uint64_t factor;
};

/* Largest first, because the printers take the first unit that divides the value. */
static const struct unit size_units[] = {
	{"GiB", 1ULL << 30},
	{"MiB", 1ULL << 20},
	{"KiB", 1ULL << 10},
	{"G", 1ULL << 30},
	{"M", 1ULL << 20},
	{"K", 1ULL << 10},
	{"", 1},
};

static const struct unit duration_units[] = {
	{"d", 24ULL * 3600 * 1000},
	{"h", 3600ULL * 1000},
	{"m", 60ULL * 1000},
	{"s", 1000},
	{"ms", 1},
};

static const struct unit no_units[] = {{"", 1}};

/* Reads decimal digits followed by one of the units. */
static int parse_with_units(const char *text, const struct unit *units, size_t unit_count,
			    uint64_t *value)
{
	uint64_t number = 0;
	const char *suffix = text;

	for (; isdigit((unsigned char)*suffix); suffix++)
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (unsigned)(*suffix - '0'), &number))
			return -ERANGE;
	for (size_t i = 0; i < unit_count && suffix > text; i++) {
		if (strcmp(suffix, units[i].suffix))
			continue;
		if (__builtin_mul_overflow(number, units[i].factor, &number))
			return -ERANGE;
		*value = number;
		return 0;
	}
	return -EINVAL;
}

int units_parse_count(const char *text, uint64_t *count)
{
	return parse_with_units(text, no_units, ARRAY_COUNT(no_units), count);
}

int units_parse_size(const char *text, uint64_t *bytes)
{
	return parse_with_units(text, size_units, ARRAY_COUNT(size_units), bytes);
}

int units_parse_duration(const char *text, uint64_t *milliseconds)
{
	if (!strcmp(text, "0")) {
		*milliseconds = 0;
		return 0;
	}
	return parse_with_units(text, duration_units, ARRAY_COUNT(duration_units), milliseconds);
}

int units_parse_rate(const char *text, uint64_t *bytes_per_s)
{
	static const char per_second[] = "/s";
	size_t length = strlen(text), suffix = strlen(per_second);
	char size[UNITS_TEXT_BYTES];

	if (length >= suffix && !strcmp(text + length - suffix, per_second))
		length -= suffix;
	/* a longer text has leading zeros or a number that does not fit */
	if (length >= sizeof(size))
		return -EINVAL;
	memcpy(size, text, length);
	size[length] = '\0';
	return units_parse_size(size, bytes_per_s);
}

const char *units_next_item(const char **at, size_t *length)
{
	const char *begin = *at + strspn(*at, BLANKS);
	size_t whole = strcspn(begin, ",");

	*at = begin[whole] ? begin + whole + 1 : NULL;
	while (whole && strchr(BLANKS, begin[whole - 1]))
		whole--;
	*length = whole;
	return begin;
}

static const char *print_with_units(uint64_t value, const struct unit *units, size_t unit_count,
				    char text[UNITS_TEXT_BYTES])
{
	const struct unit *unit = &units[unit_count - 1];

	for (size_t i = 0; i < unit_count; i++) {
		if (value && value % units[i].factor == 0) {
			unit = &units[i];
			break;
		}
	}
	snprintf(text, UNITS_TEXT_BYTES, "%" PRIu64 "%s", value / unit->factor, unit->suffix);
	return text;
}

const char *units_print_size(uint64_t bytes, char text[UNITS_TEXT_BYTES])
{
	return print_with_units(bytes, size_units, ARRAY_COUNT(size_units), text);
}

const char *units_print_duration(uint64_t milliseconds, char text[UNITS_TEXT_BYTES])
{
	if (!milliseconds) {
		snprintf(text, UNITS_TEXT_BYTES, "0");
		return text;
	}
	return print_with_units(milliseconds, duration_units, ARRAY_COUNT(duration_units), text);
}

const char *units_print_rate(uint64_t bytes_per_s, char text[UNITS_TEXT_BYTES])
{
	units_print_size(bytes_per_s, text);
	return strcat(text, "/s");
}
