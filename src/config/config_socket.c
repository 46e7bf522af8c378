#include "config/config_socket.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The bits of the byte that are not the code point: explicit congestion notification, RFC 3168. */
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

/* Decimal, or hexadecimal behind 0x; nothing else in `text`. */
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

int config_socket_parse_tos(uint64_t *tos, const char *text, struct fault *fault)
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

int config_socket_parse_mark(uint64_t *mark, const char *text, struct fault *fault)
{
	uint64_t value;

	if (!parse_number(text, UINT32_MAX, &value) || !value)
		return fault_set(fault, NULL, text,
				 "not a mark; give 1 to 4294967295, or 0x1 to 0xffffffff");
	*mark = value;
	return 0;
}

int config_socket_parse_mode(uint64_t *mode, const char *text, struct fault *fault)
{
	size_t digits = strspn(text, "01234567");

	if (!digits || text[digits] || digits > 4 || strtoul(text, NULL, 8) > 0777)
		return fault_set(fault, NULL, text,
				 "not the mode of a file; give it in octal, such as 0660");
	*mode = strtoul(text, NULL, 8);
	return 0;
}

/* FIRST-LAST and nothing else. */
static bool read_range(const char *text, unsigned long *first, unsigned long *last)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	*first = strtoul(text, &end, 10);
	if (*end != '-' || !isdigit((unsigned char)end[1]))
		return false;
	*last = strtoul(end + 1, &end, 10);
	return !*end;
}

int config_socket_parse_ports(struct sock_ports *ports, const char *text, struct fault *fault)
{
	unsigned long first, last;

	if (!read_range(text, &first, &last) || !first || first > last || last > 65535)
		return fault_set(fault, NULL, text,
				 "not a range of ports; give FIRST-LAST, such as 40000-49999, of 1 "
				 "to 65535");
	ports->first = (uint16_t)first;
	ports->last = (uint16_t)last;
	return 0;
}

const char *config_socket_split_range(const char *text, char *word, size_t word_bytes,
				      unsigned *port_count)
{
	const char *colon = strrchr(text, ':');
	unsigned long first, last;
	size_t length;

	*port_count = 1;
	snprintf(word, word_bytes, "%s", text);
	if (!colon || !read_range(colon + 1, &first, &last))
		return NULL;
	if (!first || last > 65535)
		return "has ports outside of 1 to 65535; give two of these";
	if (first > last)
		return "has a range of ports that ends before it begins; write the lower one first";
	length = (size_t)(strchr(colon, '-') - text);
	if (length < word_bytes)
		word[length] = '\0';
	*port_count = (unsigned)(last - first + 1);
	return NULL;
}
