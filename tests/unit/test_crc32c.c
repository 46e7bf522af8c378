/* SPDX-License-Identifier: MIT */
#include "base/crc32c.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(crc32c, .fini = support_check_leaks);

/* The last three are from RFC 3720, B.4, which has the same checksum. */
Test(crc32c, vectors)
{
	uint8_t zeros[32] = {0}, ones[32], rising[32];
	const struct {
		const void *bytes;
		size_t count;
		uint32_t crc;
	} rows[] = {
		{"", 0, 0},
		{"123456789", 9, 0xe3069283},
		{zeros, sizeof(zeros), 0x8a9136aa},
		{ones, sizeof(ones), 0x62a8ab43},
		{rising, sizeof(rising), 0x46dd794e},
	};

	memset(ones, 0xff, sizeof(ones));
	for (size_t i = 0; i < sizeof(rising); i++)
		rising[i] = (uint8_t)i;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const uint8_t *bytes = rows[i].bytes;

		for (size_t cut = 0; cut <= rows[i].count; cut++) {
			uint32_t crc = crc32c(0, bytes, cut);

			crc = crc32c(crc, bytes + cut, rows[i].count - cut);
			cr_expect_eq(crc, rows[i].crc, "row %zu, cut at %zu: %08x", i, cut, crc);
		}
	}
}
