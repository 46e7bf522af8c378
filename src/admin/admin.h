/* SPDX-License-Identifier: MIT */
/*
 * The admin socket of --admin. A command (`sixpipe who`, for example) sends one line
 * (admin_request.h) and gets one answer (admin_job.h). The control loop runs it; no client can make
 * the loop wait. It owns the bans and the queries to the workers. Without --admin none of this
 * exists.
 */
#pragma once

#include "admin/admin_socket.h"
#include "config/capacity.h"
#include "os/poll_set.h"
#include "relay/worker.h"

/*
 * Connections at a time. When the last slot is taken, one connection gives way: first a connection
 * whose request has not come, then a connection that does not take its answer; the oldest of these,
 * and a connection of root only where there is no other.
 */
#define ADMIN_CONNECTIONS CAPACITY_ADMIN_CONNECTIONS

/* The time for a request to come, and the time for its answer to be taken. */
#define ADMIN_TIMEOUT_MS 5000

struct admin;

/* All of this must outlive the struct admin. */
struct admin_setup {
	struct forwards *forwards;
	struct workers *workers;
	struct forward_owner owner; /* of the socket's file */
};

/*
 * Makes the socket at config->admin, or takes the inherited socket of this path. The workers, which
 * must not have been started, keep a history and look at the bans from then on. Returns 0, or
 * -errno with `fault`: object, reason and remedy.
 */
int admin_create(struct admin **admin, const struct admin_setup *setup, struct fault *fault);

/* No worker may be running. NULL is allowed. */
void admin_destroy(struct admin *admin);

/*
 * In the new process of a takeover, after the commit: gives an inherited socket's file its mode, and
 * logs the changes that could not be made again.
 */
void admin_settle(struct admin *admin);

/*
 * In the old process of a takeover: admin_write_socket() writes the socket for the next process.
 * admin_leave() closes it here, after the commit; `undone`: it logs that the next process has undone
 * the changes made at run time. admin_is_busy(): connections are open; each ends when its answer was
 * taken, or after ADMIN_TIMEOUT_MS.
 */
void admin_write_socket(const struct admin *admin, struct carrier *carrier);
void admin_leave(struct admin *admin, bool undone);
bool admin_is_busy(const struct admin *admin);
/*
 * For the process that takes over: admin_write() writes the bans, a part of the state.
 * admin_write_before() writes the start time of the service and, if `changes`, the changes made at
 * run time. Both come before the state, and are the same in every INHERITED_STATE_VERSION.
 */
void admin_write(const struct admin *admin, struct carrier *carrier);
void admin_write_before(const struct admin *admin, struct carrier *carrier, bool changes);
/*
 * Takes one record: CARRIER_BAN, CARRIER_SERVICE or CARRIER_CHANGE, which makes the change again.
 * Before the workers serve. Returns 0, -ENOMEM or -EBADMSG.
 */
int admin_read(struct admin *admin, struct carrier *carrier, enum carrier_kind kind);

/* What `reload` and `upgrade` ask for. */
enum admin_wish { ADMIN_WISHES_NOTHING, ADMIN_WISHES_RELOAD, ADMIN_WISHES_UPGRADE };

/*
 * Takes the wish of those who have asked since the last call; an upgrade is also a reload. `number`
 * is that of the takeover whose outcome answers them.
 */
enum admin_wish admin_take_wish(struct admin *admin, unsigned number);

/* How the takeover `number` has ended. */
struct admin_outcome {
	unsigned number;
	int code;	      /* exit code; 0: another process serves */
	const char *text;     /* the faults, a line for each */
	uint64_t moved_count; /* sessions */
	uint64_t left_count;
};

/* Answers those who wait for this takeover, or an earlier one. */
void admin_answer_wishes(struct admin *admin, const struct admin_outcome *outcome);

/* Adds the descriptors to wait for, and when admin_run() is due without an event or answer. */
void admin_prepare_poll(struct admin *admin, struct poll_set *set);

/*
 * Does all that needs no waiting. Harmless when nothing has happened. `ending`: the process drains.
 */
void admin_run(struct admin *admin, bool ending);

/* Whether `sixpipe drain` has asked to drain the process, since the last call. */
bool admin_take_drain(struct admin *admin);
