/* SPDX-License-Identifier: MIT */
/*
 * The old process's side of a takeover (takeover.h). The control loop runs it. While the new process
 * reads its configuration, nothing here waits. Handing the state over blocks the control loop, until
 * --takeover-timeout at most.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "control/parent_link.h"
#include "control/takeover.h"
#include "os/poll_set.h"

struct control_task;
struct takeover_give;

/* `task` and `link` must outlive it. Returns 0 or -ENOMEM. */
int takeover_give_create(struct takeover_give **give, const struct control_task *task,
			 struct parent_link *link);

/* Ends the takeover that is under way, without harm. NULL is allowed. */
void takeover_give_destroy(struct takeover_give *give);

/*
 * Begins a takeover. If one is under way, another one begins after it, once for all that ask
 * meanwhile, because the files may have changed since: here if it fails, otherwise in the new
 * process.
 */
void takeover_give_ask(struct takeover_give *give, enum takeover_kind kind);

/* The process drains: ends the takeover that is under way, as a failed one. None follows. */
void takeover_give_cancel(struct takeover_give *give);

/* Adds what to wait for, and when takeover_give_run() is due without an event. */
void takeover_give_prepare_poll(const struct takeover_give *give, struct poll_set *set);

/*
 * Goes on as far as the new process has come. Returns true once, when the new process serves: from
 * then on this one only drains the sessions that did not move.
 */
bool takeover_give_run(struct takeover_give *give);

/* The number of the takeover that takeover_give_ask() would begin now, or let follow. */
unsigned takeover_give_next(const struct takeover_give *give);

/* After the commit: why the sessions that are left did not move; static. */
const char *takeover_give_cause(const struct takeover_give *give);

/* How the last takeover went. */
struct takeover_outcome {
	unsigned count;	  /* of the takeovers that have ended, well or not; counts up */
	int code;	  /* the exit code for who asked: 0, 1, 2 */
	const char *text; /* what is wrong, a line for each fault; valid until the next run */
	uint64_t moved_count, left_count; /* after the commit: sessions */
};
struct takeover_outcome takeover_give_outcome(const struct takeover_give *give);
