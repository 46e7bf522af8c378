/* SPDX-License-Identifier: MIT */
/*
 * The PROXY protocol, versions 1 and 2: a header that a load balancer sends before the first byte
 * of a connection to name the client. Specification: "The PROXY protocol" by Willy Tarreau
 * (haproxy.org, doc/proxy-protocol.txt). Section numbers below refer to that text.
 *
 * Version 1 is a line: "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443" CR LF. Version 2 is binary:
 *
 *	bytes	0-11	     12			13		  14-15	  16 ...
 *		signature    version, command	family, transport length  addresses, TLVs
 *
 * A TLV is one byte of type, two bytes of length, and the value. No function here makes a system
 * call: the caller peeks at a socket and then parses, or builds a header and then sends it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/*
 * The longest header that is accepted or built. Version 2 allows 65551 bytes, but addresses and a
 * few names need a fraction of that, and a reader needs a buffer of this size.
 */
#define PROXY_HEADER_LIMIT 4096

/* The longest line of version 1, CR LF included (2.1). */
#define PROXY_V1_LIMIT 107

/* The longest unique ID (2.2.5). */
#define PROXY_UNIQUE_ID_LIMIT 128

/* The longest text of a configured TLV. */
#define PROXY_CUSTOM_LIMIT 255

/* The types of TLVs that this program knows (2.2). It passes on all others as they are. */
enum proxy_tlv_type {
	PROXY_TLV_ALPN = 0x01,
	PROXY_TLV_AUTHORITY = 0x02,
	PROXY_TLV_CRC32C = 0x03,
	PROXY_TLV_NOOP = 0x04,
	PROXY_TLV_UNIQUE_ID = 0x05,
	PROXY_TLV_SSL = 0x20,
	PROXY_TLV_NETNS = 0x30,
	PROXY_TLV_CUSTOM_FIRST = 0xe0,
	PROXY_TLV_CUSTOM_LAST = 0xef,
};

enum proxy_result {
	PROXY_COMPLETE, /* a whole header, perhaps with bytes of the stream after it */
	PROXY_MORE,	/* the beginning of a header */
	PROXY_BAD,	/* no header, whatever follows */
};

enum proxy_kind {
	PROXY_KIND_PROXY,   /* relayed for the client at `source` */
	PROXY_KIND_UNKNOWN, /* relayed for a client without a known address */
	PROXY_KIND_LOCAL,   /* the sender's own connection, usually a health check */
};

/* A TLV. Its value points into the region that has the TLV. */
struct proxy_tlv {
	uint8_t type;
	const uint8_t *value;
	size_t value_bytes;
};

/* A region of TLVs, one after the other. The maker of this struct says who owns the bytes. */
struct proxy_tlvs {
	const uint8_t *bytes;
	size_t size_bytes;
};

struct proxy_header {
	/* PROXY_COMPLETE */
	enum proxy_kind kind;
	unsigned version;    /* 1 or 2 */
	size_t header_bytes; /* length of the header, to take off the stream */
	/*
	 * For PROXY_KIND_PROXY only, otherwise "no address". Both have the same family; IPv4-mapped
	 * addresses stay as they came
	 */
	struct addr source;
	struct addr destination;
	struct proxy_tlvs tlvs; /* within the parsed bytes; none in version 1 and for LOCAL */
	/* PROXY_MORE */
	size_t need_bytes; /* of the header in all, before parsing again is of use */
	/* PROXY_BAD */
	const char *fault; /* static text for a log: "v1: no CRLF within 107 bytes" */
};

/*
 * Parses the header at the beginning of `size` bytes. The caller keeps the bytes, and they are not
 * changed. Sets every field of `header`; fields of other results are 0.
 *
 * PROXY_MORE: parse again when `need_bytes` bytes are there (SO_RCVLOWAT, socket(7)). `need_bytes`
 * is more than `size` and not beyond the end of the header. For version 2 it is 16, then the
 * header's length. For version 1 it is one more than `size`, because only CR LF shows the end.
 *
 * PROXY_BAD is returned as soon as it is certain: at the first byte that no header can have, or at
 * a length of version 2 above PROXY_HEADER_LIMIT. TLVs are checked when the header is whole.
 *
 * Where the specification leaves a choice, this parser is strict: the TLVs must fill the header
 * exactly; ALPN, AUTHORITY, CRC32C, UNIQUE_ID, SSL and NETNS may come once; a checksum must be
 * right (2.2.3).
 *
 * For addresses of datagrams and of UNIX sockets, which no TCP client has, the client is UNKNOWN
 * (2.2); the TLVs after them count. If the family is UNSPEC, the length of its addresses is
 * unknown: the rest of the header is taken as TLVs if it is well-formed as TLVs, otherwise as
 * addresses. After a LOCAL command the rest of the header is skipped, including family and TLVs, as
 * 2.2 requires.
 */
enum proxy_result proxy_parse(const void *bytes, size_t size, struct proxy_header *header);

/*
 * Steps through a region: returns in `tlv` the TLV at offset `*at` (0 at first), and sets `*at` to
 * the offset after the TLV. Skips NOOPs (2.2.4). Returns false at the end; then `*at` is the
 * region's size. Also returns false, with a smaller `*at`, if the bytes there are no TLV. This
 * cannot happen in the region of a parsed header.
 */
bool proxy_tlv_next(const struct proxy_tlvs *tlvs, size_t *at, struct proxy_tlv *tlv);

/* Finds the first TLV of a type. Returns false if there is none. NOOPs are never found. */
bool proxy_tlv_find(const struct proxy_tlvs *tlvs, uint8_t type, struct proxy_tlv *tlv);

/* A TLV of the configuration: --proxy-tlv. */
struct proxy_custom {
	uint8_t type;	  /* PROXY_TLV_CUSTOM_FIRST to _LAST (2.2.8) */
	const char *text; /* the value, without the NUL; owned by the configuration */
};

/*
 * Reads "0xE0=text" from the whole of `text`: "0x", two hexadecimal digits of either case, "=", and
 * a value that may be empty. Returns 0; -EINVAL if the text does not have this form; -ERANGE if the
 * type is not between 0xE0 and 0xEF; -EMSGSIZE if the value is longer than PROXY_CUSTOM_LIMIT. Sets
 * `custom` on success only; `custom->text` points into `text`.
 */
int proxy_custom_parse(const char *text, struct proxy_custom *custom);

/*
 * The content of a header to build. The caller owns all pointers; they must be valid for the call.
 */
struct proxy_build {
	unsigned version; /* 1 or 2 */
	enum proxy_kind kind;
	/* for PROXY_KIND_PROXY. If either is NULL or "no address", UNKNOWN is built */
	const struct addr *source;
	const struct addr *destination;
	/* TLVs are left out in version 1, and for LOCAL, which is sent without them (2.2) */
	const char *unique_id; /* NULL: none */
	const struct proxy_custom *customs;
	size_t custom_count;
	/*
	 * The TLVs of a received header, to be passed on as they are. CRC32C and NOOP are left out,
	 * because they belong to the received header, and so is every type that is given above.
	 */
	struct proxy_tlvs received;
	bool checksum; /* end with a CRC32C (2.2.3) */
};

/*
 * Builds a header of at most PROXY_HEADER_LIMIT bytes into `buffer`, which has `size` bytes. If
 * both addresses are IPv4 or IPv4-mapped, they are sent as IPv4. Otherwise both are sent as IPv6,
 * an IPv4 address in its mapped form and in hexadecimal (2.1). Scopes are not sent. Version 1 has
 * no LOCAL and sends UNKNOWN instead. Returns the header's length in bytes, or -EMSGSIZE if the
 * header does not fit or the unique ID is longer than PROXY_UNIQUE_ID_LIMIT; then the buffer's
 * content is unspecified.
 */
int proxy_build(const struct proxy_build *build, void *buffer, size_t size);
