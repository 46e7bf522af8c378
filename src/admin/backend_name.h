/* SPDX-License-Identifier: MIT */
/*
 * Which backends the NAME of a command means: ADDRESS as configured (an address, or NAME:PORT), an
 * address of a name, or FORWARD/ADDRESS.
 */
#pragma once

#include <stdbool.h>
#include <sys/un.h>

#include "forward/forward.h"

struct backend_name {
	char forward[CONFIG_NAME_LIMIT + 1]; /* "": any */
	const char *text;		     /* ADDRESS */
	struct addr address;		     /* "no address": the text is none */
	struct sockaddr_un local; /* that `address` may point to: do not copy the struct */
};

/* Reads a NAME. `given` must outlive the result. */
void backend_name_read(struct backend_name *name, const char *given);

/* Whether the name means a member. False for a free slot and a removed member. */
bool backend_name_means(const struct backend_name *name, const struct forward *forward,
			const struct pool_snapshot *member);

/* The word for a member's state: "up", "full", "down", "checking", "off", "drain", "removed". */
const char *backend_state_word(const struct pool_snapshot *member);
