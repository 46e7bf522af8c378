/*
 * The sessions of one worker that have ended, the latest of them: a ring of fixed size, written and
 * read by that worker alone. Its memory is reserved at creation and becomes resident as it is first
 * used.
 *
 * Each entry has a number, counted up from 0, so that whoever walks through them in several turns
 * knows where it is though new ones come in between.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

/* Per worker. The oldest is forgotten first. */
#define HISTORY_LIMIT 4096

/* What is told of a session, live or ended. Times are milliseconds of CLOCK_MONOTONIC. */
struct session_record {
	struct addr client;
	struct addr backend; /* none: not chosen yet */
	struct addr source;  /* of the connection to the backend; none: there was none yet */
	uint64_t opened_ms;
	uint64_t closed_ms; /* 0: it is live */
	uint64_t bytes_up;
	uint64_t bytes_down;
	uint16_t forward;    /* index in the configuration */
	uint8_t reason;	     /* enum close_reason, of one that has ended */
	bool has_own_source; /* `source` stands for this client, and is not shared by all */
	bool is_embedded;    /* ... being the address inside the client's own */
};

struct history;

/* Creates a ring for `limit` > 0 sessions. Returns 0 or -ENOMEM. */
int history_create(struct history **history, uint32_t limit);

/* NULL is allowed. */
void history_destroy(struct history *history);

void history_add(struct history *history, const struct session_record *record);

/* One more than the number of the latest; 0 while there is none. */
uint64_t history_end(const struct history *history);

/* The session of a number, or NULL where that is forgotten or yet to come. */
const struct session_record *history_find(const struct history *history, uint64_t number);
