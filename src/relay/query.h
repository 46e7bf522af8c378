/* SPDX-License-Identifier: MIT */
/*
 * What the control thread asks the workers about their sessions, and the answers. Only a worker may
 * read its sessions. So the control thread stores a question and wakes the workers (engine_wake());
 * each worker answers for its own sessions, a bounded part in each tick. No locks, and no
 * allocation after the start.
 *
 * There is one question at a time, and it does not change until all workers have answered.
 */
#pragma once

#include <stdbool.h>

#include "base/cidr.h"
#include "relay/session.h"
#include "stats/history.h"

/* The most sessions in the answer of one worker. */
#define QUERY_RECORD_LIMIT 256

/*
 * The work that a worker does for a question in one tick, about 50 us. To inspect a slot or an
 * entry of the history is one step; to end a session is QUERY_RESET_STEPS.
 */
#define QUERY_TICK_STEPS  1024
#define QUERY_RESET_STEPS 16
#define QUERY_LIST_STEPS  4 /* a session that QUERY_LIST or QUERY_COUNT tells of */

enum query_kind {
	QUERY_WHO, /* describe the sessions, open or ended, whose client or source address matches */
	QUERY_RESET, /* end the open sessions whose client matches: close reason `banned` */
	QUERY_KILL,  /* end the open sessions that the filter names: close reason `killed` */
	QUERY_LIST, /* describe the open sessions that the filter names: those first in the order */
	QUERY_COUNT, /* count the open sessions of each forward, and their bytes */
};

enum query_order {
	QUERY_BY_BYTES, /* the most bytes first */
	QUERY_BY_AGE,	/* the oldest first */
};

/* Which open sessions QUERY_KILL and QUERY_LIST mean; zeroed: all of them. */
struct query_filter {
	const struct forward *forward; /* NULL: any */
	bool by_client;		       /* `block` and `port` of the query name the client */
	bool by_backend;
	struct addr backend; /* "no address": any, of the backend `group` */
	int group;	     /* of the forward; -1: any */
	bool by_id;
	uint64_t boot_id, id;
};

struct query {
	enum query_kind kind;
	struct cidr block;
	unsigned port; /* 0: any port */
	struct query_filter filter;
	enum query_order order; /* of QUERY_LIST */
	unsigned limit;		/* ... at most so many sessions, 1 to QUERY_RECORD_LIMIT */
};

/* The open sessions of a forward, and the bytes that they have moved. */
struct query_sum {
	uint64_t sessions, bytes_up, bytes_down;
};

struct query_answer {
	/*
	 * of `records`: for QUERY_WHO open sessions, then ended sessions, latest end first; for
	 * QUERY_LIST a heap, the last in the order at its root
	 */
	unsigned count;
	bool truncated;		/* more sessions matched */
	unsigned reset_count;	/* sessions ended by QUERY_RESET or QUERY_KILL */
	unsigned matched_count; /* by QUERY_LIST */
	struct query_sum sums[CONFIG_FORWARD_LIMIT]; /* by QUERY_COUNT, by forward */
	struct session_record records[QUERY_RECORD_LIMIT];
};

/* Whether `a` comes before `b` in an answer to QUERY_LIST. */
bool query_comes_before(enum query_order order, const struct session_record *a,
			const struct session_record *b);

/* Whether the block of the query has the address, and the port matches. */
bool query_matches(const struct query *query, const struct addr *endpoint);

struct queries;

/* Creates the questions and answers of `worker_count` workers. Returns 0 or -ENOMEM. */
int queries_create(struct queries **queries, unsigned worker_count);

/* NULL is allowed. */
void queries_destroy(struct queries *queries);

/* For the control thread ----------------------------------------------------------------------- */

/* Stores a question. The last one must be answered. The caller wakes the workers. */
void queries_ask(struct queries *queries, const struct query *query);

/* Whether every worker has answered the last question, or has left. True before the first. */
bool queries_are_answered(const struct queries *queries);

/* The answer of a worker, valid until the next question; NULL if the worker left without answer. */
const struct query_answer *queries_answer(const struct queries *queries, unsigned worker);

unsigned queries_worker_count(const struct queries *queries);

/* For a worker --------------------------------------------------------------------------------- */

enum query_progress {
	QUERY_NONE,	/* there is no question */
	QUERY_MORE,	/* there is more to do: call again in the next tick, which must not wait */
	QUERY_ANSWERED, /* the answer is complete: wake the control thread */
};

/*
 * Works on the question, if there is one, for one tick. `sessions` are those of the calling worker;
 * without a history, the answer has open sessions only. Sessions may be over when this returns.
 */
enum query_progress queries_work(struct queries *queries, struct sessions *sessions);

/* The worker ends and answers no more questions. */
void queries_leave(struct queries *queries, unsigned worker);
