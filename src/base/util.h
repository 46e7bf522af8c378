/* SPDX-License-Identifier: MIT */
/* Small macros that every layer uses. No functions, no state. */
#pragma once

#include <stddef.h>

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MIN(a, b)	   ((a) < (b) ? (a) : (b))
#define MAX(a, b)	   ((a) > (b) ? (a) : (b))

/* The object whose `member` is at `pointer`, which must not be NULL. */
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#define PRINTF_LIKE(text, first)	    __attribute__((format(printf, text, first)))
#define UNLIKELY(x)			    __builtin_expect(!!(x), 0)

/* Two cores that write to different cache lines do not slow each other down. */
#define CACHE_LINE_BYTES 64
