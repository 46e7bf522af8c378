/* SPDX-License-Identifier: MIT */
#include "forward/forward_carry.h"

#include <errno.h>
#include <string.h>

#include "forward/source_address_carry.h"
#include "forward/upstream_carry.h"

/* Longer than a name with the number of a port range's forward behind it. */
#define NAME_BYTES 256

void forwards_write(const struct forwards *forwards, struct carrier *carrier)
{
	for (unsigned i = 0; i < forwards->count; i++)
		upstream_write(forwards->list[i].upstream, carrier);
}

void forwards_write_leases(const struct forwards *forwards, struct carrier *carrier,
			   uint64_t since_ms)
{
	if (forwards->sources)
		source_addresses_write(forwards->sources, carrier, since_ms);
}

struct forward *forwards_take_name(struct forwards *forwards, struct carrier *carrier)
{
	char name[NAME_BYTES];

	return forwards_find(forwards, carrier_take_text(carrier, name, sizeof(name)));
}

int forwards_read(struct forwards *forwards, struct carrier *carrier, enum carrier_kind kind)
{
	struct forward *forward;

	switch (kind) {
	case CARRIER_LEASE_POOL:
	case CARRIER_LEASE:
		return forwards->sources ? source_addresses_read(forwards->sources, carrier, kind)
					 : 0;
	case CARRIER_FORWARD:
	case CARRIER_MEMBER:
		forward = forwards_take_name(forwards, carrier);
		if (!forward)
			return carrier_is_whole(carrier) ? 0 : -EBADMSG;
		return kind == CARRIER_FORWARD ? upstream_read_forward(forward->upstream, carrier)
					       : upstream_read_member(forward->upstream, carrier,
								      forwards->keeps_changes);
	default:
		return -ENOTSUP;
	}
}
