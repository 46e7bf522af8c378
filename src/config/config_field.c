/* SPDX-License-Identifier: MIT */
#include "config/config_field.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "base/units.h"
#include "config/config_address.h"
#include "config/config_source.h"

static const char *print_count(uint64_t count, char text[UNITS_TEXT_BYTES])
{
	snprintf(text, UNITS_TEXT_BYTES, "%" PRIu64, count);
	return text;
}

struct number_type {
	int (*parse)(const char *text, uint64_t *value);
	const char *(*print)(uint64_t value, char text[UNITS_TEXT_BYTES]);
	const char *form; /* reason and remedy for a text of another form */
	const char *zero; /* the meaning of 0 outside of the range; "": 0 is not allowed there */
};

static const struct number_type number_types[] = {
	[OPTION_COUNT] = {units_parse_count, print_count, "not a number; give a count such as 1000",
			  ""},
	[OPTION_SIZE] = {units_parse_size, units_print_size,
			 "not a size; give bytes or a unit, such as 65536, 64KiB or 1MiB", ""},
	[OPTION_DURATION] =
		{units_parse_duration, units_print_duration,
		 "not a time; give a number and its unit, such as 500ms, 5s, 2m, 1h or 1d",
		 ", or 0 for never"},
	[OPTION_RATE] = {units_parse_rate, units_print_rate,
			 "not a rate; give bytes per second, such as 65536, 64KiB or 1MiB/s",
			 ", or 0 for no limit"},
};

static int set_number(void *field, const struct option_spec *option, const char *text,
		      struct fault *fault)
{
	const struct number_type *type = &number_types[option->type];
	char least[UNITS_TEXT_BYTES], most[UNITS_TEXT_BYTES];
	uint64_t value = 0;
	bool special;
	int parsed;

	CHECK(option->type < ARRAY_COUNT(number_types));
	parsed = type->parse(text, &value);
	special = *type->zero && !parsed && !value;
	if (parsed == -EINVAL)
		return fault_set(fault, NULL, text, "%s", type->form);
	if (parsed || (!special && (value < option->least || value > option->most)))
		return fault_set(fault, NULL, text, "out of range; give %s to %s%s",
				 type->print(option->least, least), type->print(option->most, most),
				 type->zero);
	*(uint64_t *)field = value;
	return 0;
}

static int set_choice(void *field, const struct option_spec *option, const char *text,
		      struct fault *fault)
{
	const char *choice = option->argument;
	size_t length = strlen(text);

	for (uint64_t i = 0; choice; i++) {
		size_t choice_length = strcspn(choice, "|");

		if (choice_length == length && !memcmp(choice, text, length)) {
			*(uint64_t *)field = i;
			return 0;
		}
		choice = choice[choice_length] ? choice + choice_length + 1 : NULL;
	}
	return fault_set(fault, NULL, text, "not one of %s; give one of these", option->argument);
}

bool config_field_read_flag(const char *text, bool *flag)
{
	static const char *const words[][2] = {
		{"0", "1"}, {"no", "yes"}, {"false", "true"}, {"off", "on"}};

	for (size_t i = 0; i < ARRAY_COUNT(words); i++)
		for (int value = 0; value < 2; value++)
			if (!strcasecmp(text, words[i][value])) {
				*flag = value;
				return true;
			}
	return false;
}

static int set_flag(void *field, const char *text, struct fault *fault)
{
	if (config_field_read_flag(text, field))
		return 0;
	return fault_set(fault, NULL, text,
			 "neither yes nor no; give 1, yes, true or on, or 0, no, false or off");
}

/* An address that sixpipe listens on: --metrics. */
static int set_address(void *field, const char *text, struct fault *fault)
{
	struct addr address;
	const char *problem = addr_parse(text, &address);

	if (problem)
		return config_address_explain(CONFIG_ADDRESS_MONITORING, CONFIG_ORIGIN_COMMAND_LINE,
					      text, problem, fault);
	problem = addr_why_not_endpoint(&address);
	if (problem)
		return fault_set_words(fault, NULL, text, problem);
	memcpy(field, &address, sizeof(address));
	return 0;
}

/*
 * Reads an escape at *at, after its backslash, and moves *at after it. Returns the byte; -1: no
 * escape.
 */
static int read_escape(const char **at)
{
	static const char names[] = "rnt\\";
	static const char bytes[] = "\r\n\t\\";
	const char *name = **at ? strchr(names, **at) : NULL;
	char digits[3] = "";

	if (name) {
		++*at;
		return bytes[name - names];
	}
	if (**at != 'x')
		return -1;
	snprintf(digits, sizeof(digits), "%s", *at + 1);
	if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1]))
		return -1;
	*at += 3;
	return (int)strtol(digits, NULL, 16);
}

static int set_bytes(void *field, const struct option_spec *option, const char *text,
		     struct fault *fault)
{
	struct config_bytes read = {0};
	const char *at = text;

	if (!*text)
		return fault_set(fault, NULL, "", "empty; give %s, or leave it out",
				 option->argument);
	while (*at) {
		int byte = (unsigned char)*at++;

		if (byte == '\\')
			byte = read_escape(&at);
		if (byte < 0)
			return fault_set(fault, NULL, text,
					 "a backslash stands before none of r, n, t, xHH or "
					 "another backslash; double it");
		if (read.count == CONFIG_BYTES_LIMIT)
			return fault_set(fault, NULL, text, "too long; %d bytes are the limit",
					 CONFIG_BYTES_LIMIT);
		read.bytes[read.count++] = (char)byte;
	}
	memcpy(field, &read, sizeof(read));
	return 0;
}

/* A name or a path, without quotes. */
static int set_text(void *field, const struct option_spec *option, const char *text,
		    struct fault *fault)
{
	size_t length = strlen(text);

	if (!length)
		return fault_set(fault, NULL, "", "empty; give %s", option->argument);
	if (length > 1 && strchr("\"'", *text) && text[length - 1] == *text)
		return fault_set(fault, NULL, text, "is in quotes; leave them out");
	memcpy(field, &text, sizeof(text));
	return 0;
}

/* Sockets -------------------------------------------------------------------------------------- */

/*
 * The bits of a TOS byte that are not the code point: explicit congestion notification, RFC 3168.
 */
#define ECN_BITS 3

struct code_point {
	const char *name;
	uint8_t tos;
};

/* RFC 2474, RFC 2597, RFC 3246, RFC 8622; shifted by the two bits of ECN. */
static const struct code_point code_points[] = {
	{"cs0", 0 << 2},   {"cs1", 8 << 2},   {"cs2", 16 << 2},	 {"cs3", 24 << 2},
	{"cs4", 32 << 2},  {"cs5", 40 << 2},  {"cs6", 48 << 2},	 {"cs7", 56 << 2},
	{"af11", 10 << 2}, {"af12", 12 << 2}, {"af13", 14 << 2}, {"af21", 18 << 2},
	{"af22", 20 << 2}, {"af23", 22 << 2}, {"af31", 26 << 2}, {"af32", 28 << 2},
	{"af33", 30 << 2}, {"af41", 34 << 2}, {"af42", 36 << 2}, {"af43", 38 << 2},
	{"ef", 46 << 2},   {"le", 1 << 2},
};

/* Reads the whole of `text`: a decimal number, or 0x and a hexadecimal number. */
static bool parse_number(const char *text, uint64_t most, uint64_t *value)
{
	int base = strncasecmp(text, "0x", 2) ? 10 : 16;
	char *end;

	if (!isdigit((unsigned char)*text) || (base == 16 && !isxdigit((unsigned char)text[2])))
		return false;
	errno = 0;
	*value = strtoull(text, &end, base);
	return !errno && !*end && *value <= most;
}

static int set_tos(uint64_t *tos, const char *text, struct fault *fault)
{
	uint64_t value;

	for (size_t i = 0; i < ARRAY_COUNT(code_points); i++)
		if (!strcasecmp(text, code_points[i].name)) {
			*tos = code_points[i].tos;
			return 0;
		}
	if (!parse_number(text, UINT8_MAX, &value))
		return fault_set(fault, NULL, text,
				 "neither a code point nor a byte; give cs0 to cs7, af11 to af43, "
				 "ef, le, or 0 to 255");
	if (value & ECN_BITS)
		return fault_set(
			fault, NULL, text,
			"the last two bits are ECN's, which TCP sets itself; give a multiple of 4");
	*tos = value;
	return 0;
}

static int set_mark(uint64_t *mark, const char *text, struct fault *fault)
{
	uint64_t value;

	if (!parse_number(text, UINT32_MAX, &value) || !value)
		return fault_set(fault, NULL, text,
				 "not a mark; give 1 to 4294967295, or 0x1 to 0xffffffff");
	*mark = value;
	return 0;
}

static int set_mode(uint64_t *mode, const char *text, struct fault *fault)
{
	size_t digits = strspn(text, "01234567");

	if (!digits || text[digits] || digits > 4 || strtoul(text, NULL, 8) > 0777)
		return fault_set(fault, NULL, text,
				 "not the mode of a file; give it in octal, such as 0660");
	*mode = strtoul(text, NULL, 8);
	return 0;
}

static int set_ports(struct sock_ports *ports, const char *text, struct fault *fault)
{
	unsigned long first, last;

	if (!config_address_read_range(text, &first, &last) || !first || first > last ||
	    last > 65535)
		return fault_set(fault, NULL, text,
				 "not a range of ports; give FIRST-LAST, such as 40000-49999, of 1 "
				 "to 65535");
	ports->first = (uint16_t)first;
	ports->last = (uint16_t)last;
	return 0;
}

/* Lists ---------------------------------------------------------------------------------------- */

/* Adds blocks of --trust, with commas between them. */
static int add_cidrs(struct config_forward_options *options, const char *text, struct fault *fault)
{
	char word[CIDR_TEXT_BYTES];
	struct cidr cidr;

	for (const char *at = text; at;) {
		const char *problem = config_rules_next(&at, &cidr, word);

		if (options->trust_count == CONFIG_TRUST_LIMIT)
			return fault_set(
				fault, NULL, word,
				"one too many; %d per listener are the limit, name larger blocks",
				CONFIG_TRUST_LIMIT);
		if (problem)
			return fault_set_words(fault, NULL, word, problem);
		options->trust[options->trust_count++] = cidr;
	}
	return 0;
}

/* Sets a TLV, 0xE0=text; replaces an earlier TLV of the same type. */
static int set_tlv(struct config_forward_options *options, const char *text, struct fault *fault)
{
	struct proxy_custom custom;
	const char *value = strchr(text, '=');
	size_t bytes = value ? strlen(value + 1) : 0;
	unsigned i = 0;

	switch (proxy_custom_parse(text, &custom)) {
	case 0:
		break;
	case -ERANGE:
		return fault_set(fault, NULL, text,
				 "the type is not free for custom use; give 0xE0 to 0xEF");
	case -EMSGSIZE:
		return fault_set(fault, NULL, text, "too long; %d bytes of text are the limit",
				 PROXY_CUSTOM_LIMIT);
	default:
		return fault_set(fault, NULL, text, "not TYPE=TEXT; write it as in 0xE0=text");
	}
	while (i < options->proxy_tlv_count && options->proxy_tlvs[i].type != custom.type)
		i++;
	CHECK(i < CONFIG_TLV_LIMIT);
	for (unsigned j = 0; j < options->proxy_tlv_count; j++)
		bytes += j == i ? 0 : strlen(options->proxy_tlvs[j].text);
	if (bytes > CONFIG_TLV_BYTES_LIMIT)
		return fault_set(
			fault, NULL, text,
			"too long; %d bytes of text are the limit for all of them together",
			CONFIG_TLV_BYTES_LIMIT);
	options->proxy_tlvs[i] = custom;
	options->proxy_tlv_count = MAX(options->proxy_tlv_count, i + 1);
	return 0;
}

/* Adds a rule: --allow, --deny and their files. Checks the blocks; does not open files. */
static int add_rule(struct config_forward_options *options, const struct option_spec *option,
		    const char *text, struct fault *fault)
{
	bool file = option->type == OPTION_ALLOW_FILE || option->type == OPTION_DENY_FILE;
	bool allow = option->type == OPTION_ALLOW || option->type == OPTION_ALLOW_FILE;
	char word[CIDR_TEXT_BYTES];
	struct cidr cidr;

	if (options->rule_count == CONFIG_RULE_LIMIT)
		return fault_set(fault, NULL, text,
				 "one too many; %d such options per listener are the limit, put "
				 "the blocks into a file",
				 CONFIG_RULE_LIMIT);
	if (file && !*text)
		return fault_set(fault, NULL, "", "empty; give %s", option->argument);
	for (const char *at = file ? NULL : text; at;) {
		const char *problem = config_rules_next(&at, &cidr, word);

		if (problem)
			return fault_set_words(fault, NULL, word, problem);
	}
	options->rules[options->rule_count++] =
		(struct config_rule){.text = text, .allow = allow, .file = file};
	return 0;
}

int config_field_set(void *owner, const struct option_spec *option, const char *text,
		     struct fault *fault)
{
	void *field = (char *)owner + option->offset;

	switch (option->type) {
	case OPTION_ADDRESS:
		return set_address(field, text, fault);
	case OPTION_FLAG:
		return set_flag(field, text, fault);
	case OPTION_CHOICE:
		return set_choice(field, option, text, fault);
	case OPTION_CIDRS:
		return add_cidrs(owner, text, fault);
	case OPTION_TLV:
		return set_tlv(owner, text, fault);
	case OPTION_BYTES:
		return set_bytes(field, option, text, fault);
	case OPTION_SOURCE:
		return config_source_parse(field, text, fault);
	case OPTION_ALLOW:
	case OPTION_DENY:
	case OPTION_ALLOW_FILE:
	case OPTION_DENY_FILE:
		return add_rule(owner, option, text, fault);
	case OPTION_TOS:
		return set_tos(field, text, fault);
	case OPTION_MARK:
		return set_mark(field, text, fault);
	case OPTION_MODE:
		return set_mode(field, text, fault);
	case OPTION_PORTS:
		return set_ports(field, text, fault);
	case OPTION_TEXT:
	case OPTION_SERVERS:
		return set_text(field, option, text, fault);
	default:
		return set_number(field, option, text, fault);
	}
}
