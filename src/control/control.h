/* SPDX-License-Identifier: MIT */
/*
 * The main thread's loop while the workers run: signals, the drain, HTTP, the admin socket, the
 * checks of backends and their names.
 *
 *	TERM, INT	tell load balancers (/ready) at once, go on accepting for --drain-delay,
 *			then stop accepting and let sessions finish until --drain-timeout, then
 *			reset them; once more, at any time: reset everything at once
 *	USR1		the log's file is opened anew
 *	HUP, USR2	a new process takes over: takeover.h
 */
#pragma once

#include "admin/admin.h"
#include "control/checker.h"
#include "control/http.h"
#include "control/manager.h"
#include "control/names.h"
#include "control/saver.h"
#include "control/takeover_give.h"
#include "os/poll_set.h"
#include "relay/worker.h"

struct control_task {
	struct workers *workers;
	struct http *http;		/* NULL: no --metrics */
	struct admin *admin;		/* NULL: no --admin */
	struct checker *checker;	/* NULL: no backend is checked */
	struct names *names;		/* NULL: every backend is given by address */
	struct saver *saver;		/* NULL: no state is kept in files */
	struct manager *manager;	/* NULL: no service manager wants messages */
	struct takeover_give *takeover; /* NULL: there is no parent to start a process */
	struct forwards *forwards;
	int signal_fd; /* of signals_take() */
	uint64_t drain_delay_ms;
	uint64_t drain_timeout_ms;    /* 0: never */
	uint64_t takeover_timeout_ms; /* 0: never */
};

/* How far the end of the process has come. A later stage has a higher number. */
enum control_stage {
	CONTROL_SERVING,
	CONTROL_LEFT, /* another process serves; what did not move may end until --drain-timeout */
	CONTROL_DELAYED,  /* after the first TERM, for --drain-delay: /ready says 503 */
	CONTROL_DRAINING, /* nothing is accepted; sessions may finish until --drain-timeout */
	CONTROL_EXPIRED,  /* --drain-timeout is over: the sessions that are left are reset */
	CONTROL_STOPPING, /* a second TERM came: all sessions are reset at once */
	CONTROL_HANGING,  /* a worker has not ended 30 s after the reset of all sessions */
};

struct control_end {
	enum control_stage stage;
	bool left;	 /* another process has taken over */
	uint64_t due_ms; /* when the stage is over by itself; POLL_SET_NEVER: it is not */
	uint64_t drain_delay_ms;
	uint64_t drain_timeout_ms; /* 0: never */
};

/* The order of the end, by TERM (or INT) and by time. Each returns whether a new stage begins. */
bool control_terminate(struct control_end *end, uint64_t now_ms);
bool control_expire(struct control_end *end, uint64_t now_ms);

/* Another process serves from here on: the stage CONTROL_LEFT begins. */
void control_leave(struct control_end *end, uint64_t now_ms);

/*
 * How long the end may take from now on, until the process exits; 0: the sessions decide it. For
 * the service manager, which must not kill the process earlier.
 */
uint64_t control_time_left_ms(const struct control_end *end);

/*
 * Runs until every worker has ended, and returns 0; *left is whether another process has taken
 * over. Returns earlier if a worker ends with an error
 * (its -errno), or has not ended 30 s after the reset of all sessions (-ETIMEDOUT). Then other
 * workers may still run, and the process can only exit.
 */
int control_run(const struct control_task *task, bool *left);
