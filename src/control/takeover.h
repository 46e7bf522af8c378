/* SPDX-License-Identifier: MIT */
/*
 * A takeover: a new process takes the listening sockets, the live sessions and the state of the old
 * one. This is how a reload and an upgrade work.
 *
 *	the new process			the old process
 *	HELLO: versions			asked for it: parent.h
 *					HELLO: versions, sizes; its sockets; GREETED;
 *					the addresses of names; GREETED
 *	reads its configuration, binds
 *	SERVES: its forwards; PREPARED
 *					freezes its workers; the state; STATE_END
 *	HAVE_ALL
 *					COMMIT
 *	serves; closes the connection
 *					closes its copies; what did not move drains
 *
 * Until COMMIT the old process can go on as if nothing had happened, and does so when the new one
 * refuses, ends, or has not come that far after --takeover-timeout.
 *
 * With another INHERITED_STATE_VERSION (os/inherited.h) the new process cannot read the state. Then
 * only the listening sockets, the free pipes and the changes made at run time move, and the sessions
 * of the old process drain. The records before the state and after it, PIPE, SERVICE and CHANGE are
 * the same in every version.
 */
#pragma once

/* The longest text of a fault that travels. */
#define TAKEOVER_TEXT_BYTES 4096

enum takeover_kind {
	TAKEOVER_NONE,
	TAKEOVER_RELOAD,  /* the same program, the configuration as it is now */
	TAKEOVER_UPGRADE, /* the program that is on disk now */
};

/*
 * How long the sessions may stand still, and how long the control loop waits for a new process that
 * does not read. 100,000 sessions move in less.
 */
#define TAKEOVER_PAUSE_LIMIT_MS 3000

#define TAKEOVER_FAILURE_BYTES	256

/* "reload", "upgrade"; static. */
const char *takeover_word(enum takeover_kind kind);

/*
 * Writes in words why a takeover has failed with -errno. -ETIMEDOUT: `timeout_ms` has passed, or if
 * it is 0, TAKEOVER_PAUSE_LIMIT_MS. Returns `text`.
 */
const char *takeover_print_failure(char text[TAKEOVER_FAILURE_BYTES], int error,
				   unsigned long long timeout_ms);
