/*
 * A bounded set of endpoints in a fixed order: IPv4 first, then by address, then by port. The same
 * endpoints make the same set, in whatever order they are inserted.
 */
#pragma once

#include "base/addr.h"

#define ADDR_SET_MOST 64

/* Zeroed is empty. */
struct addr_set {
	unsigned count;
	/* Insertions that found it full. The greatest are dropped; one tried twice counts twice. */
	unsigned dropped_count;
	struct addr list[ADDR_SET_MOST];
};

/* Inserts a copy of an endpoint with an address; one that is there already changes nothing. */
void addr_set_insert(struct addr_set *set, const struct addr *address);

/* Whether both hold the same endpoints, whatever was dropped. */
bool addr_set_equal(const struct addr_set *a, const struct addr_set *b);
