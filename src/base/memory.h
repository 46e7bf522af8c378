/* Memory for what several threads change. */
#pragma once

#include <stddef.h>

/*
 * Zeroed memory in cache lines of its own, `bytes` > 0 rounded up to whole ones: aligned_alloc(3). The caller's, to be
 * given to free(3); NULL where there is none.
 */
void *memory_alloc_lines(size_t bytes);
