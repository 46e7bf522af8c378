/* SPDX-License-Identifier: MIT */
/*
 * proxy_protocol.h: what is said of a piece of a header agrees with what is said of more of it, and
 * what was parsed can be built again and means the same.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/cidr.h"
#include "fuzz.h"
#include "identity/proxy_protocol.h"

/* Pieces shorter than this are all tried; of longer ones those around the end. */
#define PIECE_LIMIT 128

/* Memory of just that size, so that a sanitizer sees a read beyond. */
static uint8_t *copy_of(const uint8_t *bytes, size_t count)
{
	uint8_t *copy = malloc(count ? count : 1);

	CHECK(copy);
	if (count)
		memcpy(copy, bytes, count);
	return copy;
}

static void check_one(enum proxy_result result, const struct proxy_header *header, size_t count)
{
	CHECK((result == PROXY_COMPLETE) == (header->header_bytes > 0));
	CHECK((result == PROXY_MORE) == (header->need_bytes > 0));
	CHECK((result == PROXY_BAD) == (header->fault && *header->fault));
	CHECK(header->header_bytes <= MIN(count, PROXY_HEADER_LIMIT));
	CHECK(result != PROXY_MORE ||
	      (header->need_bytes > count && header->need_bytes <= PROXY_HEADER_LIMIT));
}

static void check_piece(const uint8_t *bytes, size_t count, enum proxy_result whole,
			const struct proxy_header *whole_header)
{
	uint8_t *copy = copy_of(bytes, count);
	struct proxy_header header;
	enum proxy_result result = proxy_parse(copy, count, &header);

	check_one(result, &header, count);
	if (result == PROXY_BAD) {
		CHECK(whole == PROXY_BAD && !strcmp(header.fault, whole_header->fault));
	} else if (result == PROXY_COMPLETE) {
		CHECK(whole == PROXY_COMPLETE && header.header_bytes == whole_header->header_bytes);
	} else if (whole == PROXY_COMPLETE) {
		CHECK(count < whole_header->header_bytes);
		CHECK(header.need_bytes <= whole_header->header_bytes);
	} else if (whole == PROXY_MORE) {
		CHECK(header.need_bytes <= whole_header->need_bytes);
	}
	free(copy);
}

static bool same_endpoint(const struct addr *a, const struct addr *b)
{
	struct in6_addr host_a = cidr_address_of(a), host_b = cidr_address_of(b);

	if (!a->length_bytes || !b->length_bytes)
		return a->length_bytes == b->length_bytes;
	return !memcmp(&host_a, &host_b, sizeof(host_a)) && addr_port(a) == addr_port(b);
}

/* The next TLV that is passed on. */
static bool next_passed(const struct proxy_tlvs *tlvs, size_t *at, struct proxy_tlv *tlv)
{
	while (proxy_tlv_next(tlvs, at, tlv))
		if (tlv->type != PROXY_TLV_CRC32C)
			return true;
	return false;
}

static bool same_tlvs(const struct proxy_tlvs *a, const struct proxy_tlvs *b)
{
	struct proxy_tlv tlv_a, tlv_b;
	size_t at_a = 0, at_b = 0;

	while (next_passed(a, &at_a, &tlv_a)) {
		if (!next_passed(b, &at_b, &tlv_b) || tlv_a.type != tlv_b.type ||
		    tlv_a.value_bytes != tlv_b.value_bytes ||
		    memcmp(tlv_a.value, tlv_b.value, tlv_a.value_bytes))
			return false;
	}
	return at_a == a->size_bytes && !next_passed(b, &at_b, &tlv_b);
}

static void check_rebuilt(const struct proxy_header *header, unsigned version, bool checksum)
{
	struct proxy_build build = {
		.version = version,
		.kind = header->kind,
		.source = &header->source,
		.destination = &header->destination,
		.received = header->tlvs,
		.checksum = checksum,
	};
	static const struct proxy_tlvs none;
	uint8_t buffer[PROXY_HEADER_LIMIT];
	struct proxy_header again;
	struct proxy_tlv tlv;
	int length = proxy_build(&build, buffer, sizeof(buffer));

	if (length < 0) {
		/* it grows by nothing but a checksum */
		CHECK(length == -EMSGSIZE && checksum);
		CHECK(header->header_bytes + 3 + 4 > PROXY_HEADER_LIMIT);
		return;
	}
	CHECK(proxy_parse(buffer, (size_t)length, &again) == PROXY_COMPLETE);
	CHECK(again.header_bytes == (size_t)length && again.version == version);
	if (version == 1 && header->kind == PROXY_KIND_LOCAL)
		CHECK(again.kind == PROXY_KIND_UNKNOWN);
	else
		CHECK(again.kind == header->kind);
	CHECK(same_endpoint(&again.source, &header->source));
	CHECK(same_endpoint(&again.destination, &header->destination));
	CHECK(same_tlvs(version == 1 ? &none : &header->tlvs, &again.tlvs));
	CHECK(proxy_tlv_find(&again.tlvs, PROXY_TLV_CRC32C, &tlv) ==
	      (version == 2 && checksum && header->kind != PROXY_KIND_LOCAL));
}

/* Everything that is configured, and of any text; it is built whole or not at all. */
static void check_built(const uint8_t *bytes, size_t count, const struct proxy_header *header)
{
	char *text = fuzz_text(bytes, count);
	struct proxy_custom custom;
	struct proxy_build build = {
		.version = 2,
		.kind = header->kind,
		.source = &header->source,
		.destination = &header->destination,
		.unique_id = text,
		.customs = &custom,
		.custom_count = proxy_custom_parse(text, &custom) ? 0 : 1,
		.received = header->tlvs,
		.checksum = true,
	};
	size_t size = count * 4;
	uint8_t *buffer = malloc(size ? size : 1);
	struct proxy_header again;
	struct proxy_tlv tlv;
	int length;

	CHECK(buffer);
	length = proxy_build(&build, buffer, size);
	CHECK(length == -EMSGSIZE ||
	      (length > 0 && (size_t)length <= MIN(size, PROXY_HEADER_LIMIT)));
	if (length > 0) {
		CHECK(proxy_parse(buffer, (size_t)length, &again) == PROXY_COMPLETE);
		CHECK(again.header_bytes == (size_t)length);
		if (header->kind != PROXY_KIND_LOCAL) {
			CHECK(proxy_tlv_find(&again.tlvs, PROXY_TLV_UNIQUE_ID, &tlv));
			CHECK(tlv.value_bytes == strlen(text));
			CHECK(!memcmp(tlv.value, text, tlv.value_bytes));
		}
	}
	free(buffer);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct proxy_header header;
	enum proxy_result result = proxy_parse(bytes, count, &header);

	check_one(result, &header, count);
	for (size_t piece = 0; piece < count; piece++)
		if (piece < PIECE_LIMIT || piece + 8 > count)
			check_piece(bytes, piece, result, &header);
	if (result == PROXY_COMPLETE) {
		for (unsigned version = 1; version <= 2; version++) {
			check_rebuilt(&header, version, false);
			check_rebuilt(&header, version, true);
		}
	}
	check_built(bytes, count, &header);
	return 0;
}
