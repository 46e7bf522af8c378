/* SPDX-License-Identifier: MIT */
/* Memory for data that several threads change. */
#pragma once

#include <stddef.h>

/*
 * Allocates zeroed memory that shares no cache line with other data: aligned_alloc(3), with `bytes`
 * > 0 rounded up to whole lines. The caller must free(3) it. Returns NULL if there is no memory.
 */
void *memory_alloc_lines(size_t bytes);
