/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/json.h"
#include "base/log_ring.h"

struct event_kind {
	const char *word;
	enum log_level level;
	unsigned lines_per_second;
};

static const struct event_kind kinds[LOG_EVENT_COUNT] = {
#define LOG_EVENT(word, level, rate, meaning, remedy) {#word, LOG_##level, rate},
#include "base/log_events.def"
#undef LOG_EVENT
};

/* The lines of one event that one thread has written in the current second. */
struct rate {
	int64_t second;
	unsigned lines;
	uint64_t suppressed;
};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static _Atomic enum log_level max_level = LOG_INFO;
static enum log_format line_format = LOG_LOGFMT;
static _Thread_local struct rate rates[LOG_EVENT_COUNT];

void log_init(enum log_level level, enum log_format format)
{
	log_set_level(level);
	line_format = format;
}

enum log_level log_level(void)
{
	return atomic_load_explicit(&max_level, memory_order_relaxed);
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

const char *log_level_word(enum log_level level)
{
	return level_names[level];
}

/* Appends all of a text or nothing, so that a line is never cut within a value. */
static void append(struct log_line *line, const char *text)
{
	size_t count = strlen(text);

	/* 32 bytes are kept for `]`, `,"truncated":true}` and the newline */
	if (line->length_bytes + count > sizeof(line->text) - 32) {
		line->truncated = true;
		return;
	}
	memcpy(line->text + line->length_bytes, text, count);
	line->length_bytes += count;
}

/* In logfmt, a value without blanks and special characters needs no quotes. */
static bool is_bare(const char *value)
{
	if (!*value)
		return false;
	for (; *value; value++) {
		unsigned char byte = (unsigned char)*value;

		if (byte <= ' ' || byte >= 0x7f || byte == '"' || byte == '=' || byte == '\\')
			return false;
	}
	return true;
}

static void append_value(struct log_line *line, const char *value)
{
	char code[JSON_BYTE_BYTES];

	if (!line->json && is_bare(value)) {
		append(line, value);
		return;
	}
	append(line, "\"");
	for (; *value; value++) {
		json_print_byte(*value, code);
		if (!line->json && code[1] == 'u')
			snprintf(code, sizeof(code), "\\x%02x", (unsigned char)*value);
		append(line, code);
	}
	append(line, "\"");
}

static void append_key(struct log_line *line, const char *key)
{
	bool first = line->length_bytes <= line->json; /* JSON begins with '{' */

	append(line, first ? "" : line->json ? "," : " ");
	append(line, line->json ? "\"" : "");
	append(line, key);
	append(line, line->json ? "\":" : "=");
}

/* Appends a whole field, or leaves the field out and marks the line as truncated. */
static void append_field(struct log_line *line, const char *key, const char *value, bool number)
{
	size_t before = line->length_bytes;

	if (line->truncated)
		return;
	append_key(line, key);
	if (number)
		append(line, value);
	else
		append_value(line, value);
	if (line->truncated)
		line->length_bytes = before;
}

/*
 * gmtime_r(3) takes glibc's time-zone lock, and a worker must not take a lock. So the date is
 * computed here: the Gregorian calendar, with years that begin in March.
 */
const char *log_date_print(uint64_t unix_ms, char text[LOG_DATE_BYTES])
{
	int64_t seconds = (int64_t)(unix_ms / 1000);
	int64_t days = seconds / 86400 + 719468;
	int64_t rest_s = seconds % 86400;
	int64_t era = days / 146097;
	int64_t day_of_era = days % 146097;
	int64_t year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int64_t day_of_year =
		day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64_t shifted_month = (5 * day_of_year + 2) / 153;
	int64_t day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
	int64_t month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
	int64_t year = year_of_era + era * 400 + (month <= 2);

	snprintf(text, LOG_DATE_BYTES,
		 "%04" PRId64 "-%02" PRId64 "-%02" PRId64 "T%02" PRId64 ":%02" PRId64 ":%02" PRId64
		 ".%03uZ",
		 year, month, day, rest_s / 3600, rest_s / 60 % 60, rest_s % 60,
		 (unsigned)(unix_ms % 1000));
	return text;
}

bool log_begin(struct log_line *line, enum log_event event)
{
	const struct event_kind *kind = &kinds[event];
	struct rate *rate = &rates[event];
	char date[LOG_DATE_BYTES];
	uint64_t suppressed;
	struct timespec now;

	if (kind->level > log_level())
		return false;
	clock_gettime(CLOCK_REALTIME, &now);
	if (rate->second != now.tv_sec) {
		rate->second = now.tv_sec;
		rate->lines = 0;
	}
	if (kind->lines_per_second && rate->lines >= kind->lines_per_second) {
		rate->suppressed++;
		return false;
	}
	rate->lines++;
	suppressed = rate->suppressed;
	rate->suppressed = 0;

	line->level = kind->level;
	line->length_bytes = 0;
	line->json = line_format == LOG_JSON;
	line->truncated = false;
	line->list_open = false;
	if (line->json)
		append(line, "{");
	log_text(line, "ts",
		 log_date_print((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000,
				date));
	log_text(line, "level", level_names[kind->level]);
	log_text(line, "event", kind->word);
	if (suppressed)
		log_number(line, "suppressed", suppressed);
	return true;
}

void log_text(struct log_line *line, const char *key, const char *value)
{
	append_field(line, key, value, false);
}

void log_number(struct log_line *line, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	append_field(line, key, text, true);
}

void log_addr(struct log_line *line, const char *key, const struct addr *address)
{
	char text[ADDR_TEXT_BYTES];

	append_field(line, key, addr_print(address, text), false);
}

void log_forward(struct log_line *line, const char *name, const struct addr *listen)
{
	if (name)
		log_text(line, "forward", name);
	log_addr(line, "listen", listen);
}

void log_error(struct log_line *line, const char *key, int error)
{
	/* strerror(3) translates, which takes a lock; this function only reads a table */
	const char *text = strerrordesc_np(error < 0 ? -error : error);

	append_field(line, key, text ? text : "unknown error", false);
}

void log_list_begin(struct log_line *line, const char *key)
{
	size_t before = line->length_bytes;

	if (!line->json || line->truncated)
		return;
	append_key(line, key);
	append(line, "[");
	line->list_open = !line->truncated;
	if (!line->list_open)
		line->length_bytes = before;
}

void log_list_item(struct log_line *line, const char *key, const char *value)
{
	size_t before = line->length_bytes;

	if (!line->json) {
		append_field(line, key, value, false);
		return;
	}
	if (line->truncated)
		return;
	if (line->text[line->length_bytes - 1] != '[')
		append(line, ",");
	append_value(line, value);
	if (line->truncated)
		line->length_bytes = before;
}

/* Uses the bytes that append() keeps free, so the end of a line always fits. */
static void append_end(struct log_line *line, const char *text)
{
	size_t count = strlen(text);

	CHECK(line->length_bytes + count <= sizeof(line->text));
	memcpy(line->text + line->length_bytes, text, count);
	line->length_bytes += count;
}

void log_list_end(struct log_line *line)
{
	if (line->list_open)
		append_end(line, "]");
	line->list_open = false;
}

void log_end(struct log_line *line)
{
	if (line->truncated)
		append_end(line, line->json ? ",\"truncated\":true" : " truncated=true");
	append_end(line, line->json ? "}\n" : "\n");
	log_ring_put(line->level, line->text, line->length_bytes);
}
