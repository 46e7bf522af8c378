/* SPDX-License-Identifier: MIT */
/*
 * Carries out one request of an administrator. The bans are the control thread's; sessions are the
 * workers', and asking the workers takes a few ticks. One job runs at a time, because the workers
 * answer one query at a time.
 *
 * The first line of an answer is the exit code of the command and, if it is not 0, a message. All
 * further lines are for the command's stdout.
 *
 *	0, or 1 MESSAGE (no such session or ban), or 2 MESSAGE (a bad request)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "admin/admin_request.h"
#include "admin/admin_text.h"
#include "admin/runtime_changes.h"
#include "limits/bans.h"
#include "relay/query.h"
#include "relay/worker.h"

/* The most sessions in one answer: live sessions first, then the last that ended. */
#define ADMIN_SESSION_LIMIT 1024

/* The widest ban. A wider one is taken for a typing error: it would refuse whole continents. */
#define ADMIN_BAN_BITS_LEAST_V6 16
#define ADMIN_BAN_BITS_LEAST_V4 8

enum admin_code { ADMIN_DONE, ADMIN_NOBODY, ADMIN_BAD };

/* What the commands and the control loop tell each other. */
struct admin_process {
	bool ending;	     /* the process drains; the control loop sets it */
	bool drain_asked;    /* the process is to drain; the control loop clears it */
	uint64_t started_ms; /* of the service; a takeover keeps it */
	/* when the sessions of a forward that drains are reset, by forward; 0: never */
	uint64_t forward_due_ms[CONFIG_FORWARD_LIMIT];
};

/* All of this outlives the job. */
struct admin_tools {
	struct forwards *forwards;
	struct workers *workers;
	struct bans *bans;
	struct queries *queries;
	struct admin_process *process;
	struct runtime_changes *changes;
};

struct admin_answer {
	char *text; /* the receiver's to free; NULL: there was no memory */
	size_t bytes;
};

struct admin_job {
	struct admin_tools tools;
	struct admin_request request;
	uid_t asker;
	uint64_t now_ms; /* when the job began */
	/* the change that the job makes again after an upgrade; NULL: an administrator asks */
	const struct runtime_change *repeated;
	bool busy;	    /* a job runs */
	bool asked;	    /* ... and its first step is done */
	bool waits;	    /* ... for the workers' answers */
	bool has_ban;	    /* ... and its ban is made */
	struct cidr client; /* the client to ban, once the job knows it */
	bool has_lease;	    /* WHO is a source address leased ... */
	struct cidr lease;  /* ... to this client */
	bool has_previous;  /* another client had WHO before job->client */
	struct admin_holder previous;
	/* the workers' answers as one list, valid until the next query */
	const struct session_record **found;
	unsigned found_count;
	bool truncated;
};

/* Returns 0 or -ENOMEM. */
int admin_job_init(struct admin_job *job, const struct admin_tools *tools);
void admin_job_finish(struct admin_job *job);

/* Begins a job; no job may run. `asker` is for the log. */
void admin_job_begin(struct admin_job *job, const struct admin_request *request, uid_t asker);

/* Continues the job as far as workers have answered. Returns whether it is over and answered. */
bool admin_job_continue(struct admin_job *job, struct admin_answer *answer);

/*
 * Takes a CARRIER_CHANGE, and makes the change again. It goes into the list of changes, with its
 * user and time, or is lost: runtime_changes_lose(). Logs nothing. No job may run. Before the
 * workers serve, and before the forwards' state is read. Returns 0, -ENOMEM or -EBADMSG.
 */
int admin_job_read_change(struct admin_job *job, struct carrier *carrier);

/* Makes an answer of a code and a message. */
void admin_answer_line(struct admin_answer *answer, enum admin_code code, const char *message);

/* Removes the bans whose time is over: command_ban.c. */
void admin_job_expire(const struct admin_tools *tools);

/*
 * Resets the sessions of forwards whose time to drain is over; and the next such time, or
 * POLL_SET_NEVER: command_process.c.
 */
void admin_job_expire_drains(const struct admin_tools *tools);
uint64_t admin_job_next_drain_ms(const struct admin_tools *tools);
