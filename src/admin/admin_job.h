/*
 * One request of an administrator, carried out: by the bans, which are the control thread's, and by
 * asking the workers, which takes a few ticks. One job at a time, for the workers answer one question
 * at a time.
 *
 * An answer is a line with the exit code of the command and, where that is not 0, a message; what
 * follows is for the command's stdout:
 *
 *	0, or 1 MESSAGE (there is nobody, or no such ban), or 2 MESSAGE (a bad request)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "admin/admin_request.h"
#include "admin/admin_text.h"
#include "limits/bans.h"
#include "relay/query.h"
#include "relay/worker.h"

/* The most sessions that one answer tells of; the live ones first, then the latest to end. */
#define ADMIN_SESSION_LIMIT 1024

/* A ban of more than this is taken for a slip of the finger: it would shut whole continents out. */
#define ADMIN_BAN_BITS_LEAST_V6 16
#define ADMIN_BAN_BITS_LEAST_V4 8

enum admin_code { ADMIN_DONE, ADMIN_NOBODY, ADMIN_BAD };

/* What a job works with; all of it outlives the job. */
struct admin_tools {
	const struct forwards *forwards;
	struct workers *workers;
	struct bans *bans;
	struct queries *queries;
};

struct admin_answer {
	char *text; /* the receiver's to free; NULL when there was no memory for it */
	size_t bytes;
};

struct admin_job {
	struct admin_tools tools;
	struct admin_request request;
	uid_t asker;
	bool busy;	    /* a job is under way */
	bool asked;	    /* ... and its first step is done */
	bool has_ban;	    /* ... and its ban is made */
	struct cidr client; /* whom a ban is for, once that is known */
	bool has_lease;	    /* WHO is an address that --source gave ... */
	struct cidr lease;  /* ... to this client */
	bool has_previous; /* a ban is for whom has WHO now, or had it last; another had it before */
	struct admin_holder previous;
	/* the workers' answers put together, good until the next question */
	const struct session_record **found;
	unsigned found_count;
	bool truncated;
};

/* Returns 0 or -ENOMEM. */
int admin_job_init(struct admin_job *job, const struct admin_tools *tools);
void admin_job_finish(struct admin_job *job);

/* Begins a job; none is under way. `asker` is for the log. */
void admin_job_begin(struct admin_job *job, const struct admin_request *request, uid_t asker);

/*
 * Goes on with the job that is under way, as far as the workers have answered. Returns whether it is
 * over, and then stores the answer.
 */
bool admin_job_continue(struct admin_job *job, struct admin_answer *answer);

/* The answer that is no more than a code and a message. */
void admin_answer_line(struct admin_answer *answer, enum admin_code code, const char *message);

/* Takes out the bans that are over. */
void admin_job_expire(const struct admin_tools *tools);
