/* SPDX-License-Identifier: MIT */
/*
 * A set of at most ADDR_SET_MOST endpoints in a fixed order: IPv4 first, then by address, then by
 * port. The order of insertion does not matter.
 */
#pragma once

#include "base/addr.h"

#define ADDR_SET_MOST 64

/* A zeroed set is empty. */
struct addr_set {
	unsigned count;
	/*
	 * Insertions into the full set; each drops the greatest endpoint. The same endpoint can
	 * count twice.
	 */
	unsigned dropped_count;
	struct addr list[ADDR_SET_MOST];
};

/* Inserts a copy of an endpoint, which must have an address. Does nothing if the set has it. */
void addr_set_insert(struct addr_set *set, const struct addr *address);

/* Whether both sets have the same endpoints. `dropped_count` does not matter. */
bool addr_set_equal(const struct addr_set *a, const struct addr_set *b);
