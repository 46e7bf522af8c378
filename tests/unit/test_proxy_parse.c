/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "identity/proxy_protocol.h"
#include "support.h"

TestSuite(proxy_parse, .fini = support_check_leaks);

#define BYTES(text) text, sizeof(text) - 1

/* Headers of version 2 written by hand from section 2.2. */
#define SIGNATURE "\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
#define PORTS	  "\xdc\x04\x01\xbb" /* 56324, 443 */
#define V4	  "\xc0\x00\x02\x01\xc6\x33\x64\x02" PORTS
#define V6_PREFIX "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
#define V6	  V6_PREFIX "\x01" V6_PREFIX "\x02" PORTS
#define V4_SOURCE "192.0.2.1:56324"
#define V4_TARGET "198.51.100.2:443"
#define V6_SOURCE "[2001:db8::1]:56324"
#define V6_TARGET "[2001:db8::2]:443"
#define TEN	  "0123456789"
/* two paths of 108 bytes */
#define UNIX_PATH "/run/" TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "\x00\x00\x00"
#define UNIX	  UNIX_PATH UNIX_PATH
#define ID_128	  TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "01234567"

struct valid {
	const char *bytes;
	size_t size;
	unsigned version;
	enum proxy_kind kind;
	const char *source;
	const char *destination;
	size_t tlv_count; /* without NOOPs */
};

#define V1_PROXY  1, PROXY_KIND_PROXY
#define V1_NOBODY 1, PROXY_KIND_UNKNOWN, "-", "-", 0
#define V2_V4	  2, PROXY_KIND_PROXY, V4_SOURCE, V4_TARGET
#define V2_V6	  2, PROXY_KIND_PROXY, V6_SOURCE, V6_TARGET
#define V2_NOBODY 2, PROXY_KIND_UNKNOWN, "-", "-"
#define V2_LOCAL  2, PROXY_KIND_LOCAL, "-", "-", 0

static const struct valid valids[] = {
	{BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"), V1_PROXY, V4_SOURCE, V4_TARGET,
	 0},
	{BYTES("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), V1_PROXY, "0.0.0.0:0", "0.0.0.0:0", 0},
	{BYTES("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), V1_PROXY,
	 "255.255.255.255:65535", "255.255.255.255:65535", 0},
	{BYTES("PROXY TCP6 2001:db8::1 2001:DB8:0:0::2 56324 443\r\n"), V1_PROXY, V6_SOURCE,
	 V6_TARGET, 0},
	{BYTES("PROXY TCP6 :: ::1 1 10\r\n"), V1_PROXY, "[::]:1", "[::1]:10", 0},
	{BYTES("PROXY TCP6 1:2:3:4:5:6:7:8 1::7:8 9 9\r\n"), V1_PROXY, "[1:2:3:4:5:6:7:8]:9",
	 "[1::7:8]:9", 0},
	{BYTES("PROXY TCP6 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 9 9\r\n"), V1_PROXY,
	 "[1:2:3:4:5:6:7:0]:9", "[0:2:3:4:5:6:7:8]:9", 0},
	{BYTES("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:201 9 9\r\n"), V1_PROXY,
	 "[::ffff:192.0.2.1]:9", "[::ffff:192.0.2.1]:9", 0},
	{BYTES("PROXY TCP6 1:2:3:4:5:6:255.255.255.255 1::99.9.0.0 9 9\r\n"), V1_PROXY,
	 "[1:2:3:4:5:6:ffff:ffff]:9", "[1::6309:0]:9", 0},
	{BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
	 V1_PROXY, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
	 "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", 0},
	{BYTES("PROXY UNKNOWN\r\n"), V1_NOBODY},
	{BYTES("PROXY UNKNOWN \r\n"), V1_NOBODY},
	{BYTES("PROXY UNKNOWN of any kind: 999.9, \t\x80\r\n"), V1_NOBODY},
	{BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
	 V1_NOBODY},

	{BYTES(SIGNATURE "\x21\x11\x00\x0c" V4), V2_V4, 0},
	{BYTES(SIGNATURE "\x21\x21\x00\x24" V6), V2_V6, 0},
	{BYTES(SIGNATURE "\x21\x11\x00\x20" V4 /* AUTHORITY, NOOP, an empty ALPN, two own ones */
			 "\x02\x00\x02zz"
			 "\x04\x00\x00"
			 "\x01\x00\x00"
			 "\xe0\x00\x02\x04\x04"
			 "\xe0\x00\x01\x00"),
	 V2_V4, 4},
	{BYTES(SIGNATURE "\x21\x21\x00\xa7" V6 "\x05\x00\x80" ID_128), V2_V6, 1},
	{BYTES(SIGNATURE "\x21\x21\x00\x38" V6 /* SSL, NETNS and unknown types */
			 "\x20\x00\x05\x01\x00\x00\x00\x00"
			 "\x30\x00\x01n"
			 "\x00\x00\x01n"
			 "\xff\x00\x01n"),
	 V2_V6, 4},
	{BYTES(SIGNATURE "\x21\x11\x00\x13" V4 "\x03\x00\x04\x20\xec\x95\x49"), V2_V4, 1},
	{BYTES(SIGNATURE "\x21\x11\x00\x1b" V4 "\x02\x00\x01"
			 "a\x03\x00\x04\x32\x4b\x13\xd9\xe0\x00\x01x"),
	 V2_V4, 3},
	{BYTES(SIGNATURE "\x21\x00\x00\x00"), V2_NOBODY, 0},
	{BYTES(SIGNATURE "\x21\x00\x00\x04\x05\x00\x01u"), V2_NOBODY, 1},
	{BYTES(SIGNATURE "\x21\x00\x00\x07\x03\x00\x04\x3e\xc9\x89\x4e"), V2_NOBODY, 1},
	{BYTES(SIGNATURE "\x21\x01\x00\x00"), V2_NOBODY, 0},
	{BYTES(SIGNATURE "\x21\x10\x00\x10" V4 "\x05\x00\x01u"), V2_NOBODY, 1},
	{BYTES(SIGNATURE "\x21\x20\x00\x24" V6), V2_NOBODY, 0},
	/* addresses that no TCP connection has, with TLVs after them */
	{BYTES(SIGNATURE "\x21\x12\x00\x0c" V4), V2_NOBODY, 0},
	{BYTES(SIGNATURE "\x21\x12\x00\x10" V4 "\x05\x00\x01u"), V2_NOBODY, 1},
	{BYTES(SIGNATURE "\x21\x12\x00\x13" V4 "\x03\x00\x04\xc4\xd2\xa6\x95"), V2_NOBODY, 1},
	{BYTES(SIGNATURE "\x21\x22\x00\x24" V6), V2_NOBODY, 0},
	{BYTES(SIGNATURE "\x21\x22\x00\x28" V6 "\x05\x00\x01u"), V2_NOBODY, 1},
	{BYTES(SIGNATURE "\x21\x30\x00\xd8" UNIX), V2_NOBODY, 0},
	{BYTES(SIGNATURE "\x21\x31\x00\xd8" UNIX), V2_NOBODY, 0},
	{BYTES(SIGNATURE "\x21\x31\x00\xdc" UNIX "\x05\x00\x01u"), V2_NOBODY, 1},
	{BYTES(SIGNATURE "\x21\x32\x00\xd8" UNIX), V2_NOBODY, 0},
	/* no family but addresses: they are not read as TLVs */
	{BYTES(SIGNATURE "\x21\x00\x00\x0c" V4), V2_NOBODY, 0},
	{BYTES(SIGNATURE "\x21\x00\x00\x24" V6), V2_NOBODY, 0},
	{BYTES(SIGNATURE "\x21\x01\x00\x0c" V4), V2_NOBODY, 0},
	{BYTES(SIGNATURE "\x21\x02\x00\xd8" UNIX), V2_NOBODY, 0},
	{BYTES(SIGNATURE "\x21\x00\x00\x01z"), V2_NOBODY, 0},
	{BYTES(SIGNATURE "\x20\x00\x00\x00"), V2_LOCAL},
	{BYTES(SIGNATURE "\x20\x11\x00\x0c" V4), V2_LOCAL},
	{BYTES(SIGNATURE "\x20\x31\x00\x05\x01\x02\x03\x04\x05"), V2_LOCAL},
	{BYTES(SIGNATURE "\x20\xff\x00\x00"), V2_LOCAL},
};

struct malformed {
	const char *good; /* the longest line */
	size_t good_size;
	const char *rest; /* one byte too many */
	size_t rest_size;
	const char *fault;
};

#define NO_HEADER   "no PROXY header"
#define NO_PROTOCOL "v1: the protocol is none of TCP4, TCP6 and UNKNOWN"
#define NO_SOURCE   "v1: the source address is not of the named protocol"
#define NO_TARGET   "v1: the destination address is not of the named protocol"
#define NO_SPORT    "v1: the source port is not a number up to 65535, without zeros before it"
#define NO_DPORT    "v1: the destination port is not a number up to 65535, without zeros before it"
#define NO_SPACE    "v1: no space after the source port"
#define NO_CRLF	    "v1: no CRLF after the destination port"
#define NO_END	    "v1: no CRLF within 107 bytes"
#define NUL_OR_LF   "v1: a NUL or a bare LF in the line"
#define BARE_CR	    "v1: a bare CR in the line"
#define NO_FILL	    "v2: a TLV reaches beyond the header"
#define TOO_LONG    "v2: longer than 4096 bytes"
#define TOO_SHORT   "v2: too short for its addresses"

#define TCP4	    "PROXY TCP4 "
#define TCP6	    "PROXY TCP6 "
#define PAIR	    TCP4 "192.0.2.1 198.51.100.2 "

static const struct malformed malformeds[] = {
	{BYTES(""), BYTES("GET / HTTP/1.1\r\n"), NO_HEADER},
	{BYTES(""), BYTES("\0"), NO_HEADER},
	{BYTES(""), BYTES("\n"), NO_HEADER},
	{BYTES("P"), BYTES("OST / HTTP/1.1\r\n"), NO_HEADER},
	{BYTES("P"), BYTES("roxy TCP4"), NO_HEADER},
	{BYTES("PROXY"), BYTES("\r\n"), NO_HEADER},
	{BYTES("PROXY"), BYTES("\tTCP4 "), NO_HEADER},
	{BYTES("PROXY "), BYTES(" TCP4"), NO_PROTOCOL},
	{BYTES("PROXY "), BYTES("tcp4"), NO_PROTOCOL},
	{BYTES("PROXY "), BYTES("\r\n"), NO_PROTOCOL},
	{BYTES("PROXY TCP"), BYTES(" "), NO_PROTOCOL},
	{BYTES("PROXY TCP4"), BYTES("6 "), NO_PROTOCOL},
	{BYTES("PROXY TCP4"), BYTES("\r\n"), NO_PROTOCOL},
	{BYTES("PROXY U"), BYTES("DP4 "), NO_PROTOCOL},
	{BYTES("PROXY UNKNOWN"), BYTES("S\r\n"), NO_PROTOCOL},
	{BYTES("PROXY UNKNOWN"), BYTES("\n"), NO_PROTOCOL},
	{BYTES("PROXY UNKNOWN"), BYTES("\0\r\n"), NO_PROTOCOL},
	{BYTES("PROXY UNKNOWN "), BYTES("\n"), NUL_OR_LF},
	{BYTES("PROXY UNKNOWN a"), BYTES("\0b\r\n"), NUL_OR_LF},
	{BYTES("PROXY UNKNOWN\r"), BYTES("\r\n"), BARE_CR},
	{BYTES("PROXY UNKNOWN a\r"), BYTES("b\r\n"), BARE_CR},

	{BYTES(TCP4), BYTES(" 192.0.2.1"), NO_SOURCE},
	{BYTES(TCP4), BYTES("\r\n"), NO_SOURCE},
	{BYTES(TCP4), BYTES("::1 "), NO_SOURCE},
	{BYTES(TCP4), BYTES("-1"), NO_SOURCE},
	{BYTES(TCP4 "0"), BYTES("1.2.3.4 "), NO_SOURCE},
	{BYTES(TCP4 "25"), BYTES("6.0.2.1 "), NO_SOURCE},
	{BYTES(TCP4 "192."), BYTES(".0"), NO_SOURCE},
	{BYTES(TCP4 "192.0.2"), BYTES(" 192.0.2.1"), NO_SOURCE},
	{BYTES(TCP4 "192.0.2.1"), BYTES(".1"), NO_SOURCE},
	{BYTES(TCP4 "192.0.2.1"), BYTES("\0 "), NO_SOURCE},
	{BYTES(TCP4 "192.0.2.1"), BYTES("\r\n"), NO_SOURCE},
	{BYTES(TCP4 "192.0.2.1 "), BYTES(" 192.0.2.1"), NO_TARGET},
	{BYTES(TCP4 "192.0.2.1 "), BYTES("\r\n"), NO_TARGET},
	{BYTES(TCP4 "192.0.2.1 1"), BYTES(":"), NO_TARGET},
	{BYTES(TCP6 "192"), BYTES(".0.2.1 "), NO_SOURCE},
	{BYTES(TCP6), BYTES("[::1] "), NO_SOURCE},
	{BYTES(TCP6), BYTES("g::"), NO_SOURCE},
	{BYTES(TCP6 "0000"), BYTES("1:: "), NO_SOURCE},
	{BYTES(TCP6 ":"), BYTES("1 "), NO_SOURCE},
	{BYTES(TCP6 "::"), BYTES(":"), NO_SOURCE},
	{BYTES(TCP6 "1::2:"), BYTES(":"), NO_SOURCE},
	{BYTES(TCP6 "1:2:3:4:5:6:7"), BYTES(" "), NO_SOURCE},
	{BYTES(TCP6 "1:2:3:4:5:6:7:8"), BYTES(":9"), NO_SOURCE},
	{BYTES(TCP6 "fe80::1"), BYTES("%eth0 "), NO_SOURCE},
	{BYTES(TCP6 "::1"), BYTES("/64 "), NO_SOURCE},
	{BYTES(TCP6 "::ffff:1.2.3"), BYTES(" "), NO_SOURCE},
	{BYTES(TCP6 "::1 "), BYTES("."), NO_TARGET},
	{BYTES(TCP6 "::1 1:"), BYTES(" "), NO_TARGET},

	{BYTES(PAIR), BYTES(" 1"), NO_SPORT},
	{BYTES(PAIR), BYTES("http"), NO_SPORT},
	{BYTES(PAIR), BYTES("+1"), NO_SPORT},
	{BYTES(PAIR), BYTES("\r\n"), NO_SPORT},
	{BYTES(PAIR "0"), BYTES("1 "), NO_SPORT},
	{BYTES(PAIR "6553"), BYTES("6 "), NO_SPORT},
	{BYTES(PAIR "65535"), BYTES("0 "), NO_SPORT},
	{BYTES(PAIR "1"), BYTES("\r\n"), NO_SPACE},
	{BYTES(PAIR "1"), BYTES("x"), NO_SPACE},
	{BYTES(PAIR "1"), BYTES("\0"), NO_SPACE},
	{BYTES(PAIR "1 "), BYTES(" 1"), NO_DPORT},
	{BYTES(PAIR "1 "), BYTES("\r\n"), NO_DPORT},
	{BYTES(PAIR "1 0"), BYTES("0"), NO_DPORT},
	{BYTES(PAIR "1 9999"), BYTES("9"), NO_DPORT},
	{BYTES(PAIR "1 2"), BYTES(" \r\n"), NO_CRLF},
	{BYTES(PAIR "1 2"), BYTES("\n"), NO_CRLF},
	{BYTES(PAIR "1 2"), BYTES("\0\r\n"), NO_CRLF},
	{BYTES(PAIR "1 2\r"), BYTES("\r\n"), NO_CRLF},
	/*
	 * 106 bytes, and the line does not end with the 107th; two longest texts of IPv6 addresses
	 */
	{BYTES("PROXY UNKNOWN " TEN TEN TEN TEN TEN TEN TEN TEN TEN "12"), BYTES("3\r\n"), NO_END},
	{BYTES("PROXY UNKNOWN " TEN TEN TEN TEN TEN TEN TEN TEN TEN "12"), BYTES("\r\n"), NO_END},
	{BYTES(TCP6 "0000:0000:0000:0000:0000:ffff:255.255.255.255 "
		    "0000:0000:0000:0000:0000:ffff:255.255.255.255 123"),
	 BYTES("4 2\r\n"), NO_END},

	{BYTES("\r\n\r\n"), BYTES("\r\n"), NO_HEADER},
	{BYTES("\r\n\r\n\0\r\nQUIT"), BYTES("\r"), NO_HEADER},
	{BYTES(SIGNATURE), BYTES("\x11\x11\x00\x00"),
	 "v2: the version after the signature is not 2"},
	{BYTES(SIGNATURE), BYTES("\x31\x11\x00\x00"),
	 "v2: the version after the signature is not 2"},
	{BYTES(SIGNATURE), BYTES("\x22\x11\x00\x00"), "v2: the command is neither LOCAL nor PROXY"},
	{BYTES(SIGNATURE "\x21"), BYTES("\x41\x00\x00"), "v2: unknown address family"},
	{BYTES(SIGNATURE "\x21"), BYTES("\x13\x00\x0c" V4), "v2: unknown transport"},
	{BYTES(SIGNATURE "\x21\x11\x0f"), BYTES("\xf1"), TOO_LONG},
	{BYTES(SIGNATURE "\x20\x00\xff"), BYTES("\xff"), TOO_LONG},
	{BYTES(SIGNATURE "\x21\x11\x00"), BYTES("\x0b" V4), TOO_SHORT},
	{BYTES(SIGNATURE "\x21\x21\x00"), BYTES("\x23" V6), TOO_SHORT},
	{BYTES(SIGNATURE "\x21\x10\x00"), BYTES("\x0b" V4), TOO_SHORT},
	{BYTES(SIGNATURE "\x21\x12\x00"), BYTES("\x0b" V4), TOO_SHORT},
	{BYTES(SIGNATURE "\x21\x22\x00"), BYTES("\x23" V6), TOO_SHORT},
	{BYTES(SIGNATURE "\x21\x31\x00"), BYTES("\xd7" V6), TOO_SHORT},
	{BYTES(SIGNATURE "\x21\x32\x00"), BYTES("\x00"), TOO_SHORT},

	/* TLVs: only the last byte decides */
	{BYTES(SIGNATURE "\x21\x11\x00\x0d" V4), BYTES("\x04"), NO_FILL},
	{BYTES(SIGNATURE "\x21\x11\x00\x0e" V4 "\x04"), BYTES("\x00"), NO_FILL},
	{BYTES(SIGNATURE "\x21\x11\x00\x0f" V4 "\x04\x00"), BYTES("\x01z"), NO_FILL},
	{BYTES(SIGNATURE "\x21\x11\x00\x10" V4 "\x04\x01\x01"), BYTES("z"), NO_FILL},
	{BYTES(SIGNATURE "\x21\x12\x00\x0d" V4), BYTES("\x04"), NO_FILL},
	{BYTES(SIGNATURE "\x21\x31\x00\xdb" UNIX "\x04\x00"), BYTES("\x01"), NO_FILL},
	{BYTES(SIGNATURE "\x21\x12\x00\x13" V4 "\x03\x00\x04\xc4\xd2\xa6"), BYTES("\x94"),
	 "v2: the checksum is wrong"},
	{BYTES(SIGNATURE "\x21\x00\x00\x06\x01\x00\x00\x01\x00"), BYTES("\x00"),
	 "v2: two ALPN TLVs"},
	{BYTES(SIGNATURE "\x21\x00\x00\x06\x02\x00\x00\x02\x00"), BYTES("\x00"),
	 "v2: two AUTHORITY TLVs"},
	{BYTES(SIGNATURE "\x21\x00\x00\x06\x05\x00\x00\x05\x00"), BYTES("\x00"),
	 "v2: two UNIQUE_ID TLVs"},
	{BYTES(SIGNATURE "\x21\x00\x00\x06\x20\x00\x00\x20\x00"), BYTES("\x00"),
	 "v2: two SSL TLVs"},
	{BYTES(SIGNATURE "\x21\x00\x00\x09\x30\x00\x00\x04\x00\x00\x30\x00"), BYTES("\x00"),
	 "v2: two NETNS TLVs"},
	{BYTES(SIGNATURE "\x21\x00\x00\x0e\x03\x00\x04\xcc\x34\x82\xca\x03\x00\x04\x00\x00\x00"),
	 BYTES("\x00"), "v2: two CRC32C TLVs"},
	{BYTES(SIGNATURE "\x21\x00\x00\x84\x05\x00\x81" ID_128), BYTES("8"),
	 "v2: the unique ID is longer than 128 bytes"},
	{BYTES(SIGNATURE "\x21\x00\x00\x06\x03\x00\x03\x00\x00"), BYTES("\x00"),
	 "v2: the checksum is not 4 bytes long"},
	{BYTES(SIGNATURE "\x21\x00\x00\x08\x03\x00\x05\x00\x00\x00\x00"), BYTES("\x00"),
	 "v2: the checksum is not 4 bytes long"},
	{BYTES(SIGNATURE "\x21\x00\x00\x07\x03\x00\x04\x3e\xc9\x89"), BYTES("\x4f"),
	 "v2: the checksum is wrong"},
	{BYTES(SIGNATURE "\x21\x11\x00\x13" V4 "\x03\x00\x04\x49\x95\xec"), BYTES("\x20"),
	 "v2: the checksum is wrong"},
};

/* Parses bytes in memory of exactly this size, so that a sanitizer sees a read beyond the end. */
static enum proxy_result parse(const char *bytes, size_t size, struct proxy_header *header)
{
	char *copy = malloc(size ? size : 1);
	enum proxy_result result;

	cr_assert(copy);
	memcpy(copy, bytes, size);
	memset(header, 0xff, sizeof(*header));
	result = proxy_parse(copy, size, header);
	header->tlvs.bytes = NULL; /* freed */
	free(copy);
	return result;
}

/* The expected answer for the first `present` bytes of a header that ends at `size` or later. */
static void expect_more(const char *bytes, size_t present, size_t size, const char *name)
{
	size_t need_bytes = present + 1;
	struct proxy_header header;

	if (present && *bytes == '\r')
		need_bytes = present < 16 ? 16 : size;
	cr_expect_eq(parse(bytes, present, &header), PROXY_MORE, "%s: %zu bytes", name, present);
	cr_expect_eq(header.need_bytes, need_bytes, "%s: %zu bytes need %zu", name, present,
		     header.need_bytes);
	cr_expect(!header.fault && !header.header_bytes && !header.version);
}

static size_t count_tlvs(const struct proxy_tlvs *tlvs)
{
	struct proxy_tlv tlv;
	size_t count = 0, at = 0;

	while (proxy_tlv_next(tlvs, &at, &tlv))
		count++;
	cr_expect_eq(at, tlvs->size_bytes);
	return count;
}

static void expect_valid(const struct valid *row, size_t index)
{
	char source[ADDR_TEXT_BYTES], destination[ADDR_TEXT_BYTES];
	struct proxy_header header;

	cr_assert_eq(proxy_parse(row->bytes, row->size, &header), PROXY_COMPLETE, "row %zu: %s",
		     index, header.fault);
	cr_expect_eq(header.header_bytes, row->size, "row %zu: %zu", index, header.header_bytes);
	cr_expect_eq(header.version, row->version, "row %zu", index);
	cr_expect_eq(header.kind, row->kind, "row %zu", index);
	cr_expect_str_eq(addr_print(&header.source, source), row->source);
	cr_expect_str_eq(addr_print(&header.destination, destination), row->destination);
	cr_expect_eq(count_tlvs(&header.tlvs), row->tlv_count, "row %zu", index);
	cr_expect(!header.need_bytes && !header.fault);
}

Test(proxy_parse, valid)
{
	for (size_t i = 0; i < ARRAY_COUNT(valids); i++)
		expect_valid(&valids[i], i);
}

Test(proxy_parse, prefixes_and_what_follows)
{
	for (size_t i = 0; i < ARRAY_COUNT(valids); i++) {
		const struct valid *row = &valids[i];
		char longer[512] = "";
		struct proxy_header header;

		for (size_t present = 0; present < row->size; present++)
			expect_more(row->bytes, present, row->size, row->bytes);
		memcpy(longer, row->bytes, row->size);
		strcpy(longer + row->size, "\r\n\r\n");
		for (size_t size = row->size; size < row->size + 5; size++) {
			cr_expect_eq(parse(longer, size, &header), PROXY_COMPLETE, "row %zu", i);
			cr_expect_eq(header.header_bytes, row->size, "row %zu", i);
		}
	}
}

Test(proxy_parse, malformed)
{
	for (size_t i = 0; i < ARRAY_COUNT(malformeds); i++) {
		const struct malformed *row = &malformeds[i];
		size_t size = row->good_size + row->rest_size;
		char bytes[512];
		struct proxy_header header;

		cr_assert(size < sizeof(bytes));
		memcpy(bytes, row->good, row->good_size);
		memcpy(bytes + row->good_size, row->rest, row->rest_size);
		for (size_t present = 0; present <= size; present++) {
			enum proxy_result result = parse(bytes, present, &header);

			cr_expect_eq(result, present <= row->good_size ? PROXY_MORE : PROXY_BAD,
				     "row %zu, '%s': %d after %zu of %zu bytes", i, row->good,
				     result, present, size);
			if (result == PROXY_MORE)
				cr_expect(header.need_bytes > present && !header.fault);
			if (result == PROXY_BAD)
				cr_expect_str_eq(header.fault, row->fault, "row %zu: %s", i,
						 header.fault);
		}
	}
}

/* The longest accepted header, a single NOOP; the length is checked before the content. */
Test(proxy_parse, limit)
{
	static const char head[] = SIGNATURE "\x21\x11\x0f\xf0" V4 "\x04\x0f\xe1";
	char bytes[PROXY_HEADER_LIMIT] = "";
	struct proxy_header header;

	memcpy(bytes, head, sizeof(head) - 1);
	cr_expect_eq(parse(bytes, 16, &header), PROXY_MORE);
	cr_expect_eq(header.need_bytes, PROXY_HEADER_LIMIT);
	cr_expect_eq(parse(bytes, sizeof(bytes) - 1, &header), PROXY_MORE);
	cr_expect_eq(parse(bytes, sizeof(bytes), &header), PROXY_COMPLETE, "%s", header.fault);
	cr_expect_eq(header.header_bytes, PROXY_HEADER_LIMIT);
}

static void expect_sane(const char *bytes, size_t size)
{
	struct proxy_header header;

	switch (parse(bytes, size, &header)) {
	case PROXY_COMPLETE:
		cr_assert(header.header_bytes && header.header_bytes <= size);
		break;
	case PROXY_MORE:
		cr_assert(header.need_bytes > size && header.need_bytes <= PROXY_HEADER_LIMIT);
		break;
	case PROXY_BAD:
		cr_assert(header.fault && *header.fault);
		break;
	}
}

Test(proxy_parse, mutations)
{
	for (size_t i = 0; i < ARRAY_COUNT(valids); i++) {
		size_t size = valids[i].size;
		char bytes[512];

		memcpy(bytes, valids[i].bytes, size);
		for (size_t at = 0; at < size; at++) {
			for (unsigned change = 1; change < 256; change++) {
				bytes[at] = (char)(valids[i].bytes[at] ^ (char)change);
				expect_sane(bytes, size);
			}
			bytes[at] = valids[i].bytes[at];
		}
	}
}

/* The checksum covers every byte of the header except its own type and length. */
Test(proxy_parse, checksum_covers_all)
{
	static const char good[] = SIGNATURE "\x21\x11\x00\x13" V4 "\x03\x00\x04\x20\xec\x95\x49";

	for (size_t at = 0; at < sizeof(good) - 1; at++) {
		char bytes[sizeof(good)];
		struct proxy_header header;

		memcpy(bytes, good, sizeof(good));
		bytes[at] ^= 1;
		if (at == 12) /* LOCAL now */
			continue;
		cr_expect_neq(parse(bytes, sizeof(good) - 1, &header),
			      at == 28 ? PROXY_BAD : PROXY_COMPLETE, "byte %zu", at);
	}
}

Test(proxy_parse, tlvs)
{
	static const uint8_t bytes[] = "\x04\x00\x01z"
				       "\xe0\x00\x01"
				       "a\xe0\x00\x02"
				       "bc\x04\x00\x00\x01\x00\x00";
	static const struct proxy_tlvs tlvs = {bytes, sizeof(bytes) - 1};
	static const struct proxy_tlvs cut = {bytes, sizeof(bytes) - 2};
	static const struct proxy_tlvs none;
	struct proxy_tlv tlv;
	size_t at = 0;

	cr_assert(proxy_tlv_next(&tlvs, &at, &tlv));
	cr_expect(tlv.type == 0xe0 && tlv.value == bytes + 7 && tlv.value_bytes == 1 && at == 8);
	cr_assert(proxy_tlv_next(&tlvs, &at, &tlv));
	cr_expect(tlv.type == 0xe0 && tlv.value == bytes + 11 && tlv.value_bytes == 2 && at == 13);
	cr_assert(proxy_tlv_next(&tlvs, &at, &tlv));
	cr_expect(tlv.type == 0x01 && tlv.value_bytes == 0 && at == sizeof(bytes) - 1);
	cr_expect_not(proxy_tlv_next(&tlvs, &at, &tlv));

	cr_expect(proxy_tlv_find(&tlvs, 0xe0, &tlv) && tlv.value == bytes + 7);
	cr_expect(proxy_tlv_find(&tlvs, 0x01, &tlv));
	cr_expect_not(proxy_tlv_find(&tlvs, 0xe1, &tlv));
	cr_expect_not(proxy_tlv_find(&tlvs, PROXY_TLV_NOOP, &tlv));
	cr_expect_not(proxy_tlv_find(&none, 0xe0, &tlv));
	cr_expect_not(proxy_tlv_find(&cut, 0x01, &tlv));
}
