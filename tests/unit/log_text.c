/* SPDX-License-Identifier: MIT */
#include "log_text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

/* The text left to read; NULL after an error. */
struct reader {
	const char *at;
	const char *end;
};

static bool take(struct reader *reader, const char *text)
{
	size_t count = strlen(text);

	if ((size_t)(reader->end - reader->at) < count || memcmp(reader->at, text, count))
		return false;
	reader->at += count;
	return true;
}

static bool take_hex(struct reader *reader, unsigned digits)
{
	for (; digits; digits--, reader->at++)
		if (reader->at == reader->end || !isxdigit((unsigned char)*reader->at))
			return false;
	return true;
}

/* A string in quotes; `hex` begins an escape of `hex_digits`: \u0000 or \x00. */
static bool take_string(struct reader *reader, const char *hex, unsigned hex_digits)
{
	if (!take(reader, "\""))
		return false;
	while (reader->at < reader->end) {
		unsigned char byte = (unsigned char)*reader->at;

		if (take(reader, "\""))
			return true;
		if (take(reader, hex)) {
			if (!take_hex(reader, hex_digits))
				return false;
		} else if (byte == '\\') {
			if (!take(reader, "\\\\") && !take(reader, "\\\"") && !take(reader, "\\n"))
				return false;
		} else if (byte < 0x20 || byte >= 0x7f) {
			return false;
		} else {
			reader->at++;
		}
	}
	return false;
}

static bool take_number(struct reader *reader)
{
	const char *start = reader->at;

	while (reader->at < reader->end && isdigit((unsigned char)*reader->at))
		reader->at++;
	return reader->at > start && (*start != '0' || reader->at == start + 1);
}

static bool take_json_value(struct reader *reader)
{
	if (reader->at == reader->end)
		return false;
	if (*reader->at == '"')
		return take_string(reader, "\\u", 4);
	if (take(reader, "true") || take(reader, "[]"))
		return true;
	if (!take(reader, "["))
		return take_number(reader);
	do {
		if (!take_json_value(reader))
			return false;
	} while (take(reader, ","));
	return take(reader, "]");
}

bool log_text_is_json(const char *text, size_t count)
{
	struct reader reader = {text, text + count};

	if (!take(&reader, "{"))
		return false;
	do {
		if (!take_string(&reader, "\\u", 4) || !take(&reader, ":") ||
		    !take_json_value(&reader))
			return false;
	} while (take(&reader, ","));
	return take(&reader, "}\n") && reader.at == reader.end;
}

static bool take_bare(struct reader *reader)
{
	const char *start = reader->at;

	while (reader->at<reader->end && * reader->at> ' ' && *reader->at < 0x7f &&
	       !strchr("\"=\\", *reader->at))
		reader->at++;
	return reader->at > start;
}

bool log_text_is_logfmt(const char *text, size_t count)
{
	struct reader reader = {text, text + count};

	do {
		if (!take_bare(&reader) || !take(&reader, "="))
			return false;
		if (!take_bare(&reader) && !take_string(&reader, "\\x", 2))
			return false;
	} while (take(&reader, " "));
	return take(&reader, "\n") && reader.at == reader.end;
}

static unsigned char unescape_one(const char **at)
{
	char hex[5] = "";
	unsigned digits = (*at)[1] == 'u' ? 4 : 2;

	switch ((*at)[1]) {
	case 'n':
		*at += 2;
		return '\n';
	case 'u':
	case 'x':
		memcpy(hex, *at + 2, digits);
		*at += 2 + digits;
		return (unsigned char)strtoul(hex, NULL, 16);
	default:
		*at += 2;
		return (unsigned char)(*at)[-1];
	}
}

size_t log_text_unescape(const char *text, const char *before, char *bytes, size_t limit)
{
	const char *at = strstr(text, before);
	bool quoted;
	size_t count = 0;

	if (!at)
		return 0;
	at += strlen(before);
	quoted = *at == '"';
	at += quoted;
	while (count < limit && *at && *at != (quoted ? '"' : ' ') && *at != '\n') {
		if (*at == '\\')
			bytes[count++] = (char)unescape_one(&at);
		else
			bytes[count++] = *at++;
	}
	return count;
}
