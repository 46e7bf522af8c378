#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "cidr.h"
#include "crc32c.h"
#include "proxy_format.h"
#include "proxy_protocol.h"

/* Both addresses in the one form that a header has: IPv6, IPv4 in its mapped form. */
struct endpoints {
	struct in6_addr source, destination;
	bool v4; /* both are IPv4 */
};

static struct endpoints take_endpoints(const struct proxy_header *header)
{
	struct endpoints ends = {
		.source = cidr_address_of(&header->source),
		.destination = cidr_address_of(&header->destination),
	};

	ends.v4 = IN6_IS_ADDR_V4MAPPED(&ends.source) && IN6_IS_ADDR_V4MAPPED(&ends.destination);
	return ends;
}

/* The last four bytes of a mapped address. */
static struct in_addr v4_of(const struct in6_addr *mapped)
{
	struct in_addr v4;

	memcpy(&v4, &mapped->s6_addr[12], sizeof(v4));
	return v4;
}

static const char *print_host(const struct in6_addr *address, bool v4, char text[INET6_ADDRSTRLEN])
{
	struct in_addr short_form = v4_of(address);
	const void *bytes = v4 ? (const void *)&short_form : address;

	CHECK(inet_ntop(v4 ? AF_INET : AF_INET6, bytes, text, INET6_ADDRSTRLEN));
	return text;
}

size_t proxy_build_v1(const struct proxy_header *header, char bytes[PROXY_V1_LIMIT])
{
	char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN], text[PROXY_V1_LIMIT + 1];
	struct endpoints ends;
	int length;

	if (header->kind != PROXY_KIND_PROXY) {
		length = snprintf(text, sizeof(text), "PROXY UNKNOWN\r\n");
	} else {
		ends = take_endpoints(header);
		length = snprintf(text, sizeof(text), "PROXY TCP%c %s %s %u %u\r\n",
				  ends.v4 ? '4' : '6', print_host(&ends.source, ends.v4, source),
				  print_host(&ends.destination, ends.v4, destination),
				  addr_port(&header->source), addr_port(&header->destination));
	}
	CHECK(length > 0 && length <= PROXY_V1_LIMIT);
	memcpy(bytes, text, (size_t)length);
	return (size_t)length;
}

/* Where the next bytes go; once `full`, nothing goes anywhere. */
struct writer {
	uint8_t *at;
	size_t room;
	bool full;
};

static void put(struct writer *writer, const void *bytes, size_t size)
{
	if (size > writer->room)
		writer->full = true;
	if (writer->full || !size)
		return;
	memcpy(writer->at, bytes, size);
	writer->at += size;
	writer->room -= size;
}

static void put_tlv(struct writer *writer, uint8_t type, const void *value, size_t size)
{
	const uint8_t head[PROXY_TLV_HEAD_BYTES] = {type, (uint8_t)(size >> 8), (uint8_t)size};

	put(writer, head, sizeof(head));
	put(writer, value, size);
}

static void put_addresses(struct writer *writer, const struct proxy_header *header,
			  const struct endpoints *ends)
{
	in_port_t source_port = htons((uint16_t)addr_port(&header->source));
	in_port_t destination_port = htons((uint16_t)addr_port(&header->destination));
	struct proxy_v2_addresses4 v4 = {
		.source = v4_of(&ends->source),
		.destination = v4_of(&ends->destination),
		.source_port = source_port,
		.destination_port = destination_port,
	};
	struct proxy_v2_addresses6 v6 = {
		.source = ends->source,
		.destination = ends->destination,
		.source_port = source_port,
		.destination_port = destination_port,
	};

	if (ends->v4)
		put(writer, &v4, sizeof(v4));
	else
		put(writer, &v6, sizeof(v6));
}

static const char *custom_of(const struct proxy_additions *additions, uint8_t type)
{
	unsigned index = type - PROXY_CUSTOM_FIRST;

	return additions->custom && index < PROXY_CUSTOM_COUNT ? additions->custom[index] : NULL;
}

/* Those that came, but for what is of that one connection; then ours. */
static void put_tlvs(struct writer *writer, struct proxy_tlvs received,
		     const struct proxy_additions *additions)
{
	const char *unique_id = additions->unique_id;
	struct proxy_tlv tlv;

	while (proxy_tlv_next(&received, &tlv)) {
		if (tlv.type == PROXY_TLV_CRC32C || tlv.type == PROXY_TLV_NOOP ||
		    custom_of(additions, tlv.type))
			continue;
		if (tlv.type == PROXY_TLV_UNIQUE_ID)
			unique_id = NULL;
		put_tlv(writer, tlv.type, tlv.value, tlv.size);
	}
	if (unique_id)
		put_tlv(writer, PROXY_TLV_UNIQUE_ID, unique_id, strlen(unique_id));
	for (unsigned i = 0; i < PROXY_CUSTOM_COUNT; i++) {
		const char *text = custom_of(additions, (uint8_t)(PROXY_CUSTOM_FIRST + i));

		if (text)
			put_tlv(writer, (uint8_t)(PROXY_CUSTOM_FIRST + i), text, strlen(text));
	}
}

ssize_t proxy_build_v2(const struct proxy_header *header, const struct proxy_additions *additions,
		       uint8_t bytes[PROXY_HEADER_LIMIT])
{
	uint8_t head[PROXY_V2_HEAD_BYTES] = PROXY_V2_SIGNATURE;
	struct writer writer = {.at = bytes, .room = PROXY_HEADER_LIMIT};
	static const uint8_t no_sum[4];
	struct endpoints ends;
	uint32_t sum;
	size_t length;

	head[12] = PROXY_V2_VERSION |
		   (header->kind == PROXY_KIND_LOCAL ? PROXY_V2_LOCAL : PROXY_V2_PROXY);
	if (header->kind == PROXY_KIND_PROXY) {
		ends = take_endpoints(header);
		head[13] = ends.v4 ? PROXY_V2_TCP4 : PROXY_V2_TCP6;
	}
	put(&writer, head, sizeof(head));
	if (header->kind == PROXY_KIND_PROXY) {
		put_addresses(&writer, header, &ends);
		put_tlvs(&writer, header->tlvs, additions);
		put_tlv(&writer, PROXY_TLV_CRC32C, no_sum, sizeof(no_sum));
	}
	if (writer.full)
		return -EMSGSIZE;
	length = (size_t)(writer.at - bytes);
	bytes[14] = (uint8_t)((length - PROXY_V2_HEAD_BYTES) >> 8);
	bytes[15] = (uint8_t)(length - PROXY_V2_HEAD_BYTES);
	if (header->kind == PROXY_KIND_PROXY) {
		sum = htonl(crc32c(0, bytes, length));
		memcpy(bytes + length - sizeof(sum), &sum, sizeof(sum));
	}
	return (ssize_t)length;
}
