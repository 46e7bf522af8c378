/* SPDX-License-Identifier: MIT */
#include "stats/history.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"

struct history {
	uint64_t end;
	uint32_t limit;
	struct session_record records[];
};

int history_create(struct history **history, uint32_t limit)
{
	struct history *made;

	CHECK(limit > 0);
	made = calloc(1, sizeof(*made) + limit * sizeof(made->records[0]));
	if (!made)
		return -ENOMEM;
	made->limit = limit;
	*history = made;
	return 0;
}

void history_destroy(struct history *history)
{
	free(history);
}

void history_add(struct history *history, const struct session_record *record)
{
	history->records[history->end++ % history->limit] = *record;
}

uint64_t history_end(const struct history *history)
{
	return history->end;
}

const struct session_record *history_find(const struct history *history, uint64_t number)
{
	if (number >= history->end || history->end - number > history->limit)
		return NULL;
	return &history->records[number % history->limit];
}
