/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. libinih splits `name = value`, removes blanks and comments, and gives each
 * pair to on_pair(). read_line() gives the lines to libinih one by one, counts them, and handles
 * what the library would ignore or misread:
 *
 * - NULs and other bytes that a line cannot have;
 * - lines that are longer than the library's buffer;
 * - indented lines, which the library would add to the line before;
 * - section headers, of which the library gives the first 49 bytes, and only if a pair follows.
 *
 * So every mistake is found, and a mistake on one line does not affect the next.
 *
 * The lines are read once, in their order, as on the command line. This is why [global] comes
 * first.
 */
#include "config/config_file.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/utf8.h"
#include "config/config_origin.h"

#define BLANKS	    " \t"
#define NAME_BYTES  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
#define SHOWN_BYTES 150 /* of a file's name */

static char comment_prefixes[] = "#;";

enum section {
	SECTION_GLOBAL,
	SECTION_FORWARD,
	SECTION_SKIPPED, /* its header was wrong */
};

struct reader {
	struct config *config;
	const char *at, *end; /* the text that is not read yet */
	unsigned line;
	enum section section;
	unsigned section_line;		/* of its header; 0: none yet */
	struct config_forward *forward; /* of SECTION_FORWARD */
	bool globals_broken;   /* a line was refused: options may be missing in all forwards */
	bool lost_line;	       /* of this section, and its option is not known */
	bool has_any;	       /* a section or a pair */
	unsigned *given_lines; /* by option: its line in this section; 0: none yet */
};

static void add_fault(struct reader *reader, const struct fault *fault)
{
	config_errors_add(&reader->config->errors, fault);
	if (reader->section == SECTION_FORWARD)
		reader->forward->broken = true;
	else
		reader->globals_broken = true;
}

/* Returns 1, the result of an ini_handler for a pair that was handled. */
PRINTF_LIKE(3, 4)
static int fail(struct reader *reader, unsigned line, const char *format, ...)
{
	char place[FAULT_VALUE_BYTES];
	struct fault fault;
	va_list arguments;

	snprintf(place, sizeof(place), "%.*s:%u", SHOWN_BYTES, reader->config->file, line);
	va_start(arguments, format);
	fault_set_list(&fault, NULL, place, format, arguments);
	va_end(arguments);
	fault.kind = FAULT_OF_OBJECT;
	add_fault(reader, &fault);
	return 1;
}

static size_t index_of(const struct option_spec *option)
{
	size_t count;

	return (size_t)(option - options_list(&count));
}

/* Sections ------------------------------------------------------------------------------------- */

/*
 * Reports a missing listen or backend at the end of a section, unless a lost line may have had it.
 */
static void end_section(struct reader *reader)
{
	static const char *const needed[] = {"listen", "backend"};

	if (reader->section != SECTION_FORWARD || reader->lost_line)
		return;
	for (size_t i = 0; i < ARRAY_COUNT(needed); i++)
		if (!reader->given_lines[index_of(options_find(needed[i], strlen(needed[i])))])
			fail(reader, reader->section_line,
			     "[forward %s]: has no %s; add %s = ADDRESS", reader->forward->name,
			     needed[i], needed[i]);
}

/* The next lines are of an unknown section. */
static void skip_section(struct reader *reader)
{
	reader->section = SECTION_SKIPPED;
	reader->section_line = reader->line;
}

static void begin_globals(struct reader *reader)
{
	if (reader->section_line) {
		fail(reader, reader->line,
		     "[global]: comes %s; put it before the first [forward NAME]",
		     reader->section == SECTION_GLOBAL ? "twice" : "behind another section");
		reader->section = SECTION_SKIPPED;
	}
	reader->section_line = reader->line;
}

static void begin_forward(struct reader *reader, const char *name)
{
	struct config *config = reader->config;
	const struct config_forward *other = config_find_forward(config, name);
	size_t count;

	skip_section(reader);
	options_list(&count);
	memset(reader->given_lines, 0, count * sizeof(*reader->given_lines));
	reader->lost_line = false;
	config->origin = (struct config_origin){.kind = CONFIG_ORIGIN_FILE, .line = reader->line};
	if (!config_is_name(name)) {
		fail(reader, reader->line, "[forward %.80s]: " CONFIG_NO_NAME, name);
	} else if (other) {
		fail(reader, reader->line,
		     "[forward %s]: is at line %u already; give this one another name", name,
		     other->origin.line);
	} else if (!(reader->forward =
			     config_begin_forward(config, config_text_keep(&config->kept, name)))) {
		fail(reader, reader->line, "[forward %s]: " CONFIG_TOO_MANY_FORWARDS, name);
	} else {
		reader->section = SECTION_FORWARD;
		reader->forward->broken = reader->globals_broken;
	}
}

/* Reads a line that begins with '['. Changes `header`. */
static void parse_section(struct reader *reader, char *header)
{
	char *end = strchr(header, ']');
	const char *rest = end ? end + 1 + strspn(end + 1, BLANKS) : "";
	char *kind = header + 1 + strspn(header + 1, BLANKS), *name;
	size_t length;

	end_section(reader);
	if (!end || (*rest && *rest != '#' && *rest != ';')) {
		skip_section(reader);
		fail(reader, reader->line, "%.80s: not a section; write [global] or [forward NAME]",
		     header);
		return;
	}
	while (end > kind && strchr(BLANKS, end[-1]))
		end--;
	*end = '\0';
	length = strcspn(kind, BLANKS);
	name = kind + length + strspn(kind + length, BLANKS);
	if (length == strlen("forward") && !memcmp(kind, "forward", length)) {
		begin_forward(reader, name);
	} else if (!strcmp(kind, "global")) {
		begin_globals(reader);
	} else {
		skip_section(reader);
		fail(reader, reader->line,
		     "[%.80s]: no such section; write [global] or [forward NAME]", kind);
	}
}

/* Lines ---------------------------------------------------------------------------------------- */

/* The position of the first byte that a line cannot have; `count`: none. */
static size_t find_bad_byte(const char *line, size_t count)
{
	size_t at = 0, length;

	while (at < count &&
	       (length = line[at] == '\t' ? 1 : utf8_printable(line + at, count - at)))
		at += length;
	return at;
}

/*
 * Handles a line that cannot be read, by its first byte: a header ends the section before, a
 * comment is no loss, and anything else may be an option that the section then lacks.
 */
static void lose_line(struct reader *reader, const char *line, size_t count)
{
	while (count && (*line == ' ' || *line == '\t')) {
		line++;
		count--;
	}
	if (!count || (*line && strchr(comment_prefixes, *line)))
		return;
	reader->has_any = true;
	if (*line != '[') {
		reader->lost_line = true;
		return;
	}
	end_section(reader);
	skip_section(reader);
}

/* Checks the length and the bytes of a line. */
static bool check_bytes(struct reader *reader, const char *line, size_t count)
{
	size_t bad = find_bad_byte(line, MIN(count, CONFIG_FILE_LINE_LIMIT));

	if (count <= CONFIG_FILE_LINE_LIMIT && bad == count)
		return true;
	lose_line(reader, line, count);
	if (count > CONFIG_FILE_LINE_LIMIT)
		fail(reader, reader->line, "has %zu bytes; %d are the limit of a line", count,
		     CONFIG_FILE_LINE_LIMIT);
	else
		fail(reader, reader->line,
		     "byte %zu is 0x%02x, a control character or no UTF-8; remove it", bad + 1,
		     (unsigned char)line[bad]);
	return false;
}

/* Handles a line without blanks around it. Returns whether the line is a pair, for libinih. */
static bool check_line(struct reader *reader, char *line)
{
	size_t name_length = strspn(line, NAME_BYTES);
	const char *after = line + name_length + strspn(line + name_length, BLANKS);

	if (!*line || strchr(comment_prefixes, *line))
		return false;
	reader->has_any = true;
	if (*line == '[') {
		parse_section(reader, line);
		return false;
	}
	if (reader->section == SECTION_SKIPPED)
		return false;
	if (name_length && *after == '=')
		return true;
	reader->lost_line = true;
	fail(reader, reader->line, "%.80s: no '=' behind an option's name; write NAME = VALUE",
	     line);
	return false;
}

/* An ini_reader: copies the next line with a pair into `line`, which has `size` bytes. */
static char *read_line(char *line, int size, void *stream)
{
	struct reader *reader = stream;

	while (reader->at < reader->end) {
		const char *begin = reader->at;
		const char *newline = memchr(begin, '\n', (size_t)(reader->end - begin));
		const char *end = newline ? newline : reader->end;
		size_t count;

		reader->at = newline ? newline + 1 : end;
		reader->line++;
		if (end > begin && end[-1] == '\r')
			end--;
		if (!check_bytes(reader, begin, (size_t)(end - begin)))
			continue;
		while (begin < end && strchr(BLANKS, *begin))
			begin++;
		while (begin < end && strchr(BLANKS, end[-1]))
			end--;
		count = (size_t)(end - begin);
		CHECK((size_t)size > count);
		memcpy(line, begin, count);
		line[count] = '\0';
		if (check_line(reader, line))
			return line;
	}
	return NULL;
}

/* Pairs ---------------------------------------------------------------------------------------- */

static int fail_unknown(struct reader *reader, const char *name)
{
	const struct option_spec *near = options_suggest(name, strlen(name));
	const char *remedy = options_foreign_remedy(name, strlen(name));

	if (options_find_parameter(name, strlen(name)))
		return fail(
			reader, reader->line,
			"%.80s: is for one backend; write it behind the address, backend = ADDRESS "
			"%.80s=...",
			name, name);
	if (remedy)
		return fail(reader, reader->line, "%.80s: no such option; %s", name, remedy);
	if (near && near->group != OPTION_GROUP_GENERAL)
		return fail(reader, reader->line, "%.80s: no such option; did you mean %s?", name,
			    near->name);
	return fail(reader, reader->line, "%.80s: no such option; sixpipe --help all lists them",
		    name);
}

/* Why an option cannot be in this section, or NULL. */
static const char *why_misplaced(const struct reader *reader, const struct option_spec *option)
{
	if (option->group == OPTION_GROUP_GENERAL)
		return "is for the command line alone; leave it out";
	if (reader->section == SECTION_FORWARD && !options_is_of_forward(option))
		return "is of the whole process; put it before the first section";
	if (reader->section == SECTION_GLOBAL &&
	    (option->type == OPTION_LISTEN || option->type == OPTION_BACKEND))
		return "is of one forward; put it behind a line [forward NAME]";
	return NULL;
}

/* An ini_handler. */
static int on_pair(void *user, const char *section, const char *name, const char *value)
{
	struct reader *reader = user;
	struct config *config = reader->config;
	const struct option_spec *option = options_find(name, strlen(name));
	struct fault fault;
	const char *misplaced;
	unsigned *given;

	(void)section; /* see parse_section() */
	if (!option)
		return fail_unknown(reader, name);
	misplaced = why_misplaced(reader, option);
	if (misplaced)
		return fail(reader, reader->line, "%s: %s", name, misplaced);
	given = &reader->given_lines[index_of(option)];
	if (*given && !config_is_list(option))
		return fail(reader, reader->line,
			    "%s: is at line %u already; leave one of them out", name, *given);
	*given = reader->line;
	/* libinih needs a blank before a comment; here there is none, as in "name =# text" */
	if (strchr(comment_prefixes, *value))
		value = "";
	if (strlen(value) > CONFIG_FILE_VALUE_LIMIT)
		return fail(reader, reader->line, "%s: has %zu bytes; %d are the limit of a value",
			    name, strlen(value), CONFIG_FILE_VALUE_LIMIT);
	config->origin = (struct config_origin){.kind = CONFIG_ORIGIN_FILE, .line = reader->line};
	if (config_set(config, option, value, &fault))
		add_fault(reader, &fault);
	return 1;
}

void config_file_parse(struct config *config, const char *path, const char *text, size_t count)
{
	static const char mark[] = "\xef\xbb\xbf"; /* the byte order mark that some editors write */
	size_t option_count;
	struct reader reader = {.config = config, .at = text, .end = text + count};
	int result;

	options_list(&option_count);
	reader.given_lines = calloc(option_count, sizeof(*reader.given_lines));
	CHECK(reader.given_lines);
	config->file = config_text_keep(&config->kept, path);
	if (count >= strlen(mark) && !memcmp(text, mark, strlen(mark)))
		reader.at += strlen(mark);

	ini_use_stack = false;
	ini_max_line = ini_initial_alloc = CONFIG_FILE_LINE_LIMIT + 3;
	ini_allow_multiline = false;
	ini_inline_comment_prefixes = comment_prefixes;
	result = ini_parse_stream(read_line, &reader, on_pair, &reader);
	CHECK(!result); /* on_pair() takes every line, and nothing is allocated */

	end_section(&reader);
	reader.section = SECTION_GLOBAL;
	if (!reader.has_any)
		fail(&reader, 1, "holds no option; write NAME = VALUE and [forward NAME]");
	config->early_forward_count = config->forward_count;
	free(reader.given_lines);
}

/* Files ---------------------------------------------------------------------------------------- */

void config_file_read(struct config *config, const char *path)
{
	char *text = config_grow(NULL, CONFIG_FILE_LIMIT_BYTES + 1, 1);
	FILE *file = fopen(path, "re");
	size_t count = file ? fread(text, 1, CONFIG_FILE_LIMIT_BYTES + 1, file) : 0;
	struct fault fault = {0};

	if (!file || ferror(file))
		fault_set(&fault, "config", path,
			  "cannot be read: %s; give a file that this user may read",
			  strerror(errno));
	else if (count > CONFIG_FILE_LIMIT_BYTES)
		fault_set(&fault, "config", path, "has more than %d MiB; is this the right file?",
			  CONFIG_FILE_LIMIT_BYTES >> 20);
	else
		config_file_parse(config, path, text, count);
	if (*fault.reason)
		config_errors_add(&config->errors, &fault);
	if (file)
		fclose(file);
	free(text);
}
