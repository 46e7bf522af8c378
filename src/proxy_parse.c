#include <arpa/inet.h>
#include <string.h>

#include "crc32c.h"
#include "proxy_format.h"
#include "proxy_protocol.h"
#include "util.h"

#define V1_SIGNATURE "PROXY "

static uint16_t read_u16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static enum proxy_result fail(const char **fault, const char *why)
{
	*fault = why;
	return PROXY_BAD;
}

/* Version 1 ------------------------------------------------------------------------------------ */

/* A word of the line, ended by one blank or the line's end. */
struct word {
	const char *at;
	size_t length;
};

static bool next_word(struct word *line, struct word *word)
{
	const char *blank = memchr(line->at, ' ', line->length);

	word->at = line->at;
	word->length = blank ? (size_t)(blank - line->at) : line->length;
	if (!word->length)
		return false;
	line->at += word->length + (blank != NULL);
	line->length -= word->length + (blank != NULL);
	/* a blank at the end begins another word, which is not there */
	return !blank || line->length;
}

static bool word_is(const struct word *word, const char *text)
{
	return word->length == strlen(text) && !memcmp(word->at, text, word->length);
}

static bool parse_host(const struct word *word, struct addr *address)
{
	char text[INET6_ADDRSTRLEN];

	if (word->length >= sizeof(text))
		return false;
	memcpy(text, word->at, word->length);
	text[word->length] = '\0';
	if (address->any.sa_family == AF_INET)
		return inet_pton(AF_INET, text, &address->v4.sin_addr) == 1;
	return inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1;
}

/* Decimal, 0 to 65535, without leading zeros or signs. */
static bool parse_port(const struct word *word, struct addr *address)
{
	unsigned port = 0;

	if (word->length > 5 || (word->length > 1 && *word->at == '0'))
		return false;
	for (size_t i = 0; i < word->length; i++) {
		if (word->at[i] < '0' || word->at[i] > '9')
			return false;
		port = port * 10 + (unsigned)(word->at[i] - '0');
	}
	if (port > 65535)
		return false;
	addr_set_port(address, port);
	return true;
}

static void begin_address(struct addr *address, bool v6)
{
	memset(address, 0, sizeof(*address));
	address->any.sa_family = v6 ? AF_INET6 : AF_INET;
	address->length_bytes = v6 ? sizeof(address->v6) : sizeof(address->v4);
}

static enum proxy_result parse_line(struct word line, struct proxy_header *header,
				    const char **fault)
{
	struct word words[5];
	bool v6;

	if (word_is(&line, "UNKNOWN") || (line.length > 8 && !memcmp(line.at, "UNKNOWN ", 8))) {
		/* whatever follows is to be ignored: 2.1 */
		header->kind = PROXY_KIND_UNKNOWN;
		return PROXY_COMPLETE;
	}
	for (unsigned i = 0; i < ARRAY_COUNT(words); i++) {
		bool last = i + 1 == ARRAY_COUNT(words);

		if (!next_word(&line, &words[i]) || (!line.length) != last)
			return fail(fault, "is not PROXY, family, two addresses and two ports with "
					   "single blanks between them");
	}
	v6 = word_is(&words[0], "TCP6");
	if (!v6 && !word_is(&words[0], "TCP4"))
		return fail(fault, "has a family that is not TCP4, TCP6 or UNKNOWN");
	header->kind = PROXY_KIND_PROXY;
	begin_address(&header->source, v6);
	begin_address(&header->destination, v6);
	if (!parse_host(&words[1], &header->source) || !parse_host(&words[2], &header->destination))
		return fail(fault, "has an address that is none of its family");
	if (!parse_port(&words[3], &header->source) || !parse_port(&words[4], &header->destination))
		return fail(fault, "has a port that is not a number from 0 to 65535");
	return PROXY_COMPLETE;
}

static enum proxy_result parse_v1(const char *text, size_t size, struct proxy_header *header,
				  size_t *needed, const char **fault)
{
	size_t looked = MIN(size, PROXY_V1_LIMIT);
	struct word line = {.at = text + strlen(V1_SIGNATURE)};
	size_t length;

	for (length = 0; length < looked && text[length] >= ' ' && text[length] <= '~';)
		length++;
	if (length == PROXY_V1_LIMIT || (length + 1 == PROXY_V1_LIMIT && looked == PROXY_V1_LIMIT))
		return fail(fault, "is longer than 107 bytes");
	if (length < looked && text[length] != '\r')
		return fail(fault, "has a byte that is not printable ASCII");
	if (length + 1 < looked && text[length + 1] != '\n')
		return fail(fault, "does not end with CR and LF");
	if (length + 2 > looked) {
		*needed = size + 1;
		return PROXY_MORE;
	}
	line.length = length - strlen(V1_SIGNATURE);
	header->length_bytes = length + 2;
	return parse_line(line, header, fault);
}

/* Version 2 ------------------------------------------------------------------------------------ */

bool proxy_tlv_next(struct proxy_tlvs *tlvs, struct proxy_tlv *tlv)
{
	if (tlvs->size < PROXY_TLV_HEAD_BYTES)
		return false;
	tlv->type = tlvs->at[0];
	tlv->size = read_u16(tlvs->at + 1);
	tlv->value = tlvs->at + PROXY_TLV_HEAD_BYTES;
	if (tlvs->size - PROXY_TLV_HEAD_BYTES < tlv->size)
		return false;
	tlvs->at += PROXY_TLV_HEAD_BYTES + tlv->size;
	tlvs->size -= PROXY_TLV_HEAD_BYTES + tlv->size;
	return true;
}

static bool is_unique(uint8_t type)
{
	return type == PROXY_TLV_ALPN || type == PROXY_TLV_AUTHORITY || type == PROXY_TLV_CRC32C ||
	       type == PROXY_TLV_UNIQUE_ID || type == PROXY_TLV_SSL || type == PROXY_TLV_NETNS;
}

/* The checksum is of the whole header, its own four bytes being 0: 2.2.3. */
static bool is_sum_right(const uint8_t *bytes, size_t size, const struct proxy_tlv *tlv)
{
	static const uint8_t zeros[4];
	size_t offset = (size_t)(tlv->value - bytes);
	uint32_t sum, given;

	memcpy(&given, tlv->value, sizeof(given));
	sum = crc32c(0, bytes, offset);
	sum = crc32c(sum, zeros, sizeof(zeros));
	sum = crc32c(sum, tlv->value + sizeof(zeros), size - offset - sizeof(zeros));
	return sum == ntohl(given);
}

static enum proxy_result check_tlvs(const uint8_t *bytes, const struct proxy_header *header,
				    const char **fault)
{
	struct proxy_tlvs left = header->tlvs;
	struct proxy_tlv tlv;
	bool seen[256] = {false};

	while (proxy_tlv_next(&left, &tlv)) {
		if (is_unique(tlv.type) && seen[tlv.type])
			return fail(fault, "has a value twice that may be there once");
		seen[tlv.type] = true;
		if (tlv.type == PROXY_TLV_UNIQUE_ID && tlv.size > PROXY_UNIQUE_ID_MOST)
			return fail(fault, "has a unique id of more than 128 bytes");
		if (tlv.type != PROXY_TLV_CRC32C)
			continue;
		if (tlv.size != 4)
			return fail(fault, "has a checksum that is not of four bytes");
		if (!is_sum_right(bytes, header->length_bytes, &tlv))
			return fail(fault, "does not have the checksum that it says");
	}
	return left.size ? fail(fault, "has a value that is longer than the header")
			 : PROXY_COMPLETE;
}

static void take_v4(const uint8_t *at, struct proxy_header *header)
{
	struct proxy_v2_addresses4 addresses;

	memcpy(&addresses, at, sizeof(addresses));
	begin_address(&header->source, false);
	begin_address(&header->destination, false);
	header->source.v4.sin_addr = addresses.source;
	header->source.v4.sin_port = addresses.source_port;
	header->destination.v4.sin_addr = addresses.destination;
	header->destination.v4.sin_port = addresses.destination_port;
}

static void take_v6(const uint8_t *at, struct proxy_header *header)
{
	struct proxy_v2_addresses6 addresses;

	memcpy(&addresses, at, sizeof(addresses));
	begin_address(&header->source, true);
	begin_address(&header->destination, true);
	header->source.v6.sin6_addr = addresses.source;
	header->source.v6.sin6_port = addresses.source_port;
	header->destination.v6.sin6_addr = addresses.destination;
	header->destination.v6.sin6_port = addresses.destination_port;
}

/* What the head alone tells. Sets the kind, and how many bytes the addresses take. */
static enum proxy_result check_head(const uint8_t *bytes, struct proxy_header *header,
				    size_t *address_bytes, const char **fault)
{
	uint8_t version_command = bytes[12], family = bytes[13];

	if ((version_command & 0xf0) != PROXY_V2_VERSION)
		return fail(fault, "is of a version that is neither 1 nor 2");
	if (header->length_bytes > PROXY_HEADER_LIMIT)
		return fail(fault, "is longer than 4096 bytes");
	*address_bytes = 0;
	switch (version_command & 0x0f) {
	case PROXY_V2_LOCAL:
		header->kind = PROXY_KIND_LOCAL; /* whatever family it says: 2.2 */
		return PROXY_COMPLETE;
	case PROXY_V2_PROXY:
		break;
	default:
		return fail(fault, "has a command that is neither LOCAL nor PROXY");
	}
	header->kind = PROXY_KIND_PROXY;
	if (family == PROXY_V2_UNSPEC)
		header->kind = PROXY_KIND_UNKNOWN;
	else if (family == PROXY_V2_TCP4)
		*address_bytes = sizeof(struct proxy_v2_addresses4);
	else if (family == PROXY_V2_TCP6)
		*address_bytes = sizeof(struct proxy_v2_addresses6);
	else
		return fail(fault, "has a family that is not TCP over IPv4 or IPv6");
	if (header->length_bytes - PROXY_V2_HEAD_BYTES < *address_bytes)
		return fail(fault, "is too short for the addresses of its family");
	return PROXY_COMPLETE;
}

static enum proxy_result parse_v2(const uint8_t *bytes, size_t size, struct proxy_header *header,
				  size_t *needed, const char **fault)
{
	size_t address_bytes;

	if (size < PROXY_V2_HEAD_BYTES) {
		*needed = PROXY_V2_HEAD_BYTES;
		return PROXY_MORE;
	}
	header->length_bytes = (size_t)PROXY_V2_HEAD_BYTES + read_u16(bytes + 14);
	if (check_head(bytes, header, &address_bytes, fault) == PROXY_BAD)
		return PROXY_BAD;
	if (size < header->length_bytes) {
		*needed = header->length_bytes;
		return PROXY_MORE;
	}
	if (!address_bytes)
		return PROXY_COMPLETE;
	if (address_bytes == sizeof(struct proxy_v2_addresses4))
		take_v4(bytes + PROXY_V2_HEAD_BYTES, header);
	else
		take_v6(bytes + PROXY_V2_HEAD_BYTES, header);
	header->tlvs.at = bytes + PROXY_V2_HEAD_BYTES + address_bytes;
	header->tlvs.size = header->length_bytes - PROXY_V2_HEAD_BYTES - address_bytes;
	return check_tlvs(bytes, header, fault);
}

enum proxy_result proxy_parse(const void *bytes, size_t size, struct proxy_header *header,
			      size_t *needed, const char **fault)
{
	static const char v1[] = V1_SIGNATURE, v2[] = PROXY_V2_SIGNATURE;
	bool is_v1 = !memcmp(bytes, v1, MIN(size, strlen(v1)));
	bool is_v2 = !memcmp(bytes, v2, MIN(size, PROXY_V2_SIGNATURE_BYTES));

	memset(header, 0, sizeof(*header));
	if (!is_v1 && !is_v2)
		return fail(fault, "is missing: the first bytes are something else");
	if (is_v2)
		return parse_v2(bytes, size, header, needed, fault);
	if (size < strlen(v1)) {
		*needed = size + 1;
		return PROXY_MORE;
	}
	return parse_v1(bytes, size, header, needed, fault);
}
