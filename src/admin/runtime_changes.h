/* SPDX-License-Identifier: MIT */
/*
 * The changes that commands have made since the configuration was read: who made them, when, and
 * by which command. Control thread.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* Changes that are kept; of more, the oldest are forgotten. */
#define RUNTIME_CHANGES_LIMIT 64

#define RUNTIME_CHANGE_BYTES  256

struct runtime_change {
	uint64_t unix_ms;
	uid_t uid;
	char command[RUNTIME_CHANGE_BYTES]; /* cut if it is longer */
};

struct runtime_changes {
	struct runtime_change list[RUNTIME_CHANGES_LIMIT];
	uint64_t count; /* so far */
};

void runtime_changes_add(struct runtime_changes *changes, const char *command, uid_t uid,
			 uint64_t unix_ms);

/* The number that are kept, and the one with this index: 0 is the oldest. */
unsigned runtime_changes_kept(const struct runtime_changes *changes);
const struct runtime_change *runtime_changes_get(const struct runtime_changes *changes,
						 unsigned index);

/* Logs each change as undone, because the configuration was read again, and forgets all. */
void runtime_changes_log_undone(struct runtime_changes *changes);
