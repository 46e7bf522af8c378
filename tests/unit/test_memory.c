/* SPDX-License-Identifier: MIT */
#include "base/memory.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(memory, .fini = support_check_leaks);

Test(memory, lines_of_its_own)
{
	static const size_t sizes[] = {1, CACHE_LINE_BYTES - 1, CACHE_LINE_BYTES,
				       CACHE_LINE_BYTES + 1, 100000};

	for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
		size_t whole =
			(sizes[i] + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
		unsigned char *memory = memory_alloc_lines(sizes[i]);

		cr_assert_not_null(memory);
		cr_expect_eq((uintptr_t)memory % CACHE_LINE_BYTES, 0, "%zu bytes", sizes[i]);
		for (size_t at = 0; at < whole; at++)
			cr_expect_eq(memory[at], 0, "%zu of %zu bytes", at, sizes[i]);
		/* the last cache line is whole, or a sanitizer reports it */
		memset(memory, 0xff, whole);
		free(memory);
	}
}
