/* SPDX-License-Identifier: MIT */
/*
 * The forwarding service from a checked configuration to its end. main() calls the steps in this
 * order; each has its reason to come before the next:
 *
 *	service_check	checks all of the host that can be checked without binding, and reads all files
 *	service_bind	makes the workers and every socket that listens: needs the privileges
 *	service_drop	gives the privileges up for good (privs.h)
 *	service_run	starts the threads, and serves until a signal ends it
 *	service_finish	frees everything that was made
 *
 * A step that fails has added what is wrong to `errors`, and only service_finish() may follow.
 * All functions are for the main thread.
 */
#pragma once

#include <stdbool.h>

#include "config/capacity.h"
#include "config/config.h"
#include "control/control.h"
#include "control/manager.h"
#include "control/parent_link.h"
#include "control/privs.h"
#include "control/takeover_take.h"

/* Where the process comes from. */
struct service_process {
	struct parent_link link;   /* its `fd` is -1: there is no parent */
	struct takeover_take take; /* zeros: this is the first process */
};

struct service {
	const struct config *config;
	struct config_errors errors; /* of the host */
	struct capacity limits;
	struct privs_target target;
	struct control_task task; /* holds everything that was made so far */
	struct manager manager;
	struct service_process *process;
	bool left;  /* another process has taken over */
	bool stuck; /* a thread still uses this, and cannot be ended */
};

/*
 * Begins a service for a configuration that config_check() has accepted; `config` and `process` must outlive it.
 * Log lines and the signals that end a process are held back from here on.
 */
void service_init(struct service *service, const struct config *config,
		  struct service_process *process);

/* Returns whether the host allows the service. With config->check nothing is made on the host. */
bool service_check(struct service *service);

/* Returns whether everything listens. */
bool service_bind(struct service *service);

/* Returns whether the privileges are gone, those of the parent too, and no others are left. */
bool service_drop(struct service *service);

/*
 * Serves until the end. Returns false if the start of the threads failed. Otherwise stores in
 * *ended_well whether no worker failed.
 */
bool service_run(struct service *service, bool *ended_well);

/*
 * Frees everything, after any of the steps. Returns false where a thread is stuck: then nothing
 * was freed that the thread may use, and the process can only _exit(2).
 */
bool service_finish(struct service *service);
