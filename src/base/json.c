/* SPDX-License-Identifier: MIT */
#include "base/json.h"

const char *json_print_byte(char byte, char text[JSON_BYTE_BYTES])
{
	unsigned code = (unsigned char)byte;

	if (byte == '\n')
		snprintf(text, JSON_BYTE_BYTES, "\\n");
	else if (code < ' ' || code > '~')
		snprintf(text, JSON_BYTE_BYTES, "\\u%04x", code);
	else
		snprintf(text, JSON_BYTE_BYTES, "%s%c", byte == '"' || byte == '\\' ? "\\" : "",
			 byte);
	return text;
}

void json_print_string(FILE *out, const char *text)
{
	char byte[JSON_BYTE_BYTES];

	fputc('"', out);
	for (; *text; text++)
		fputs(json_print_byte(*text, byte), out);
	fputc('"', out);
}
