/*
 * The PROXY protocol, versions 1 and 2, as HAProxy's proxy-protocol.txt has it: the header before a
 * stream that says who the client is. Pure: bytes in memory, no sockets.
 *
 * Reading is strict. What is accepted is what the specification allows for a TCP connection, in its
 * one spelling; so nothing that two programs could understand in two ways is passed on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "addr.h"

#define PROXY_HEADER_LIMIT   4096 /* of version 2; longer ones are refused, and not made */
#define PROXY_V1_LIMIT	     107  /* with CRLF: 2.1 */
#define PROXY_UNIQUE_ID_MOST 128

/* Custom TLVs: 2.2.7. */
#define PROXY_CUSTOM_FIRST 0xE0
#define PROXY_CUSTOM_COUNT 16

enum proxy_tlv_type {
	PROXY_TLV_ALPN = 0x01,
	PROXY_TLV_AUTHORITY = 0x02,
	PROXY_TLV_CRC32C = 0x03,
	PROXY_TLV_NOOP = 0x04,
	PROXY_TLV_UNIQUE_ID = 0x05,
	PROXY_TLV_SSL = 0x20,
	PROXY_TLV_NETNS = 0x30,
};

enum proxy_kind {
	PROXY_KIND_PROXY,   /* the addresses are those of the proxied connection */
	PROXY_KIND_LOCAL,   /* the proxy speaks for itself, to see whether we live, say */
	PROXY_KIND_UNKNOWN, /* the proxy does not say for whom it speaks */
};

/* The values that follow the addresses of version 2; valid as long as the bytes they are in. */
struct proxy_tlvs {
	const uint8_t *at;
	size_t size;
};

struct proxy_tlv {
	uint8_t type;
	uint16_t size;
	const uint8_t *value;
};

/* A header, read or to be written. */
struct proxy_header {
	enum proxy_kind kind;
	struct addr source; /* this and destination: of PROXY_KIND_PROXY alone */
	struct addr destination;
	struct proxy_tlvs tlvs; /* of PROXY_KIND_PROXY in version 2 alone */
	size_t length_bytes;	/* of the header, when it was read */
};

enum proxy_result {
	PROXY_COMPLETE,
	PROXY_MORE, /* what is there may become a header */
	PROXY_BAD,
};

/*
 * Reads a header at the beginning of `size` bytes, whatever follows it. PROXY_COMPLETE: `header` is
 * set. PROXY_MORE: *needed is how many bytes there must be, in all, before there is more to say.
 * PROXY_BAD: *fault is why, a static string that goes on from "the header ...".
 */
enum proxy_result proxy_parse(const void *bytes, size_t size, struct proxy_header *header,
			      size_t *needed, const char **fault);

/* Takes the first of `tlvs` off into `tlv`. False at the end, and where they are malformed. */
bool proxy_tlv_next(struct proxy_tlvs *tlvs, struct proxy_tlv *tlv);

/*
 * Writes a header of version 1 into `bytes`. An IPv4 source and destination, plain or IPv4-mapped, are
 * written as IPv4; of two families the IPv4 one is written as IPv4-mapped. Returns its length, at most
 * PROXY_V1_LIMIT.
 */
size_t proxy_build_v1(const struct proxy_header *header, char bytes[PROXY_V1_LIMIT]);

/* What version 2 says beyond the addresses, besides a checksum, which it always has. */
struct proxy_additions {
	const char *unique_id; /* NULL: none; left out where the header's tlvs have one */
	/* by type, from PROXY_CUSTOM_FIRST on, NULL: none; they go before the header's of their type */
	const char *const *custom;
};

/*
 * The same of version 2, with the header's tlvs, but for checksum and padding, which are of one
 * connection alone. Of PROXY_KIND_LOCAL and PROXY_KIND_UNKNOWN it has neither addresses nor tlvs of
 * the header. Returns the length, or -EMSGSIZE above PROXY_HEADER_LIMIT.
 */
ssize_t proxy_build_v2(const struct proxy_header *header, const struct proxy_additions *additions,
		       uint8_t bytes[PROXY_HEADER_LIMIT]);
