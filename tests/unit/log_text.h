/* SPDX-License-Identifier: MIT */
/* Parses log lines: are they well-formed, and which value was escaped? */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Whether `text` is one JSON object (RFC 8259, ASCII alone) and a newline. */
bool log_text_is_json(const char *text, size_t count);

/* Whether `text` is `key=value` pairs with one space between them, and a newline. */
bool log_text_is_logfmt(const char *text, size_t count);

/*
 * Undoes the escaping of the value that follows the first `before` in `text` and ends at a quote or
 * a space. Bytes stand as \xNN or \u00NN. Returns their number, at most `limit`.
 */
size_t log_text_unescape(const char *text, const char *before, char *bytes, size_t limit);
