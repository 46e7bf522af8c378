/* SPDX-License-Identifier: MIT */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

#include "base/util.h"

size_t utf8_printable(const char *text, size_t count)
{
	/* by length: mark and mask of the first byte, and the least character of this length */
	static const struct {
		uint8_t mark, mask;
		uint32_t least;
	} forms[] = {
		{0x00, 0x80, ' '}, {0xc0, 0xe0, 0xa0}, {0xe0, 0xf0, 0x800}, {0xf0, 0xf8, 0x10000}};
	const uint8_t *bytes = (const uint8_t *)text;

	for (size_t length = 1; length <= MIN(count, ARRAY_COUNT(forms)); length++) {
		uint32_t character = bytes[0] & (uint8_t)~forms[length - 1].mask;

		if ((bytes[0] & forms[length - 1].mask) != forms[length - 1].mark)
			continue;
		for (size_t i = 1; i < length; i++) {
			if ((bytes[i] & 0xc0) != 0x80)
				return 0;
			character = character << 6 | (bytes[i] & 0x3f);
		}
		if (character < forms[length - 1].least || character == 0x7f ||
		    character > 0x10ffff || (character >= 0xd800 && character < 0xe000))
			return 0;
		return length;
	}
	return 0;
}

void utf8_print(FILE *out, const char *text)
{
	while (*text) {
		size_t length = utf8_printable(text, strlen(text));

		if (length)
			fwrite(text, length, 1, out);
		else
			fprintf(out, "\\x%02x", (unsigned char)*text);
		text += MAX(length, 1);
	}
}
