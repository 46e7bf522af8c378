/*
 * The PROXY protocol, versions 1 and 2: what a load balancer puts before a connection's first byte
 * to say who the client is. After "The PROXY protocol" by Willy Tarreau
 * (haproxy.org, doc/proxy-protocol.txt); section numbers below are of that text.
 *
 * Version 1 is a line: "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443" CR LF. Version 2 is binary:
 *
 *	bytes	0-11	     12			13		  14-15	  16 ...
 *		signature    version, command	family, transport length  addresses, TLVs
 *
 * and its TLVs are a byte of type, two of length, and the value. Nothing here makes a system call:
 * the caller peeks at a socket and parses, or builds and sends.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/*
 * The longest header accepted or built. Version 2 could have 65551 bytes; addresses and a few names
 * need a fraction of that, and whoever accepts headers has to have room for them.
 */
#define PROXY_HEADER_LIMIT 4096

/* The longest line of version 1, CR LF included (2.1). */
#define PROXY_V1_LIMIT 107

/* The longest unique ID (2.2.5). */
#define PROXY_UNIQUE_ID_LIMIT 128

/* The longest text of a configured TLV. */
#define PROXY_CUSTOM_LIMIT 255

/* The types of TLVs that mean something here (2.2); all others are carried, not looked into. */
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
	PROXY_COMPLETE, /* a whole header, and maybe more behind it */
	PROXY_MORE,	/* the beginning of one */
	PROXY_BAD,	/* nothing that follows can make it one */
};

enum proxy_kind {
	PROXY_KIND_PROXY,   /* relayed for the client at `source` */
	PROXY_KIND_UNKNOWN, /* relayed for a client whose address cannot be told */
	PROXY_KIND_LOCAL,   /* the sender's own connection, a health check usually */
};

/* A TLV; the value lies in the region that it was found in. */
struct proxy_tlv {
	uint8_t type;
	const uint8_t *value;
	size_t value_bytes;
};

/* A region of TLVs, one behind the other; whose memory that is, its maker says. */
struct proxy_tlvs {
	const uint8_t *bytes;
	size_t size_bytes;
};

struct proxy_header {
	/* PROXY_COMPLETE */
	enum proxy_kind kind;
	unsigned version;	 /* 1 or 2 */
	size_t header_bytes;	 /* what to take off the stream */
	struct addr source;	 /* both for PROXY_KIND_PROXY only, otherwise "no address"; */
	struct addr destination; /* of one family, IPv4-mapped ones as they came */
	struct proxy_tlvs tlvs;	 /* within the bytes parsed; none in version 1 and for LOCAL */
	/* PROXY_MORE */
	size_t need_bytes; /* in all, those present included, before more can be said */
	/* PROXY_BAD */
	const char *fault; /* static, for a log: "v1: no CRLF within 107 bytes" */
};

/*
 * Parses the header at the beginning of `size` bytes, which stay the caller's and are not changed.
 * Every field of `header` is set; those of other results are 0.
 *
 * PROXY_MORE: at least `need_bytes` must be there for another answer, for SO_RCVLOWAT, socket(7).
 * More than `size`, and never beyond the end of the header: 16, then the header's length in version
 * 2; one byte more each time in version 1, whose end shows only when it comes.
 *
 * PROXY_BAD comes as soon as it is certain: at the first byte that no header has there, at the
 * version 2 length that is above PROXY_HEADER_LIMIT. TLVs are looked at when all are there.
 *
 * Stricter than the text demands where it leaves that open: TLVs must fill the header exactly; ALPN,
 * AUTHORITY, CRC32C, UNIQUE_ID, SSL and NETNS may come once; a checksum must be right (2.2.3).
 *
 * Addresses that no TCP connection can have are passed over, and the client is UNKNOWN (2.2): those
 * of datagrams and of UNIX sockets. The TLVs behind them count. Where the family is not named
 * (UNSPEC), the length of its addresses is not known: what is not TLVs to the end is addresses.
 * The block after a LOCAL command is skipped unread, its family and TLVs too, as 2.2 demands.
 */
enum proxy_result proxy_parse(const void *bytes, size_t size, struct proxy_header *header);

/*
 * Steps through a region: gives the TLV at offset `*at`, 0 at first, and moves `*at` behind it.
 * Passes over NOOPs (2.2.4). False at the end, and then `*at` is the region's size; or where what
 * follows is no TLV, and then it is less, which cannot be in the region of a parsed header.
 */
bool proxy_tlv_next(const struct proxy_tlvs *tlvs, size_t *at, struct proxy_tlv *tlv);

/* The first TLV of a type; false when there is none. NOOPs are never found. */
bool proxy_tlv_find(const struct proxy_tlvs *tlvs, uint8_t type, struct proxy_tlv *tlv);

/* A TLV as configured. */
struct proxy_custom {
	uint8_t type;	  /* PROXY_TLV_CUSTOM_FIRST to _LAST (2.2.8) */
	const char *text; /* its value, without the NUL; whoever configured it keeps it */
};

/*
 * Reads "0xE0=text" from the whole of `text`: "0x", two hexadecimal digits of either case, "=", and
 * a value that may be empty.
 * Returns 0; -EINVAL when the text has not the form, -ERANGE when the type is none of 0xE0 to 0xEF,
 * -EMSGSIZE when the value is longer than PROXY_CUSTOM_LIMIT. `custom` is set on success only, and its
 * text is within `text`.
 */
int proxy_custom_parse(const char *text, struct proxy_custom *custom);

/* What to build. All pointers are the caller's, and need not live longer than the call. */
struct proxy_build {
	unsigned version; /* 1 or 2 */
	enum proxy_kind kind;
	/* for PROXY_KIND_PROXY; where one is NULL or "no address", UNKNOWN is built */
	const struct addr *source;
	const struct addr *destination;
	/* TLVs: not in version 1, nor for LOCAL, which is to be sent without any block (2.2) */
	const char *unique_id; /* NULL: none */
	const struct proxy_custom *customs;
	size_t custom_count;
	/*
	 * The TLVs of a received header, to be passed on as they are; without CRC32C and NOOP, which
	 * were about that header, and without any of a type that is given above.
	 */
	struct proxy_tlvs received;
	bool checksum; /* end with a CRC32C (2.2.3) */
};

/*
 * Builds a header into `buffer` of `size` bytes, no more than PROXY_HEADER_LIMIT of them.
 * Two IPv4 or IPv4-mapped addresses are sent as IPv4; otherwise both as IPv6, with an IPv4 address
 * in its mapped form, in hexadecimal as 2.1 wants it. A scope is not sent. Version 1 has no LOCAL
 * and says UNKNOWN.
 * Returns the header's length in bytes; -EMSGSIZE when it does not fit, or when the unique ID is
 * longer than PROXY_UNIQUE_ID_LIMIT: then the buffer's content is unspecified.
 */
int proxy_build(const struct proxy_build *build, void *buffer, size_t size);
