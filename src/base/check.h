/*
 * Assertions that stay on in release builds.
 *
 * CHECK is for programming errors alone: an invariant of this program that no peer, operator or
 * kernel answer may break. An operational error is a negative errno, never a CHECK. A condition has no side effect, and
 * calls only what looks (scripts/check-assertions).
 */
#pragma once

#include "base/util.h"

/* Writes one line naming the place and the condition to stderr, then abort(3). Async-signal-safe. */
_Noreturn void check_failed(const char *file, int line, const char *condition);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (UNLIKELY(!(condition)))                                                        \
			check_failed(__FILE__, __LINE__, #condition);                              \
	} while (0)
