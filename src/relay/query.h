/*
 * What the control thread asks the workers about their sessions, and their answers. Workers own
 * their sessions, so nobody else looks into them: the question is laid on each worker's desk, the
 * worker is woken (engine_wake()), and it answers in its own time, a bounded piece each tick. No
 * locks, and no memory but what is taken at creation.
 *
 * One question at a time. The control thread asks, and touches nothing until all have answered.
 */
#pragma once

#include <stdbool.h>

#include "base/cidr.h"
#include "relay/session.h"
#include "stats/history.h"

/* The most that one worker tells of in one answer. */
#define QUERY_RECORD_LIMIT 256

/*
 * What a worker does for a question in one tick: so many slots or entries of the history looked at,
 * about 50 us. Ending a session counts as QUERY_RESET_STEPS.
 */
#define QUERY_TURN_STEPS  1024
#define QUERY_RESET_STEPS 16

enum query_kind {
	QUERY_WHO,   /* tell of the sessions, live and ended, whose client or source is meant */
	QUERY_RESET, /* end the live sessions whose client is meant: close reason `banned` */
};

struct query {
	enum query_kind kind;
	struct cidr block;
	unsigned port; /* of an address in the block; 0: any */
};

struct query_answer {
	unsigned count;	      /* of `records`: the live ones first, then the latest to end first */
	bool truncated;	      /* there were more */
	unsigned reset_count; /* sessions ended */
	struct session_record records[QUERY_RECORD_LIMIT];
};

/* Whether an endpoint is meant: in the block and, where one is given, with that port. */
bool query_means(const struct query *query, const struct addr *endpoint);

struct queries;

/* Creates the desks of `worker_count` workers. Returns 0 or -ENOMEM. */
int queries_create(struct queries **queries, unsigned worker_count);

/* NULL is allowed. */
void queries_destroy(struct queries *queries);

/* The control thread's ------------------------------------------------------------------------- */

/* Lays a question on all desks; the workers are the caller's to wake. All must have answered. */
void queries_ask(struct queries *queries, const struct query *query);

/* Whether every worker has answered the last question, or left. True before the first. */
bool queries_are_answered(const struct queries *queries);

/* What a worker has answered, until the next question; NULL when it has left without. */
const struct query_answer *queries_answer(const struct queries *queries, unsigned worker);

unsigned queries_worker_count(const struct queries *queries);

/* A worker's ----------------------------------------------------------------------------------- */

enum query_turn {
	QUERY_TURN_NOTHING,  /* there is no question */
	QUERY_TURN_MORE,     /* work is left: come back in the next tick, without waiting */
	QUERY_TURN_ANSWERED, /* the control thread should look */
};

/*
 * Works on the question, if there is one, for one tick. `sessions` are the calling worker's; where
 * they have no history only live sessions are told of. Sessions may be over when this returns.
 */
enum query_turn queries_take_turn(struct queries *queries, struct sessions *sessions);

/* The worker ends, and will answer no more. */
void queries_leave(struct queries *queries, unsigned worker);
