/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/cidr.h"
#include "base/crc32c.h"
#include "base/util.h"
#include "identity/proxy_protocol.h"
#include "identity/proxy_v2.h"

struct output {
	uint8_t *bytes;
	size_t used_bytes;
	size_t room_bytes;
	bool overflowed; /* nothing more is added then */
};

static void put(struct output *output, const void *bytes, size_t count)
{
	if (output->overflowed || count > output->room_bytes - output->used_bytes) {
		output->overflowed = true;
		return;
	}
	if (count)
		memcpy(output->bytes + output->used_bytes, bytes, count);
	output->used_bytes += count;
}

static void put_u16(struct output *output, unsigned value)
{
	uint16_t value_be = htons((uint16_t)value);

	put(output, &value_be, sizeof(value_be));
}

static void put_tlv(struct output *output, uint8_t type, const void *value, size_t count)
{
	/* a value that its length field cannot express fits into no buffer */
	if (count > UINT16_MAX)
		output->overflowed = true;
	put(output, &type, sizeof(type));
	put_u16(output, (unsigned)count);
	put(output, value, count);
}

/* Both ends in IPv6 form. is_v4: both are IPv4 or IPv4-mapped. */
struct endpoints {
	struct in6_addr hosts[2];
	unsigned ports[2];
	bool is_v4;
};

/* Returns false if the header has no addresses. */
static bool find_endpoints(const struct proxy_build *build, struct endpoints *endpoints)
{
	const struct addr *addresses[2] = {build->source, build->destination};

	*endpoints = (struct endpoints){.is_v4 = true};
	if (build->kind != PROXY_KIND_PROXY)
		return false;
	for (size_t i = 0; i < 2; i++) {
		if (!addresses[i] || !addresses[i]->length_bytes || addr_is_local(addresses[i]))
			return false;
		endpoints->hosts[i] = cidr_address_of(addresses[i]);
		endpoints->ports[i] = addr_port(addresses[i]);
		if (!IN6_IS_ADDR_V4MAPPED(&endpoints->hosts[i]))
			endpoints->is_v4 = false;
	}
	return true;
}

/*
 * inet_ntop(3) prints the last 32 bits of some addresses in IPv4 form, as in ::ffff:192.0.2.1. The
 * protocol allows only hexadecimal.
 */
static void print_host(const struct in6_addr *host, bool is_v4, char text[INET6_ADDRSTRLEN])
{
	const uint8_t *last = &host->s6_addr[12];
	const char *printed = inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? last : host->s6_addr,
					text, INET6_ADDRSTRLEN);
	char *colon;

	CHECK(printed);
	if (is_v4 || !strchr(text, '.'))
		return;
	colon = strrchr(text, ':');
	snprintf(colon, INET6_ADDRSTRLEN - (size_t)(colon - text), ":%x:%x",
		 (unsigned)last[0] << 8 | last[1], (unsigned)last[2] << 8 | last[3]);
}

static void put_v1(struct output *output, const struct proxy_build *build)
{
	char line[128] = "PROXY UNKNOWN\r\n"; /* never more than PROXY_V1_LIMIT */
	char hosts[2][INET6_ADDRSTRLEN];
	struct endpoints endpoints;

	if (find_endpoints(build, &endpoints)) {
		for (size_t i = 0; i < 2; i++)
			print_host(&endpoints.hosts[i], endpoints.is_v4, hosts[i]);
		snprintf(line, sizeof(line), "PROXY %s %s %s %u %u\r\n",
			 endpoints.is_v4 ? "TCP4" : "TCP6", hosts[0], hosts[1], endpoints.ports[0],
			 endpoints.ports[1]);
	}
	put(output, line, strlen(line));
}

static void put_endpoints(struct output *output, const struct endpoints *endpoints)
{
	size_t skip = endpoints->is_v4 ? 12 : 0;

	for (size_t i = 0; i < 2; i++)
		put(output, &endpoints->hosts[i].s6_addr[skip], sizeof(struct in6_addr) - skip);
	for (size_t i = 0; i < 2; i++)
		put_u16(output, endpoints->ports[i]);
}

static bool is_given(const struct proxy_build *build, uint8_t type)
{
	if (type == PROXY_TLV_UNIQUE_ID)
		return build->unique_id;
	for (size_t i = 0; i < build->custom_count; i++)
		if (build->customs[i].type == type)
			return true;
	return false;
}

static void put_tlvs(struct output *output, const struct proxy_build *build)
{
	struct proxy_tlv tlv;

	for (size_t at = 0; proxy_tlv_next(&build->received, &at, &tlv);)
		if (tlv.type != PROXY_TLV_CRC32C && !is_given(build, tlv.type))
			put_tlv(output, tlv.type, tlv.value, tlv.value_bytes);
	if (build->unique_id) {
		size_t length = strlen(build->unique_id);

		if (length > PROXY_UNIQUE_ID_LIMIT)
			output->overflowed = true;
		put_tlv(output, PROXY_TLV_UNIQUE_ID, build->unique_id, length);
	}
	for (size_t i = 0; i < build->custom_count; i++)
		put_tlv(output, build->customs[i].type, build->customs[i].text,
			strlen(build->customs[i].text));
}

/* Fills in the fields that depend on the whole header: first the length, then the checksum. */
static void seal(struct output *output, bool checksum)
{
	uint16_t block_bytes_be = htons((uint16_t)(output->used_bytes - PROXY_V2_FIXED_BYTES));

	memcpy(output->bytes + PROXY_V2_FIXED_BYTES - sizeof(block_bytes_be), &block_bytes_be,
	       sizeof(block_bytes_be));
	if (checksum) {
		uint32_t crc_be = htonl(crc32c(0, output->bytes, output->used_bytes));

		memcpy(output->bytes + output->used_bytes - sizeof(crc_be), &crc_be,
		       sizeof(crc_be));
	}
}

static void put_v2(struct output *output, const struct proxy_build *build)
{
	static const uint8_t zeros[PROXY_V2_CHECKSUM_BYTES];
	bool is_local = build->kind == PROXY_KIND_LOCAL;
	bool checksum = build->checksum && !is_local;
	struct endpoints endpoints;
	bool known = find_endpoints(build, &endpoints);
	unsigned command = is_local ? PROXY_V2_COMMAND_LOCAL : PROXY_V2_COMMAND_PROXY;
	unsigned family = PROXY_V2_FAMILY_UNSPEC, transport = PROXY_V2_TRANSPORT_UNSPEC;

	if (known) {
		family = endpoints.is_v4 ? PROXY_V2_FAMILY_INET : PROXY_V2_FAMILY_INET6;
		transport = PROXY_V2_TRANSPORT_STREAM;
	}
	put(output, PROXY_V2_SIGNATURE, PROXY_V2_SIGNATURE_BYTES);
	/* bytes 12 and 13 */
	put_u16(output, PROXY_V2_VERSION << 12 | command << 8 | family << 4 | transport);
	put_u16(output, 0); /* the length, for seal() */
	if (known)
		put_endpoints(output, &endpoints);
	if (!is_local)
		put_tlvs(output, build);
	if (checksum)
		put_tlv(output, PROXY_TLV_CRC32C, zeros, sizeof(zeros));
	if (!output->overflowed)
		seal(output, checksum);
}

int proxy_build(const struct proxy_build *build, void *buffer, size_t size)
{
	struct output output = {.bytes = buffer, .room_bytes = MIN(size, PROXY_HEADER_LIMIT)};

	CHECK(build->version == 1 || build->version == 2);
	if (build->version == 1)
		put_v1(&output, build);
	else
		put_v2(&output, build);
	return output.overflowed ? -EMSGSIZE : (int)output.used_bytes;
}
