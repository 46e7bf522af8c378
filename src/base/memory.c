/* SPDX-License-Identifier: MIT */
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"

void *memory_alloc_lines(size_t bytes)
{
	size_t whole = (bytes + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
	void *memory = aligned_alloc(CACHE_LINE_BYTES, whole);

	return memory ? memset(memory, 0, whole) : NULL;
}
