/* SPDX-License-Identifier: MIT */
#include "admin/runtime_changes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* The longest reason; longer ones are cut. */
#define REASON_BYTES 512

struct runtime_change_lost {
	struct runtime_change_lost *next;
	struct runtime_change change;
	char reason[REASON_BYTES];
};

/* Forgets one change, so that there is room for another. */
static void forget_one(struct runtime_changes *changes)
{
	unsigned index = 0;

	while (index < changes->count && !changes->list[index].is_of_member)
		index++;
	if (index == changes->count)
		index = 0;
	changes->count--;
	memmove(&changes->list[index], &changes->list[index + 1],
		(changes->count - index) * sizeof(*changes->list));
}

void runtime_changes_add(struct runtime_changes *changes, const struct runtime_change *change)
{
	if (changes->count == RUNTIME_CHANGES_LIMIT)
		forget_one(changes);
	changes->list[changes->count++] = *change;
}

static void log_undone(const struct runtime_change *change, const char *reason)
{
	char date[LOG_DATE_BYTES];
	struct log_line line;

	if (!log_begin(&line, LOG_EVENT_change_undone))
		return;
	log_text(&line, "command", change->command);
	log_number(&line, "uid", change->uid);
	log_text(&line, "made", log_date_print(change->unix_ms, date));
	log_text(&line, "reason", reason);
	log_end(&line);
}

void runtime_changes_log_undone(struct runtime_changes *changes)
{
	for (unsigned i = 0; i < changes->count; i++)
		log_undone(&changes->list[i], "the configuration was read again");
	changes->count = 0;
}

int runtime_changes_lose(struct runtime_changes *changes, const struct runtime_change *change,
			 const char *reason)
{
	struct runtime_change_lost *lost = calloc(1, sizeof(*lost)), **end = &changes->lost;

	if (!lost)
		return -ENOMEM;
	lost->change = *change;
	snprintf(lost->reason, sizeof(lost->reason), "%s", reason);
	while (*end)
		end = &(*end)->next;
	*end = lost;
	return 0;
}

void runtime_changes_log_lost(struct runtime_changes *changes)
{
	for (const struct runtime_change_lost *lost = changes->lost; lost; lost = lost->next)
		log_undone(&lost->change, lost->reason);
	runtime_changes_finish(changes);
}

void runtime_changes_finish(struct runtime_changes *changes)
{
	struct runtime_change_lost *lost;

	while ((lost = changes->lost)) {
		changes->lost = lost->next;
		free(lost);
	}
}

void runtime_changes_write(const struct runtime_changes *changes, struct carrier *carrier)
{
	for (unsigned i = 0; i < changes->count; i++) {
		const struct runtime_change *change = &changes->list[i];

		carrier_begin(carrier, CARRIER_CHANGE);
		carrier_put(carrier, change->unix_ms);
		carrier_put(carrier, change->uid);
		carrier_put_text(carrier, change->command);
		carrier_end(carrier);
	}
}

int runtime_change_read(struct runtime_change *change, struct carrier *carrier)
{
	*change = (struct runtime_change){.unix_ms = carrier_take(carrier)};
	change->uid = (uid_t)carrier_take(carrier);
	(void)carrier_take_text(carrier, change->command, sizeof(change->command));
	return carrier_is_whole(carrier) ? 0 : -EBADMSG;
}
