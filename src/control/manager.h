/* SPDX-License-Identifier: MIT */
/*
 * What the service manager hears (notify.h), and when. Without $NOTIFY_SOCKET every function does
 * nothing.
 *
 *	the start	STATUS= while it waits for names, with more time for the start
 *	every worker serves	READY=1; also after a takeover, before which
 *				only the old process says something
 *	a stage of the end	STOPPING=1, and the time that the stages left may take, so that
 *				TimeoutStopSec= does not cut the drain short
 *	always		STATUS= in words, if the words have changed: with each WATCHDOG=1, or
 *			without a watchdog every 10 s at most; every second in the drain
 *	the watchdog	WATCHDOG=1 while all workers turn (watchdog.h)
 *	a failed start	STATUS= with the first error
 *
 * Without a watchdog, nothing happens while no worker has anything to do. If the manager does not
 * read its socket, a message waits and is sent when there is room. All functions are for the main
 * thread.
 */
#pragma once

#include "config/config.h"
#include "control/notify.h"
#include "control/watchdog.h"
#include "os/poll_set.h"
#include "relay/worker.h"

#define MANAGER_STATUS_BYTES 512

/* A stage of the end. */
struct manager_stage {
	const char *word;   /* "draining", static; NULL: the process serves */
	uint64_t due_ms;    /* when the stage is over; POLL_SET_NEVER: when no session is left */
	uint64_t extend_ms; /* how long the end may take from now on; 0: as the manager likes */
};

struct manager {
	struct notify notify;
	struct watchdog watchdog;
	struct workers *workers; /* NULL until manager_ready() */
	struct manager_stage stage;
	unsigned unsent;      /* parts of the next message */
	bool watching;	      /* the first worker that has a tick wakes this thread */
	bool quiet;	      /* nothing is sent */
	bool failed;	      /* the manager could not be told; this was logged */
	uint64_t told_ms;     /* when the words were sent last */
	uint64_t look_due_ms; /* compare the words then; POLL_SET_NEVER: when a worker has a tick */
	char status[MANAGER_STATUS_BYTES]; /* the words of the last message */
};

/*
 * Before the privilege drop. Logs a $NOTIFY_SOCKET that cannot be used, and goes on without it.
 * `quiet`: another process serves, so that its words stay, until manager_ready() of this one.
 */
void manager_open(struct manager *manager, bool quiet);
void manager_close(struct manager *manager);

/* Whether a service manager wants messages. */
bool manager_listens(const struct manager *manager);

/* The start is waiting for `what`, for `limit_ms` at most. */
void manager_wait(struct manager *manager, const char *what, uint64_t limit_ms);

/* The start, or the process, has failed: the first of the errors, and how many more there are. */
void manager_fail(struct manager *manager, const struct config_errors *errors);

/* The same in the caller's words. */
void manager_fail_words(struct manager *manager, const char *words);

/* All workers serve. Before their start: workers_make_pulse(). */
void manager_ready(struct manager *manager, struct workers *workers);

/* A stage of the end begins. */
void manager_enter(struct manager *manager, const struct manager_stage *stage);

/* Adds what to wait for, and when manager_run() is due without an event. */
void manager_prepare_poll(const struct manager *manager, struct poll_set *set);

/* Sends what is due. Does not wait. */
void manager_run(struct manager *manager);

/* Prints "no sessions", "1 session" or "12 sessions". Returns `text`. For STATUS=. */
#define MANAGER_COUNT_BYTES 64
const char *manager_print_count(uint64_t count, const char *noun, char text[MANAGER_COUNT_BYTES]);

/*
 * Copies a text into `status`, cut at the end of a character if it is too long. Control characters
 * and bytes that are not UTF-8 become "?", because the manager refuses them.
 */
void manager_copy_words(char status[MANAGER_STATUS_BYTES], const char *words);
