/* Small macros that every layer uses. No functions, no state. */
#pragma once

#include <stddef.h>

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MIN(a, b)	   ((a) < (b) ? (a) : (b))
#define MAX(a, b)	   ((a) > (b) ? (a) : (b))

/* The object that holds `member` at `pointer`; NULL must not be passed. */
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#define PRINTF_LIKE(text, first)	    __attribute__((format(printf, text, first)))
#define UNLIKELY(x)			    __builtin_expect(!!(x), 0)

/* Two cores that write different lines of this size do not disturb each other. */
#define CACHE_LINE_BYTES 64
