/* SPDX-License-Identifier: MIT */
/*
 * The sessions of one worker that ended last: a table of fixed size, written and read by that
 * worker alone. Its memory is allocated at creation and becomes resident as it is first used.
 *
 * The records are numbered from 0 on. So a reader that reads some records in each tick knows its
 * position although new records are added in between.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

/* Records per worker. The oldest is forgotten first. */
#define HISTORY_LIMIT 4096

/* What sixpipe who and sixpipe sessions tell of a session, live or ended. Times: ms of CLOCK_MONOTONIC. */
struct session_record {
	struct addr client;
	struct addr backend;  /* none: no backend was chosen yet */
	struct addr source;   /* the source address; none: no connection to a backend yet */
	uint64_t boot_id, id; /* session_id_print() */
	uint64_t opened_ms;
	uint64_t closed_ms; /* 0: the session is live */
	uint64_t bytes_up;
	uint64_t bytes_down;
	uint16_t forward;    /* index in the configuration */
	uint8_t reason;	     /* enum close_reason, where the session has ended */
	bool has_own_source; /* `source` is for this client alone */
	bool is_embedded;    /* ... and is the IPv4 address embedded in the client's own */
};

struct history;

/* Creates a history of `limit` > 0 sessions. Returns 0 or -ENOMEM. */
int history_create(struct history **history, uint32_t limit);

/* NULL is allowed. */
void history_destroy(struct history *history);

void history_add(struct history *history, const struct session_record *record);

/* The number that the next record will get; 0 while there is none. */
uint64_t history_end(const struct history *history);

/* The record with this number, or NULL where it is forgotten or not yet added. */
const struct session_record *history_find(const struct history *history, uint64_t number);
