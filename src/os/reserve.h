/* SPDX-License-Identifier: MIT */
/*
 * A descriptor that is kept open so that it can be closed to free a descriptor when none is left. A
 * zeroed reserve is not open yet.
 */
#pragma once

#include <stdbool.h>

struct reserve {
	bool open;
	int fd;
};

/* Opens the reserve if it is not open. Returns false if no descriptor is left. */
bool reserve_keep(struct reserve *reserve);

/*
 * Closes the reserve, so that another descriptor can be opened. Returns false if it was not open.
 */
bool reserve_use(struct reserve *reserve);
