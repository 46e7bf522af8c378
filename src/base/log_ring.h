/* SPDX-License-Identifier: MIT */
/* How log.c hands finished lines to the log rings. log.h has the functions for other files. */
#pragma once

#include "base/log.h"

/*
 * Puts a whole line with its newline, at most LOG_LINE_BYTES, into the thread's log ring, or counts
 * the line as dropped. In a thread without a ring, writes the line at once, which may block.
 */
void log_ring_put(enum log_level level, const char *line, size_t length_bytes);
