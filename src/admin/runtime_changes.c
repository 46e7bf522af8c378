/* SPDX-License-Identifier: MIT */
#include "admin/runtime_changes.h"

#include <stdio.h>

#include "base/check.h"
#include "base/log.h"
#include "base/util.h"

void runtime_changes_add(struct runtime_changes *changes, const char *command, uid_t uid,
			 uint64_t unix_ms)
{
	struct runtime_change *change = &changes->list[changes->count++ % RUNTIME_CHANGES_LIMIT];

	change->unix_ms = unix_ms;
	change->uid = uid;
	snprintf(change->command, sizeof(change->command), "%s", command);
}

unsigned runtime_changes_kept(const struct runtime_changes *changes)
{
	return (unsigned)MIN(changes->count, RUNTIME_CHANGES_LIMIT);
}

const struct runtime_change *runtime_changes_get(const struct runtime_changes *changes,
						 unsigned index)
{
	unsigned kept = runtime_changes_kept(changes);

	CHECK(index < kept);
	return &changes->list[(changes->count - kept + index) % RUNTIME_CHANGES_LIMIT];
}

void runtime_changes_log_undone(struct runtime_changes *changes)
{
	for (unsigned i = 0; i < runtime_changes_kept(changes); i++) {
		const struct runtime_change *change = runtime_changes_get(changes, i);
		char date[LOG_DATE_BYTES];
		struct log_line line;

		if (!log_begin(&line, LOG_EVENT_change_undone))
			continue;
		log_text(&line, "command", change->command);
		log_number(&line, "uid", change->uid);
		log_text(&line, "made", log_date_print(change->unix_ms, date));
		log_end(&line);
	}
	changes->count = 0;
}
