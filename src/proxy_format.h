/* The layout of version 2: 2.2 of the specification. For proxy_*.c alone. */
#pragma once

#include <netinet/in.h>
#include <stdint.h>

#define PROXY_V2_SIGNATURE	 "\r\n\r\n\0\r\nQUIT\n"
#define PROXY_V2_SIGNATURE_BYTES 12
#define PROXY_V2_HEAD_BYTES	 16

enum proxy_v2_byte {
	PROXY_V2_VERSION = 0x20,
	PROXY_V2_LOCAL = 0x00,
	PROXY_V2_PROXY = 0x01,
	PROXY_V2_UNSPEC = 0x00,
	PROXY_V2_TCP4 = 0x11,
	PROXY_V2_TCP6 = 0x21,
};

/* As they follow the head. */
struct proxy_v2_addresses4 {
	struct in_addr source, destination;
	in_port_t source_port, destination_port;
};

struct proxy_v2_addresses6 {
	struct in6_addr source, destination;
	in_port_t source_port, destination_port;
};

#define PROXY_TLV_HEAD_BYTES   3
#define PROXY_CRC32C_TLV_BYTES (PROXY_TLV_HEAD_BYTES + 4)
