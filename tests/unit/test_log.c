/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "log_text.h"
#include "support.h"

TestSuite(log, .fini = support_check_leaks);

/*
 * The log's clock, so that seconds pass when a test says so: the linker leads log.c here
 * (--wrap=clock_gettime, meson.build).
 */
static struct timespec fake_now = {.tv_sec = 1795418460, .tv_nsec = 123456789};

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	*now = fake_now;
	return 0;
}

#define TS "2026-11-23T07:21:00.123Z"

static void begin(struct log_line *line, enum log_format format, enum log_event event)
{
	log_init(LOG_DEBUG, format);
	cr_assert(log_begin(line, event), "the line was held back");
}

/* Ends the line without output; its text stays in `line`. */
static const char *end(struct log_line *line)
{
	char *written;

	support_capture_begin();
	log_end(line);
	written = support_capture_end();
	cr_assert_eq(strlen(written), line->length_bytes);
	cr_assert(!memcmp(written, line->text, line->length_bytes), "another text was written");
	free(written);
	line->text[MIN(line->length_bytes, sizeof(line->text) - 1)] = '\0';
	return line->text;
}

static bool is_well_formed(const struct log_line *line)
{
	return line->json ? log_text_is_json(line->text, line->length_bytes)
			  : log_text_is_logfmt(line->text, line->length_bytes);
}

static void put_everything(struct log_line *line)
{
	struct addr address;

	cr_assert_null(addr_parse("[2001:db8::7]:51234", &address));
	log_number(line, "bytes", 18446744073709551615ULL);
	log_number(line, "none", 0);
	log_text(line, "reason", "done");
	log_addr(line, "client", &address);
	log_error(line, "error", -ECONNREFUSED);
	log_list_begin(line, "listen");
	log_list_item(line, "listen", "[::]:2000");
	log_list_item(line, "listen", "0.0.0.0:80");
	log_list_end(line);
	log_list_begin(line, "empty");
	log_list_end(line);
	address.length_bytes = 0;
	log_addr(line, "source", &address);
}

Test(log, logfmt)
{
	struct log_line line;

	begin(&line, LOG_LOGFMT, LOG_EVENT_close);
	put_everything(&line);
	cr_expect_str_eq(end(&line),
			 "ts=" TS " level=info event=close bytes=18446744073709551615 none=0 "
			 "reason=done client=[2001:db8::7]:51234 error=\"Connection refused\" "
			 "listen=[::]:2000 listen=0.0.0.0:80 source=-\n",
			 "%s", line.text);
}

Test(log, json)
{
	struct log_line line;

	begin(&line, LOG_JSON, LOG_EVENT_close);
	put_everything(&line);
	cr_expect_str_eq(
		end(&line),
		"{\"ts\":\"" TS "\",\"level\":\"info\",\"event\":\"close\","
		"\"bytes\":18446744073709551615,\"none\":0,\"reason\":\"done\","
		"\"client\":\"[2001:db8::7]:51234\",\"error\":\"Connection refused\","
		"\"listen\":[\"[::]:2000\",\"0.0.0.0:80\"],\"empty\":[],\"source\":\"-\"}\n",
		"%s", line.text);
	cr_expect(is_well_formed(&line));
}

Test(log, errors_of_either_sign)
{
	static const int rows[] = {EMFILE, -EMFILE, 0, 123456, -123456};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const char *expected;
		struct log_line line;
		char text[128];
		size_t count;

		begin(&line, LOG_JSON, LOG_EVENT_close);
		log_error(&line, "error", rows[i]);
		end(&line);
		expected = strerrordesc_np(abs(rows[i]));
		count = log_text_unescape(line.text, "\"error\":", text, sizeof(text) - 1);
		text[count] = '\0';
		cr_expect_str_eq(text, expected ? expected : "unknown error", "%d: %s", rows[i],
				 text);
	}
}

/* Escaping ------------------------------------------------------------------------------------- */

struct escape_row {
	const char *value;
	const char *logfmt, *json;
};

Test(log, escaping)
{
	static const struct escape_row rows[] = {
		{"plain", "plain", "\"plain\""},
		{"", "\"\"", "\"\""},
		{"two words", "\"two words\"", "\"two words\""},
		{"a=b", "\"a=b\"", "\"a=b\""},
		{"say \"hi\"", "\"say \\\"hi\\\"\"", "\"say \\\"hi\\\"\""},
		{"back\\slash", "\"back\\\\slash\"", "\"back\\\\slash\""},
		{"line\nfeed", "\"line\\nfeed\"", "\"line\\nfeed\""},
		{"x\r\nlevel=info event=ready", "\"x\\x0d\\nlevel=info event=ready\"",
		 "\"x\\u000d\\nlevel=info event=ready\""},
		{"tab\t", "\"tab\\x09\"", "\"tab\\u0009\""},
		{"\x1b[2J", "\"\\x1b[2J\"", "\"\\u001b[2J\""},
		{"\x7f", "\"\\x7f\"", "\"\\u007f\""},
		{"\xc3\xa9", "\"\\xc3\\xa9\"", "\"\\u00c3\\u00a9\""},
		{"[::1]:80", "[::1]:80", "\"[::1]:80\""},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		for (unsigned json = 0; json < 2; json++) {
			char expected[256];
			struct log_line line;

			begin(&line, json ? LOG_JSON : LOG_LOGFMT, LOG_EVENT_close);
			log_text(&line, "value", rows[i].value);
			log_number(&line, "after", 1);
			snprintf(expected, sizeof(expected),
				 json ? ",\"value\":%s,\"after\":1}\n" : " value=%s after=1\n",
				 json ? rows[i].json : rows[i].logfmt);
			cr_expect_not_null(strstr(end(&line), expected), "row %zu: %s", i,
					   line.text);
			cr_expect(is_well_formed(&line), "%s", line.text);
		}
}

/* No bytes in a value can make a second line or change another value. */
Test(log, any_bytes_come_back)
{
	uint64_t state = 3;

	for (unsigned i = 0; i < 4000; i++) {
		size_t count = i < 256 ? 1 : support_random(&state) % 40;
		char value[41], back[64];
		struct log_line line;

		for (size_t j = 0; j < count; j++)
			value[j] = (char)(i < 256 ? i : support_random(&state));
		value[count] = '\0';
		begin(&line, i % 2 ? LOG_JSON : LOG_LOGFMT, LOG_EVENT_close);
		log_text(&line, "value", value);
		log_text(&line, "after", value);
		end(&line);
		cr_assert(is_well_formed(&line), "%s", line.text);
		count = log_text_unescape(line.text, i % 2 ? "\"value\":" : "value=", back,
					  sizeof(back));
		cr_assert_eq(count, strlen(value), "%s", line.text);
		cr_assert(!memcmp(back, value, count), "%s", line.text);
	}
}

/* Truncation ----------------------------------------------------------------------------------- */

/* Values of all lengths around the end of the line: none is cut, and the line stays well-formed. */
static void check_full_line(enum log_format format, size_t value_bytes, bool list)
{
	static char value[LOG_LINE_BYTES + 1];
	struct log_line line;
	bool truncated;

	memset(value, 'x', value_bytes);
	value[value_bytes] = '\0';
	begin(&line, format, LOG_EVENT_close);
	log_text(&line, "long", value);
	if (list) {
		log_list_begin(&line, "list");
		log_list_item(&line, "list", "one");
		log_list_item(&line, "list", "two");
		log_list_end(&line);
	} else {
		log_text(&line, "second", "a \"quoted\" value\n");
	}
	log_number(&line, "third", 12345678);
	end(&line);
	truncated = strstr(line.text,
			   format == LOG_JSON ? ",\"truncated\":true}\n" : " truncated=true\n");
	cr_expect(is_well_formed(&line), "%zu bytes: ...%s", value_bytes,
		  line.text + line.length_bytes - 60);
	cr_expect_leq(line.length_bytes, LOG_LINE_BYTES);
	/* all fields up to the first that did not fit, and none after it */
	cr_expect_neq(truncated, strstr(line.text, "third") != NULL, "%zu bytes", value_bytes);
	cr_expect_eq(strstr(line.text, "long") != NULL, strstr(line.text, "xxx") != NULL);
}

Test(log, long_lines_are_marked_and_well_formed)
{
	for (size_t bytes = LOG_LINE_BYTES - 256; bytes <= LOG_LINE_BYTES; bytes++) {
		check_full_line(LOG_LOGFMT, bytes, false);
		check_full_line(LOG_JSON, bytes, false);
		check_full_line(LOG_LOGFMT, bytes, true);
	}
}

Test(log, long_json_lines_with_a_list_are_well_formed)
{
	for (size_t bytes = LOG_LINE_BYTES - 256; bytes <= LOG_LINE_BYTES; bytes++)
		check_full_line(LOG_JSON, bytes, true);
}

Test(log, a_list_that_is_too_long_is_marked)
{
	for (unsigned json = 0; json < 2; json++) {
		struct log_line line;

		begin(&line, json ? LOG_JSON : LOG_LOGFMT, LOG_EVENT_ready);
		log_list_begin(&line, "listen");
		for (unsigned i = 0; i < 1000; i++)
			log_list_item(&line, "listen", "[2001:db8:1111:2222::1]:12345");
		log_list_end(&line);
		end(&line);
		cr_expect(is_well_formed(&line));
		cr_expect_not_null(strstr(line.text, "truncated"));
	}
}

/* Levels and rates ----------------------------------------------------------------------------- */

struct level_row {
	enum log_event event;
	enum log_level level;
};

Test(log, levels)
{
	static const struct level_row rows[] = {
		{LOG_EVENT_engine_failed, LOG_ERROR},
		{LOG_EVENT_pipes_short, LOG_WARN},
		{LOG_EVENT_ready, LOG_INFO},
	};
	static const char *const names[] = {"level=error", "level=warn", "level=info"};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		for (unsigned level = LOG_ERROR; level <= LOG_DEBUG; level++) {
			struct log_line line;
			bool begun;

			fake_now.tv_sec++;
			log_init(level, LOG_LOGFMT);
			begun = log_begin(&line, rows[i].event);
			cr_expect_eq(begun, level >= rows[i].level, "row %zu, level %u", i, level);
			if (begun)
				cr_expect_not_null(strstr(end(&line), names[rows[i].level]));
		}
}

/* Tries to begin `attempts` lines. Returns the number begun; `text` gets the text of the last. */
static unsigned log_many(enum log_event event, unsigned attempts, char text[256])
{
	unsigned begun = 0;
	struct log_line line;

	for (unsigned i = 0; i < attempts; i++)
		if (log_begin(&line, event)) {
			begun++;
			snprintf(text, 256, "%s", end(&line));
		}
	return begun;
}

Test(log, lines_over_the_rate_are_held_back_and_counted)
{
	char text[256];

	cr_expect_eq(log_many(LOG_EVENT_backend_failed, 5, text), 5);
	cr_expect_eq(log_many(LOG_EVENT_backend_failed, 15, text), 0);
	/* every event has its own rate */
	cr_expect_eq(log_many(LOG_EVENT_accept_failed, 10, text), 2);
	fake_now.tv_sec++;
	cr_expect_eq(log_many(LOG_EVENT_backend_failed, 1, text), 1);
	cr_expect_not_null(strstr(text, " event=backend_failed suppressed=15\n"), "%s", text);
	cr_expect_eq(log_many(LOG_EVENT_backend_failed, 6, text), 4);
	cr_expect_null(strstr(text, "suppressed"), "%s", text);
	fake_now.tv_sec += 3600;
	cr_expect_eq(log_many(LOG_EVENT_backend_failed, 1, text), 1);
	cr_expect_not_null(strstr(text, " suppressed=2\n"), "%s", text);
	cr_expect_eq(log_many(LOG_EVENT_accept_failed, 1, text), 1);
	cr_expect_not_null(strstr(text, " suppressed=8\n"), "%s", text);
}

Test(log, events_without_a_rate_are_never_held_back)
{
	char text[256];

	cr_expect_eq(log_many(LOG_EVENT_close, 300, text), 300);
	cr_expect_eq(log_many(LOG_EVENT_backend_down, 300, text), 300);
	cr_expect_eq(log_many(LOG_EVENT_backend_up, 300, text), 300);
}

/*
 * After the clock was set back, an event is logged at once, not only when the old time comes again.
 */
Test(log, a_clock_that_was_set_back)
{
	char text[256];

	cr_expect_eq(log_many(LOG_EVENT_backend_failed, 10, text), 5);
	fake_now.tv_sec -= 86400;
	cr_expect_eq(log_many(LOG_EVENT_backend_failed, 10, text), 5);
}

/* Time ----------------------------------------------------------------------------------------- */

Test(log, time_agrees_with_the_c_library)
{
	const int64_t last_s = 253402300799; /* 9999-12-31T23:59:59Z */

	log_init(LOG_INFO, LOG_LOGFMT);
	/* every day for 430 years, then every two years and a bit, at changing times of day */
	for (int64_t s = 0; s <= last_s; s += s < 13569465600 ? 86400 + 7 : 63072000 + 4711) {
		char expected[64];
		struct log_line line;
		struct tm tm;

		fake_now.tv_sec = s;
		fake_now.tv_nsec = s % 1000 * 1000000 + 999999;
		cr_assert(log_begin(&line, LOG_EVENT_close));
		line.text[line.length_bytes] = '\0';
		gmtime_r(&fake_now.tv_sec, &tm);
		strftime(expected, sizeof(expected), "ts=%Y-%m-%dT%H:%M:%S", &tm);
		snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected),
			 ".%03dZ level=", (int)(s % 1000));
		cr_assert_eq(strncmp(line.text, expected, strlen(expected)), 0, "%s, not %s",
			     line.text, expected);
	}
}
