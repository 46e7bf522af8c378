/* SPDX-License-Identifier: MIT */
#include "base/addr_set.h"

#include <string.h>

#include "base/check.h"

static int compare(const struct addr *a, const struct addr *b)
{
	int order;

	if (a->any.sa_family != b->any.sa_family)
		return a->any.sa_family == AF_INET ? -1 : 1;
	if (a->any.sa_family == AF_INET)
		order = memcmp(&a->v4.sin_addr, &b->v4.sin_addr, sizeof(a->v4.sin_addr));
	else
		order = memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr));
	return order ? order : (int)addr_port(a) - (int)addr_port(b);
}

void addr_set_insert(struct addr_set *set, const struct addr *address)
{
	unsigned at = set->count;
	int order = 1;

	CHECK(address->length_bytes);
	while (at && (order = compare(address, &set->list[at - 1])) < 0)
		at--;
	if (at && !order)
		return;
	if (set->count == ARRAY_COUNT(set->list)) {
		set->dropped_count++;
		if (at == set->count)
			return;
		set->count--;
	}
	memmove(&set->list[at + 1], &set->list[at], (set->count - at) * sizeof(set->list[0]));
	set->list[at] = *address;
	set->count++;
}

bool addr_set_equal(const struct addr_set *a, const struct addr_set *b)
{
	if (a->count != b->count)
		return false;
	for (unsigned i = 0; i < a->count; i++) {
		if (!addr_equal(&a->list[i], &b->list[i]))
			return false;
	}
	return true;
}
