/* The checksum CRC-32C (Castagnoli), as of RFC 3720, appendix B.4, and the PROXY protocol. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Of `size` bytes that follow those whose checksum is `before`; 0 for none. */
uint32_t crc32c(uint32_t before, const void *bytes, size_t size);
