/*
 * A queue of an engine's answers on their way to the worker, for engines that may have more of them
 * than they were asked for at once. Included by engine*.c alone.
 */
#pragma once

#include <stddef.h>

#include "engine.h"

struct engine_answers {
	struct engine_event *events;
	size_t limit;
	size_t first; /* from here to `end` they wait */
	size_t end;
};

/* Reserves room for `limit` answers, host_reserve_memory(). Returns 0 or -ENOMEM. */
int engine_answers_init(struct engine_answers *answers, size_t limit);

/* Gives the room back; harmless on what is zeroed. */
void engine_answers_finish(struct engine_answers *answers);

/* Adds one at the end; more than `limit` is a programming error. */
void engine_answers_add(struct engine_answers *answers, uint64_t token, int32_t result, bool more);

/* Takes at most `limit` from the front; returns how many. */
unsigned engine_answers_take(struct engine_answers *answers, struct engine_event *events,
			     unsigned limit);

/* How many wait. */
size_t engine_answers_count(const struct engine_answers *answers);
