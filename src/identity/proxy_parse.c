/* SPDX-License-Identifier: MIT */
/*
 * A header may arrive in parts, so each part is checked as the beginning of a header. When more
 * bytes of the same stream are there, PROXY_MORE may become another result; any other result stays.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/util.h"
#include "identity/proxy_protocol.h"
#include "identity/proxy_v2.h"

/* The endpoint must be zeroed. */
static void set_family(struct addr *endpoint, sa_family_t family)
{
	endpoint->any.sa_family = family;
	endpoint->length_bytes = family == AF_INET6 ? sizeof(endpoint->v6) : sizeof(endpoint->v4);
}

static void *host_of(struct addr *endpoint)
{
	return endpoint->any.sa_family == AF_INET6 ? (void *)&endpoint->v6.sin6_addr
						   : (void *)&endpoint->v4.sin_addr;
}

static enum proxy_result complete(struct proxy_header *header, unsigned version, size_t bytes)
{
	header->version = version;
	header->header_bytes = bytes;
	return PROXY_COMPLETE;
}

static enum proxy_result more(struct proxy_header *header, size_t need_bytes)
{
	*header = (struct proxy_header){.need_bytes = need_bytes};
	return PROXY_MORE;
}

static enum proxy_result bad(struct proxy_header *header, const char *fault)
{
	*header = (struct proxy_header){.fault = fault};
	return PROXY_BAD;
}

/*
 * Version 1 is a line of text. Each function take_...() reads one part of the line. Once `result`
 * is PROXY_MORE (the line ended early) or PROXY_BAD, they do nothing. So the caller just calls them
 * in order.
 */
struct line {
	const char *at;
	const char *end; /* of the bytes that are there, at most PROXY_V1_LIMIT */
	enum proxy_result result;
	const char *fault;
};

static void stop(struct line *line, const char *fault)
{
	line->result = fault ? PROXY_BAD : PROXY_MORE;
	line->fault = fault;
}

/*
 * Takes `word` if it is next, and returns whether it was. Stops if the line ends within the word.
 */
static bool take_word(struct line *line, const char *word)
{
	size_t length = strlen(word);
	size_t left = (size_t)(line->end - line->at);

	if (line->result != PROXY_COMPLETE || memcmp(line->at, word, MIN(length, left)))
		return false;
	if (left < length)
		stop(line, NULL);
	else
		line->at += length;
	return true;
}

static void take(struct line *line, const char *word, const char *fault)
{
	if (!take_word(line, word) && line->result == PROXY_COMPLETE)
		stop(line, fault);
}

/*
 * Whether an address can start with `beginning`. Tries every end of 0.0.0.0 and 0:0:0:0:0:0:0:0
 * after it: if any text completes the address, one of these does.
 */
static bool can_become_address(sa_family_t family, const char *beginning)
{
	static const char *const zeros[] = {"0.0.0.0", "0:0:0:0:0:0:0:0"};
	char text[INET6_ADDRSTRLEN + sizeof("0:0:0:0:0:0:0:0")];
	struct in6_addr address;

	for (size_t i = 0; i < ARRAY_COUNT(zeros); i++) {
		for (size_t skip = 0; skip <= strlen(zeros[i]); skip++) {
			snprintf(text, sizeof(text), "%s%s", beginning, zeros[i] + skip);
			if (inet_pton(family, text, &address) == 1)
				return true;
		}
	}
	return false;
}

/* Takes an address and the space after it. */
static void take_address(struct line *line, struct addr *address, const char *fault)
{
	sa_family_t family = address->any.sa_family;
	size_t left = (size_t)(line->end - line->at);
	char text[INET6_ADDRSTRLEN];
	const char *space;
	size_t length;

	if (line->result != PROXY_COMPLETE)
		return;
	space = memchr(line->at, ' ', left);
	length = space ? (size_t)(space - line->at) : left;
	/* a NUL would hide the bytes after it */
	if (length >= sizeof(text) || memchr(line->at, '\0', length)) {
		stop(line, fault);
		return;
	}
	memcpy(text, line->at, length);
	text[length] = '\0';
	if (!space)
		stop(line, can_become_address(family, text) ? NULL : fault);
	else if (inet_pton(family, text, host_of(address)) != 1)
		stop(line, fault);
	else
		line->at = space + 1;
}

/* Takes a port, but not the byte after it. */
static void take_port(struct line *line, struct addr *address, const char *fault)
{
	const char *first = line->at;
	unsigned port = 0;

	if (line->result != PROXY_COMPLETE)
		return;
	for (; line->at < line->end && *line->at >= '0' && *line->at <= '9'; line->at++) {
		port = port * 10 + (unsigned)(*line->at - '0');
		if (port > 65535 || (*first == '0' && line->at > first)) {
			stop(line, fault);
			return;
		}
	}
	if (line->at == line->end)
		stop(line, NULL);
	else if (line->at == first)
		stop(line, fault);
	else
		addr_set_port(address, port);
}

static void take_endpoints(struct line *line, struct proxy_header *header, sa_family_t family)
{
	set_family(&header->source, family);
	set_family(&header->destination, family);
	take_address(line, &header->source, "v1: the source address is not of the named protocol");
	take_address(line, &header->destination,
		     "v1: the destination address is not of the named protocol");
	take_port(line, &header->source,
		  "v1: the source port is not a number up to 65535, without zeros before it");
	take(line, " ", "v1: no space after the source port");
	take_port(line, &header->destination,
		  "v1: the destination port is not a number up to 65535, without zeros before it");
	take(line, "\r\n", "v1: no CRLF after the destination port");
}

/* After UNKNOWN, any bytes up to CR LF are ignored (2.1). */
static void take_anything(struct line *line)
{
	if (line->result != PROXY_COMPLETE)
		return;
	if (line->at < line->end && *line->at != ' ' && *line->at != '\r')
		stop(line, "v1: the protocol is none of TCP4, TCP6 and UNKNOWN");
	while (line->result == PROXY_COMPLETE && line->at < line->end && *line->at != '\r') {
		if (*line->at == '\0' || *line->at == '\n')
			stop(line, "v1: a NUL or a bare LF in the line");
		line->at++;
	}
	take(line, "\r\n", "v1: a bare CR in the line");
}

static enum proxy_result parse_v1(const char *bytes, size_t size, struct proxy_header *header)
{
	struct line line = {
		.at = bytes, .end = bytes + MIN(size, PROXY_V1_LIMIT), .result = PROXY_COMPLETE};

	take(&line, "PROXY ", "no PROXY header");
	if (take_word(&line, "TCP4 ")) {
		take_endpoints(&line, header, AF_INET);
	} else if (take_word(&line, "TCP6 ")) {
		take_endpoints(&line, header, AF_INET6);
	} else {
		take(&line, "UNKNOWN", "v1: the protocol is none of TCP4, TCP6 and UNKNOWN");
		take_anything(&line);
		header->kind = PROXY_KIND_UNKNOWN;
	}
	if (line.result == PROXY_BAD)
		return bad(header, line.fault);
	if (line.result == PROXY_COMPLETE)
		return complete(header, 1, (size_t)(line.at - bytes));
	if (size >= PROXY_V1_LIMIT)
		return bad(header, "v1: no CRLF within 107 bytes");
	return more(header, size + 1);
}

/* Version 2: byte 12 is version and command, byte 13 is family and transport. */

static bool is_local(const uint8_t *bytes)
{
	return (bytes[12] & 15) == PROXY_V2_COMMAND_LOCAL;
}

/* Whether the header has the addresses of a TCP connection. */
static bool has_endpoints(const uint8_t *bytes)
{
	unsigned family = bytes[13] >> 4;

	return (family == PROXY_V2_FAMILY_INET || family == PROXY_V2_FAMILY_INET6) &&
	       (bytes[13] & 15) == PROXY_V2_TRANSPORT_STREAM;
}

/* The length of the addresses, usable or not. 0 for UNSPEC, whose length is not known. */
static size_t endpoints_bytes(const uint8_t *bytes)
{
	switch (bytes[13] >> 4) {
	case PROXY_V2_FAMILY_INET:
		return 2 * (sizeof(struct in_addr) + sizeof(in_port_t));
	case PROXY_V2_FAMILY_INET6:
		return 2 * (sizeof(struct in6_addr) + sizeof(in_port_t));
	case PROXY_V2_FAMILY_UNIX:
		return 2 * PROXY_V2_UNIX_HOST_BYTES;
	default:
		return 0;
	}
}

/* What is wrong with those of the first 16 bytes that are there, or NULL. */
static const char *v2_fault(const uint8_t *bytes, size_t size)
{
	size_t block_bytes;

	if (memcmp(bytes, PROXY_V2_SIGNATURE, MIN(size, PROXY_V2_SIGNATURE_BYTES)))
		return "no PROXY header";
	if (size < 13)
		return NULL;
	if (bytes[12] >> 4 != PROXY_V2_VERSION)
		return "v2: the version after the signature is not 2";
	if ((bytes[12] & 15) > PROXY_V2_COMMAND_PROXY)
		return "v2: the command is neither LOCAL nor PROXY";
	if (size >= 14 && !is_local(bytes)) {
		if (bytes[13] >> 4 > PROXY_V2_FAMILY_UNIX)
			return "v2: unknown address family";
		if ((bytes[13] & 15) > PROXY_V2_TRANSPORT_DGRAM)
			return "v2: unknown transport";
	}
	if (size < PROXY_V2_FIXED_BYTES)
		return NULL;
	block_bytes = (size_t)bytes[14] << 8 | bytes[15];
	if (block_bytes > PROXY_HEADER_LIMIT - PROXY_V2_FIXED_BYTES)
		return "v2: longer than 4096 bytes";
	if (!is_local(bytes) && block_bytes < endpoints_bytes(bytes))
		return "v2: too short for its addresses";
	return NULL;
}

/* Addresses and ports, all in network byte order: both addresses, then both ports. */
static void read_endpoints(const uint8_t *bytes, struct proxy_header *header)
{
	bool is_v6 = bytes[13] >> 4 == PROXY_V2_FAMILY_INET6;
	size_t host_bytes = is_v6 ? sizeof(struct in6_addr) : sizeof(struct in_addr);
	struct addr *endpoints[] = {&header->source, &header->destination};
	const uint8_t *host = bytes + PROXY_V2_FIXED_BYTES;
	const uint8_t *port = host + 2 * host_bytes;

	for (size_t i = 0; i < 2; i++, host += host_bytes, port += 2) {
		set_family(endpoints[i], is_v6 ? AF_INET6 : AF_INET);
		memcpy(host_of(endpoints[i]), host, host_bytes);
		addr_set_port(endpoints[i], (unsigned)port[0] << 8 | port[1]);
	}
}

/* The checksum covers the whole header, with its own four bytes as zeros (2.2.3). */
static bool checksum_is_right(const uint8_t *bytes, size_t header_bytes, const uint8_t *checksum)
{
	static const uint8_t zeros[PROXY_V2_CHECKSUM_BYTES];
	const uint8_t *behind = checksum + sizeof(zeros);
	uint32_t crc = crc32c(0, bytes, (size_t)(checksum - bytes));
	uint32_t told_be;

	crc = crc32c(crc, zeros, sizeof(zeros));
	crc = crc32c(crc, behind, header_bytes - (size_t)(behind - bytes));
	memcpy(&told_be, checksum, sizeof(told_be));
	return ntohl(told_be) == crc;
}

/* Whether the region is TLVs from its first byte to its last. */
static bool is_all_tlvs(const struct proxy_tlvs *tlvs)
{
	struct proxy_tlv tlv;
	size_t at = 0;

	while (proxy_tlv_next(tlvs, &at, &tlv))
		;
	return at == tlvs->size_bytes;
}

/* What is wrong with the TLVs of a whole header, or NULL. */
static const char *tlvs_fault(const uint8_t *bytes, size_t header_bytes,
			      const struct proxy_tlvs *tlvs)
{
	static const struct {
		uint8_t type;
		const char *fault;
	} once[] = {
		{PROXY_TLV_ALPN, "v2: two ALPN TLVs"},
		{PROXY_TLV_AUTHORITY, "v2: two AUTHORITY TLVs"},
		{PROXY_TLV_CRC32C, "v2: two CRC32C TLVs"},
		{PROXY_TLV_UNIQUE_ID, "v2: two UNIQUE_ID TLVs"},
		{PROXY_TLV_SSL, "v2: two SSL TLVs"},
		{PROXY_TLV_NETNS, "v2: two NETNS TLVs"},
	};
	bool seen[ARRAY_COUNT(once)] = {false};
	struct proxy_tlv tlv;
	size_t at = 0;

	while (proxy_tlv_next(tlvs, &at, &tlv)) {
		for (size_t i = 0; i < ARRAY_COUNT(once); i++) {
			if (tlv.type != once[i].type)
				continue;
			if (seen[i])
				return once[i].fault;
			seen[i] = true;
		}
		if (tlv.type == PROXY_TLV_UNIQUE_ID && tlv.value_bytes > PROXY_UNIQUE_ID_LIMIT)
			return "v2: the unique ID is longer than 128 bytes";
		if (tlv.type != PROXY_TLV_CRC32C)
			continue;
		if (tlv.value_bytes != PROXY_V2_CHECKSUM_BYTES)
			return "v2: the checksum is not 4 bytes long";
		if (!checksum_is_right(bytes, header_bytes, tlv.value))
			return "v2: the checksum is wrong";
	}
	return NULL;
}

static enum proxy_result parse_v2(const uint8_t *bytes, size_t size, struct proxy_header *header)
{
	const char *fault = v2_fault(bytes, size);
	size_t header_bytes, skipped_bytes;

	if (fault)
		return bad(header, fault);
	if (size < PROXY_V2_FIXED_BYTES)
		return more(header, PROXY_V2_FIXED_BYTES);
	header_bytes = PROXY_V2_FIXED_BYTES + ((size_t)bytes[14] << 8 | bytes[15]);
	if (size < header_bytes)
		return more(header, header_bytes);
	if (is_local(bytes)) {
		header->kind = PROXY_KIND_LOCAL;
		return complete(header, 2, header_bytes);
	}
	if (has_endpoints(bytes))
		read_endpoints(bytes, header);
	else
		header->kind = PROXY_KIND_UNKNOWN;
	skipped_bytes = PROXY_V2_FIXED_BYTES + endpoints_bytes(bytes);
	header->tlvs = (struct proxy_tlvs){bytes + skipped_bytes, header_bytes - skipped_bytes};
	if (!is_all_tlvs(&header->tlvs)) {
		if (bytes[13] >> 4 != PROXY_V2_FAMILY_UNSPEC)
			return bad(header, "v2: a TLV reaches beyond the header");
		/* addresses of an unnamed family: ignore them (2.2) */
		header->tlvs = (struct proxy_tlvs){0};
	}
	fault = tlvs_fault(bytes, header_bytes, &header->tlvs);
	return fault ? bad(header, fault) : complete(header, 2, header_bytes);
}

enum proxy_result proxy_parse(const void *bytes, size_t size, struct proxy_header *header)
{
	memset(header, 0, sizeof(*header));
	if (!size)
		return more(header, 1);
	if (*(const char *)bytes == 'P')
		return parse_v1(bytes, size, header);
	return parse_v2(bytes, size, header);
}

/* TLVs ----------------------------------------------------------------------------------------- */

static bool read_tlv(const struct proxy_tlvs *tlvs, size_t at, struct proxy_tlv *tlv)
{
	const uint8_t *head = tlvs->bytes + at;
	size_t left_bytes = tlvs->size_bytes - at;
	size_t value_bytes;

	if (left_bytes < PROXY_V2_TLV_HEAD_BYTES)
		return false;
	value_bytes = (size_t)head[1] << 8 | head[2];
	if (value_bytes > left_bytes - PROXY_V2_TLV_HEAD_BYTES)
		return false;
	*tlv = (struct proxy_tlv){head[0], head + PROXY_V2_TLV_HEAD_BYTES, value_bytes};
	return true;
}

bool proxy_tlv_next(const struct proxy_tlvs *tlvs, size_t *at, struct proxy_tlv *tlv)
{
	while (*at < tlvs->size_bytes && read_tlv(tlvs, *at, tlv)) {
		*at += PROXY_V2_TLV_HEAD_BYTES + tlv->value_bytes;
		if (tlv->type != PROXY_TLV_NOOP)
			return true;
	}
	return false;
}

bool proxy_tlv_find(const struct proxy_tlvs *tlvs, uint8_t type, struct proxy_tlv *tlv)
{
	struct proxy_tlv candidate;

	for (size_t at = 0; proxy_tlv_next(tlvs, &at, &candidate);) {
		if (candidate.type == type) {
			*tlv = candidate;
			return true;
		}
	}
	return false;
}

int proxy_custom_parse(const char *text, struct proxy_custom *custom)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	size_t length;
	long type;

	if (strncmp(text, "0x", 2) || strspn(text + 2, digits) != 2 || text[4] != '=')
		return -EINVAL;
	type = strtol(text, NULL, 16);
	if (type < PROXY_TLV_CUSTOM_FIRST || type > PROXY_TLV_CUSTOM_LAST)
		return -ERANGE;
	text += strlen("0xE0=");
	length = strlen(text);
	if (length > PROXY_CUSTOM_LIMIT)
		return -EMSGSIZE;
	custom->type = (uint8_t)type;
	custom->text = text;
	return 0;
}
