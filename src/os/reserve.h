/*
 * A descriptor that is kept for the moment when there is none left. All zero is one that is not open yet.
 */
#pragma once

#include <stdbool.h>

struct reserve {
	bool open;
	int fd;
};

/* Opens it, where it is not. False: there is no descriptor left for it. */
bool reserve_keep(struct reserve *reserve);

/* Closes it, so that something else can be opened. False: it was not there. */
bool reserve_use(struct reserve *reserve);
