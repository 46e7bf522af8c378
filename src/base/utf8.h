/* UTF-8 (RFC 3629), as far as it must be told from what would garble a terminal or a log. */
#pragma once

#include <stddef.h>
#include <stdio.h>

/*
 * The length in bytes of the character that `text` begins with, of which `count` bytes are there; 0 when it
 * is none, or a control character (C0, DEL, C1).
 */
size_t utf8_printable(const char *text, size_t count);

/* Prints a text; bytes of it that are no such character are shown as \xHH. */
void utf8_print(FILE *out, const char *text);
