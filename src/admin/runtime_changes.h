/* SPDX-License-Identifier: MIT */
/*
 * The changes that commands have made since the configuration was read: who made them, when, and
 * by which command. An upgrade carries them to the new process. Control thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "admin/admin_request.h"
#include "os/carrier.h"

/* Changes that are kept. */
#define RUNTIME_CHANGES_LIMIT 64

struct runtime_change {
	uint64_t unix_ms;
	uid_t uid;
	bool is_of_member; /* the record of its backend carries it too: upstream_carry.h */
	char command[ADMIN_REQUEST_BYTES];
};

struct runtime_change_lost;

/* The oldest first. All zeros: none. */
struct runtime_changes {
	struct runtime_change list[RUNTIME_CHANGES_LIMIT];
	unsigned count;
	struct runtime_change_lost *lost; /* runtime_changes_lose() */
};

/*
 * Adds a change. If there are too many, forgets the oldest that the record of its backend carries
 * too, or else the oldest.
 */
void runtime_changes_add(struct runtime_changes *changes, const struct runtime_change *change);

/*
 * Remembers a change that this process cannot make again, and why, until
 * runtime_changes_log_lost(), which logs it, or runtime_changes_finish(). Returns 0 or -ENOMEM.
 */
int runtime_changes_lose(struct runtime_changes *changes, const struct runtime_change *change,
			 const char *reason);
void runtime_changes_log_lost(struct runtime_changes *changes);
void runtime_changes_finish(struct runtime_changes *changes);

/* Logs each change as undone, because the configuration was read again, and forgets all. */
void runtime_changes_log_undone(struct runtime_changes *changes);

/*
 * Writes a CARRIER_CHANGE for each change, and takes one such record. Its format is the same in
 * every INHERITED_STATE_VERSION. Returns 0, or -EBADMSG if values are missing.
 */
void runtime_changes_write(const struct runtime_changes *changes, struct carrier *carrier);
int runtime_change_read(struct runtime_change *change, struct carrier *carrier);
