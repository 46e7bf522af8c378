#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy_protocol.h"
#include "proxy_v2.h"

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
