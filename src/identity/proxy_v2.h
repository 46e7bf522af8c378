/* SPDX-License-Identifier: MIT */
/* The layout of a header of version 2 (2.2), shared by the parser and the builder. */
#pragma once

#define PROXY_V2_SIGNATURE	 "\r\n\r\n\0\r\nQUIT\n"
#define PROXY_V2_SIGNATURE_BYTES (sizeof(PROXY_V2_SIGNATURE) - 1)
#define PROXY_V2_FIXED_BYTES	 16 /* up to and including the length field */
#define PROXY_V2_CHECKSUM_BYTES	 4
#define PROXY_V2_TLV_HEAD_BYTES	 3
#define PROXY_V2_UNIX_HOST_BYTES 108 /* each UNIX address, padded */

enum {
	/* byte 12: version << 4 | command */
	PROXY_V2_VERSION = 2,
	PROXY_V2_COMMAND_LOCAL = 0,
	PROXY_V2_COMMAND_PROXY = 1,
	/* byte 13: family << 4 | transport */
	PROXY_V2_FAMILY_UNSPEC = 0,
	PROXY_V2_FAMILY_INET = 1,
	PROXY_V2_FAMILY_INET6 = 2,
	PROXY_V2_FAMILY_UNIX = 3,
	PROXY_V2_TRANSPORT_UNSPEC = 0,
	PROXY_V2_TRANSPORT_STREAM = 1,
	PROXY_V2_TRANSPORT_DGRAM = 2,
};
