/* SPDX-License-Identifier: MIT */
/* Workers that serve, each set as in a process of its own; and the connections through them. */
#pragma once

#include "config/config.h"
#include "forward/forward.h"
#include "os/inherited.h"
#include "relay/worker.h"

#define FIXTURE_WORDS_MOST 24

/* For TestSuite(..., .init, .fini): the log of all places; only errors are logged. */
void fixture_open_log(void);
void fixture_close_log(void);

struct fixture_place {
	struct config config;
	struct capacity limits;
	struct inherited inherited;
	struct forwards *forwards;
	struct workers *workers;
	bool standing; /* fixture_stand() was called */
	bool started;
};

/*
 * Makes the workers of a configuration, given as a command line without the program's name. The
 * engine is that of UNIT_ENGINE, unless the words have another. `before`: takes over from its
 * workers; NULL: from none.
 */
void fixture_make(struct fixture_place *place, const struct fixture_place *before,
		  const char *words);
void fixture_start(struct fixture_place *place);

/* Starts the threads, which stand still until fixture_start(). */
void fixture_stand(struct fixture_place *place);

/* Ends all sessions and the workers. */
void fixture_end(struct fixture_place *place);

void fixture_freeze(struct fixture_place *place);

/* For `moves`: all forwards. */
extern const bool fixture_all[CONFIG_FORWARD_LIMIT];

/* Writes what the frozen `before` has, and reads it into `place`, which is not started yet. */
void fixture_carry(struct fixture_place *before, struct fixture_place *place, const bool *moves);

/* Freezes `before`, carries all of it and commits: `before` drains, `place` serves. */
void fixture_move(struct fixture_place *before, struct fixture_place *place);

/* Waits until a metric of all workers has this value. */
void fixture_await(const struct fixture_place *place, enum metric metric, uint64_t value);

/* The address on which forward `index` listens. */
const struct addr *fixture_address(const struct fixture_place *place, unsigned index);
