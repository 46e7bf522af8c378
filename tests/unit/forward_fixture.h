/* SPDX-License-Identifier: MIT */
/* The forwards of a test's configuration, with all that sessions hold of them. */
#pragma once

#include "base/util.h"
#include "forward/forward.h"

/* For `maxconn` sessions; forwards_destroy() takes them. A failure fails the test. */
struct forwards *fixture_forwards(const struct config *config, uint32_t maxconn);

struct fixture_setting {
	const char *name, *value;
};

/* A process: its configuration and forwards. */
struct fixture_side {
	struct config config;
	struct forwards *forwards;
};

#define FIXTURE_SIDE_MAXCONN 10

/*
 * Makes a side of these settings, for FIXTURE_SIDE_MAXCONN sessions, and destroys it: aborts if a claim is left.
 * Defaults come before the listener: they hold for each forward.
 */
void fixture_side_make(struct fixture_side *side, const struct fixture_setting *settings,
		       size_t count);
void fixture_side_finish(struct fixture_side *side);

#define FIXTURE_SIDE(side, ...)                                                                    \
	do {                                                                                       \
		const struct fixture_setting settings[] = {__VA_ARGS__};                           \
		fixture_side_make(side, settings, ARRAY_COUNT(settings));                          \
	} while (0)
