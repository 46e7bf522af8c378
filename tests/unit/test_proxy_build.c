/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/cidr.h"
#include "base/util.h"
#include "identity/proxy_protocol.h"
#include "support.h"

TestSuite(proxy_build, .fini = support_check_leaks);

#define BYTES(text) text, sizeof(text) - 1

#define SIGNATURE   "\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
#define PORTS	    "\xdc\x04\x01\xbb" /* 56324, 443 */
#define V4	    "\xc0\x00\x02\x01\xc6\x33\x64\x02" PORTS
#define V6_HOST	    "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
#define MAPPED	    "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc6\x33\x64\x02"
#define V4_SOURCE   "192.0.2.1:56324"
#define V4_TARGET   "198.51.100.2:443"
#define V6_SOURCE   "[2001:db8::1]:56324"
#define FULL_HOST   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

static const struct addr *address(const char *text, struct addr *memory)
{
	if (!text)
		return NULL;
	memset(memory, 0, sizeof(*memory));
	if (strcmp(text, "-"))
		cr_assert_null(addr_parse(text, memory), "%s", text);
	return memory;
}

/* Builds into a large buffer and compares with `bytes`, or checks only the error. */
static void expect_built(const struct proxy_build *build, const char *bytes, size_t size)
{
	uint8_t buffer[PROXY_HEADER_LIMIT + 1];
	int length = proxy_build(build, buffer, sizeof(buffer));

	cr_assert_eq(length, (int)size, "%d bytes, not %zu: %.*s", length, size, MAX(length, 0),
		     (char *)buffer);
	cr_expect_arr_eq(buffer, bytes, size, "v%u, '%s'", build->version, bytes);
}

Test(proxy_build, addresses)
{
	static const struct {
		unsigned version;
		enum proxy_kind kind;
		const char *source, *destination;
		const char *bytes;
		size_t size;
	} rows[] = {
		{1, PROXY_KIND_PROXY, V4_SOURCE, V4_TARGET,
		 BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n")},
		{1, PROXY_KIND_PROXY, "[::ffff:192.0.2.1]:56324", "[::ffff:198.51.100.2]:443",
		 BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n")},
		{1, PROXY_KIND_PROXY, "[::ffff:192.0.2.1]:56324", V4_TARGET,
		 BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n")},
		{1, PROXY_KIND_PROXY, V6_SOURCE, "[2001:db8::2]:0",
		 BYTES("PROXY TCP6 2001:db8::1 2001:db8::2 56324 0\r\n")},
		{1, PROXY_KIND_PROXY, V6_SOURCE, V4_TARGET,
		 BYTES("PROXY TCP6 2001:db8::1 ::ffff:c633:6402 56324 443\r\n")},
		{1, PROXY_KIND_PROXY, "0.0.0.0:0", V6_SOURCE,
		 BYTES("PROXY TCP6 ::ffff:0:0 2001:db8::1 0 56324\r\n")},
		{1, PROXY_KIND_PROXY, "[::1.2.3.4]:1", "[::1]:2",
		 BYTES("PROXY TCP6 ::102:304 ::1 1 2\r\n")},
		{1, PROXY_KIND_PROXY, "[" FULL_HOST "]:65535", "[" FULL_HOST "]:65535",
		 BYTES("PROXY TCP6 " FULL_HOST " " FULL_HOST " 65535 65535\r\n")},
		{1, PROXY_KIND_PROXY, V4_SOURCE, "-", BYTES("PROXY UNKNOWN\r\n")},
		{1, PROXY_KIND_PROXY, NULL, V4_TARGET, BYTES("PROXY UNKNOWN\r\n")},
		{1, PROXY_KIND_UNKNOWN, V4_SOURCE, V4_TARGET, BYTES("PROXY UNKNOWN\r\n")},
		{1, PROXY_KIND_LOCAL, V4_SOURCE, V4_TARGET, BYTES("PROXY UNKNOWN\r\n")},

		{2, PROXY_KIND_PROXY, V4_SOURCE, V4_TARGET, BYTES(SIGNATURE "\x21\x11\x00\x0c" V4)},
		{2, PROXY_KIND_PROXY, V4_SOURCE, "[::ffff:198.51.100.2]:443",
		 BYTES(SIGNATURE "\x21\x11\x00\x0c" V4)},
		{2, PROXY_KIND_PROXY, V6_SOURCE, "[2001:db8::1]:443",
		 BYTES(SIGNATURE "\x21\x21\x00\x24" V6_HOST V6_HOST PORTS)},
		{2, PROXY_KIND_PROXY, V6_SOURCE, V4_TARGET,
		 BYTES(SIGNATURE "\x21\x21\x00\x24" V6_HOST MAPPED PORTS)},
		{2, PROXY_KIND_PROXY, "-", V4_TARGET, BYTES(SIGNATURE "\x21\x00\x00\x00")},
		{2, PROXY_KIND_UNKNOWN, V4_SOURCE, V4_TARGET, BYTES(SIGNATURE "\x21\x00\x00\x00")},
		{2, PROXY_KIND_LOCAL, V4_SOURCE, V4_TARGET, BYTES(SIGNATURE "\x20\x00\x00\x00")},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct addr source, destination;
		struct proxy_build build = {
			.version = rows[i].version,
			.kind = rows[i].kind,
			.source = address(rows[i].source, &source),
			.destination = address(rows[i].destination, &destination),
		};

		expect_built(&build, rows[i].bytes, rows[i].size);
	}
}

/* Received: a unique ID, a checksum, a NOOP, an ALPN, 0xE0, 0xE1, 0xE0 again. */
static const uint8_t received[] = "\x05\x00\x03old"
				  "\x03\x00\x04\x00\x00\x00\x00"
				  "\x04\x00\x01z"
				  "\x01\x00\x02h2"
				  "\xe0\x00\x01"
				  "a\xe1\x00\x01"
				  "b\xe0\x00\x01"
				  "c";
static const struct proxy_tlvs received_tlvs = {received, sizeof(received) - 1};
static const struct proxy_custom customs[] = {{0xe0, "mine"}, {0xef, ""}};

Test(proxy_build, tlvs)
{
	static const struct {
		struct proxy_build build; /* version 2, UNKNOWN */
		const char *tlvs;
		size_t size;
	} rows[] = {
		{{.unique_id = "id"}, BYTES("\x05\x00\x02id")},
		{{.unique_id = ""}, BYTES("\x05\x00\x00")},
		{{.customs = customs, .custom_count = 2},
		 BYTES("\xe0\x00\x04mine"
		       "\xef\x00\x00")},
		{{.checksum = true}, BYTES("\x03\x00\x04\x3e\xc9\x89\x4e")},
		{{.received = received_tlvs},
		 BYTES("\x05\x00\x03old"
		       "\x01\x00\x02h2"
		       "\xe0\x00\x01"
		       "a\xe1\x00\x01"
		       "b\xe0\x00\x01"
		       "c")},
		{{.received = received_tlvs,
		  .unique_id = "id",
		  .customs = customs,
		  .custom_count = 2},
		 BYTES("\x01\x00\x02h2"
		       "\xe1\x00\x01"
		       "b\x05\x00\x02id"
		       "\xe0\x00\x04mine"
		       "\xef\x00\x00")},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct proxy_build build = rows[i].build;
		char bytes[128] = SIGNATURE "\x21\x00";

		build.version = 2;
		build.kind = PROXY_KIND_UNKNOWN;
		bytes[15] = (char)rows[i].size;
		memcpy(bytes + 16, rows[i].tlvs, rows[i].size);
		expect_built(&build, bytes, 16 + rows[i].size);
	}
}

/* Version 1 and LOCAL have no TLVs. */
Test(proxy_build, no_tlvs)
{
	struct proxy_build build = {
		.version = 2,
		.kind = PROXY_KIND_LOCAL,
		.unique_id = "id",
		.customs = customs,
		.custom_count = 2,
		.received = received_tlvs,
		.checksum = true,
	};

	expect_built(&build, BYTES(SIGNATURE "\x20\x00\x00\x00"));
	build.version = 1;
	expect_built(&build, BYTES("PROXY UNKNOWN\r\n"));
}

Test(proxy_build, room)
{
	struct addr source, destination;
	struct proxy_build build = {
		.kind = PROXY_KIND_PROXY,
		.source = address(V6_SOURCE, &source),
		.destination = address(V4_TARGET, &destination),
		.unique_id = "id",
		.received = received_tlvs,
		.checksum = true,
	};

	for (build.version = 1; build.version <= 2; build.version++) {
		uint8_t buffer[256];
		int length = proxy_build(&build, buffer, sizeof(buffer));

		cr_assert(length > 16);
		for (size_t size = 0; size <= (size_t)length; size++) {
			memset(buffer, '#', sizeof(buffer));
			cr_expect_eq(proxy_build(&build, buffer, size),
				     size < (size_t)length ? -EMSGSIZE : length, "%zu", size);
			for (size_t i = size; i < sizeof(buffer); i++)
				cr_expect_eq(buffer[i], '#', "%zu bytes: byte %zu", size, i);
		}
	}
}

Test(proxy_build, limits)
{
	char text[70000];
	uint8_t buffer[sizeof(text) + 64];
	static const struct {
		size_t id_bytes, custom_bytes;
		bool checksum;
		int length;
	} rows[] = {
		{128, 0, false, 16 + 3 + 128 + 3},  {129, 0, false, -EMSGSIZE},
		{0, 4096 - 16 - 6, false, 4096},    {0, 4096 - 16 - 5, false, -EMSGSIZE},
		{0, 4096 - 16 - 6 - 7, true, 4096}, {0, 4096 - 16 - 6 - 6, true, -EMSGSIZE},
		{0, 65535, false, -EMSGSIZE},	    {0, 65536, false, -EMSGSIZE},
		{0, 69999, false, -EMSGSIZE},
	};

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct proxy_custom custom = {
			.type = 0xe0, .text = text + sizeof(text) - 1 - rows[i].custom_bytes};
		struct proxy_build build = {
			.version = 2,
			.kind = PROXY_KIND_UNKNOWN,
			.unique_id = text + sizeof(text) - 1 - rows[i].id_bytes,
			.customs = &custom,
			.custom_count = 1,
			.checksum = rows[i].checksum,
		};

		cr_expect_eq(proxy_build(&build, buffer, sizeof(buffer)), rows[i].length, "row %zu",
			     i);
	}
}

static bool same_endpoint(const struct addr *a, const struct addr *b)
{
	struct in6_addr host_a = cidr_address_of(a), host_b = cidr_address_of(b);

	return !memcmp(&host_a, &host_b, sizeof(host_a)) && addr_port(a) == addr_port(b);
}

/* Parsing a built header gives the values that it was built from. */
Test(proxy_build, round_trips)
{
	static const char *const texts[] = {V4_SOURCE,	     V6_SOURCE, "[::ffff:192.0.2.1]:1",
					    "[::1.2.3.4]:2", "[::]:0",	"255.255.255.255:65535"};
	uint8_t buffer[PROXY_HEADER_LIMIT];
	struct addr source, destination;
	struct proxy_build build = {
		.kind = PROXY_KIND_PROXY,
		.source = &source,
		.destination = &destination,
		.customs = customs,
		.custom_count = 2,
		.received = received_tlvs,
	};

	for (unsigned i = 0; i < ARRAY_COUNT(texts) * ARRAY_COUNT(texts) * 4; i++) {
		struct proxy_header header;
		struct proxy_tlv tlv;
		int length;

		address(texts[i / 4 % ARRAY_COUNT(texts)], &source);
		address(texts[i / 4 / ARRAY_COUNT(texts)], &destination);
		build.version = 1 + i % 2;
		build.checksum = i & 2;
		length = proxy_build(&build, buffer, sizeof(buffer));
		cr_assert(length > 0);
		cr_assert_eq(proxy_parse(buffer, (size_t)length, &header), PROXY_COMPLETE, "%u: %s",
			     i, header.fault);
		cr_expect_eq(header.header_bytes, (size_t)length);
		cr_expect_eq(header.version, build.version);
		cr_expect_eq(header.kind, PROXY_KIND_PROXY);
		cr_expect(same_endpoint(&header.source, &source), "%u", i);
		cr_expect(same_endpoint(&header.destination, &destination), "%u", i);
		cr_expect_eq(proxy_tlv_find(&header.tlvs, PROXY_TLV_CRC32C, &tlv),
			     build.version == 2 && build.checksum);
		if (build.version == 2)
			cr_expect(proxy_tlv_find(&header.tlvs, 0xe0, &tlv) &&
				  tlv.value_bytes == 4 && !memcmp(tlv.value, "mine", 4));
	}
}

Test(proxy_build, custom_parse)
{
	static const struct {
		const char *text;
		int result;
		uint8_t type;
		const char *value;
	} rows[] = {
		{"0xE0=text", 0, 0xe0, "text"},	  {"0xef=", 0, 0xef, ""},
		{"0xeA= a=b ", 0, 0xea, " a=b "}, {"0xDF=text", -ERANGE, 0, NULL},
		{"0xF0=text", -ERANGE, 0, NULL},  {"0x00=text", -ERANGE, 0, NULL},
		{"", -EINVAL, 0, NULL},		  {"0x", -EINVAL, 0, NULL},
		{"0xE0", -EINVAL, 0, NULL},	  {"E0=text", -EINVAL, 0, NULL},
		{"0XE0=text", -EINVAL, 0, NULL},  {"224=text", -EINVAL, 0, NULL},
		{"0xE=text", -EINVAL, 0, NULL},	  {"0x0E0=text", -EINVAL, 0, NULL},
		{"0xEG=text", -EINVAL, 0, NULL},  {"0x E0=text", -EINVAL, 0, NULL},
		{" 0xE0=text", -EINVAL, 0, NULL}, {"0xE0 =text", -EINVAL, 0, NULL},
		{"0xE0:text", -EINVAL, 0, NULL},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct proxy_custom custom = {.text = "untouched"};

		cr_expect_eq(proxy_custom_parse(rows[i].text, &custom), rows[i].result, "'%s'",
			     rows[i].text);
		cr_expect_eq(custom.type, rows[i].type, "'%s'", rows[i].text);
		cr_expect_str_eq(custom.text, rows[i].value ? rows[i].value : "untouched");
	}
}

Test(proxy_build, custom_limit)
{
	char text[5 + PROXY_CUSTOM_LIMIT + 2] = "0xE0=";
	struct proxy_custom custom;

	memset(text + 5, 'a', PROXY_CUSTOM_LIMIT);
	cr_expect_eq(proxy_custom_parse(text, &custom), 0);
	cr_expect_eq(strlen(custom.text), PROXY_CUSTOM_LIMIT);
	text[5 + PROXY_CUSTOM_LIMIT] = 'a';
	cr_expect_eq(proxy_custom_parse(text, &custom), -EMSGSIZE);
}
