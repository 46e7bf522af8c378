/* SPDX-License-Identifier: MIT */
/*
 * The new process's side of a takeover (takeover.h). All functions are for the main thread, and
 * block until the old process has answered or is gone. The old process has the time limit.
 */
#pragma once

#include "config/config.h"
#include "control/names.h"
#include "control/takeover.h"
#include "os/inherited.h"

struct control_task;

/* What has come from the old process before the configuration is read. All zeros: nothing. */
struct takeover_take {
	struct inherited inherited; /* its carrier is NULL in an ordinary start */
	struct names_answers names;
	enum takeover_kind kind;
};

/*
 * Greets the old process, whose end of the connection is `fd`, and takes the descriptors that must
 * not be opened twice. Owns `fd`. Returns 0, or -errno with `fault`: the process ends.
 */
int takeover_take_open(struct takeover_take *take, int fd, struct fault *fault);

/* Closes the connection to the old process. Harmless without one. */
void takeover_take_close(struct takeover_take *take);

/* Closes and frees what is left. */
void takeover_take_finish(struct takeover_take *take);

/* Tells the old process why this one does not take over. Harmless in an ordinary start. */
void takeover_take_refuse(const struct inherited *inherited, int code,
			  const struct config_errors *errors);

/* What the old process says at the commit. */
struct takeover_commit {
	enum takeover_kind again; /* asked for meanwhile: begin it at once */
	uint64_t frozen_us;	  /* when the sessions stopped: timer_now_us() */
};

/*
 * Takes the state into `task`, whose workers stand still, and waits for the commit. Returns 0:
 * the sessions are this process's. Otherwise -errno with `fault`: they are still the old process's,
 * and the process can only _exit(2).
 */
int takeover_take_state(const struct takeover_take *take, const struct control_task *task,
			struct takeover_commit *commit, struct fault *fault);

/* Counts and logs that this process serves: event=takeover_done. */
void takeover_take_log(const struct takeover_take *take, const struct control_task *task,
		       const struct takeover_commit *commit);
