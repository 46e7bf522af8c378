/* SPDX-License-Identifier: MIT */
/* CRC-32C, the Castagnoli checksum, as RFC 9260 (SCTP), appendix A, defines it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Continues a checksum: `before` is the checksum of the bytes before these `count` bytes, 0 for
 * none. The checksum of the nine characters "123456789" is 0xe3069283.
 */
uint32_t crc32c(uint32_t before, const void *bytes, size_t count);
