/* CRC-32C, the Castagnoli checksum, as RFC 9260 (SCTP), appendix A, defines it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * The checksum of what `before` is the checksum of (0: nothing) followed by `count` bytes; so a
 * text may be given in pieces. Of the nine characters "123456789" it is 0xe3069283.
 */
uint32_t crc32c(uint32_t before, const void *bytes, size_t count);
