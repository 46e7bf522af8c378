/* SPDX-License-Identifier: MIT */
/* Text as a string of JSON: RFC 8259, section 7. */
#pragma once

#include <stdio.h>

#define JSON_BYTE_BYTES 8

/*
 * Prints a byte as it is written within a string. Bytes that are not printable ASCII become \u00XX.
 * Returns `text`.
 */
const char *json_print_byte(char byte, char text[JSON_BYTE_BYTES]);

/* Prints a string with its quotes. */
void json_print_string(FILE *out, const char *text);
