/* SPDX-License-Identifier: MIT */
/* Tells UTF-8 text (RFC 3629) from bytes that would garble a terminal or a log. */
#pragma once

#include <stddef.h>
#include <stdio.h>

/*
 * The length in bytes of the first character of `text`, which has `count` bytes. 0 if the bytes are
 * not a character, or a control character (C0, DEL, C1).
 */
size_t utf8_printable(const char *text, size_t count);

/* Prints a text. Bytes for which utf8_printable() returns 0 are printed as \xHH. */
void utf8_print(FILE *out, const char *text);
