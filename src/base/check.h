/* SPDX-License-Identifier: MIT */
/*
 * Assertions that stay on in release builds.
 *
 * CHECK is only for programming errors: an invariant of this program that no peer, operator or
 * answer of the kernel can break. An operational error is a negative errno, never a CHECK. A
 * condition has no side effect; it may only call functions that change nothing
 * (scripts/check-assertions).
 */
#pragma once

#include "base/util.h"

/* Writes a line with file, line and condition to stderr, then abort(3). Async-signal-safe. */
_Noreturn void check_failed(const char *file, int line, const char *condition);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (UNLIKELY(!(condition)))                                                        \
			check_failed(__FILE__, __LINE__, #condition);                              \
	} while (0)
