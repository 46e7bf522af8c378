/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. Questions have numbers. The control thread writes the question, then its
 * number. A worker that sees a number which it has not answered begins to work, and writes that
 * number beside its answer when the answer is complete. Both numbers are written with release
 * stores, so no thread reads the question or an answer while another writes it.
 *
 * A worker first walks through its table of sessions, then back through its history. Both can
 * change between two ticks. A session that is opened in a slot behind the walk is not in the
 * answer. A session that was open when the walk came by, and has ended since, is found again in the
 * history; its record is replaced.
 */
#include "relay/query.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"

/* The part of a question that one worker answers. */
struct task {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint32_t answered; /* number of a question */
	atomic_bool left;

	/* the worker's until the question is answered, then the control thread's */
	uint32_t taken;		/* number of the question that the members below are about */
	uint32_t slot;		/* the next to inspect */
	bool walked;		/* through the table */
	uint64_t entry;		/* of the history: the next to inspect is the entry before */
	uint64_t history_began; /* the end of the history when the work began */
	struct query_answer answer;
};

struct queries {
	struct query query;
	_Atomic uint32_t asked; /* number of the last question; 0: none yet */
	unsigned worker_count;
	struct task tasks[];
};

int queries_create(struct queries **queries, unsigned worker_count)
{
	size_t bytes = sizeof(**queries) + worker_count * sizeof((*queries)->tasks[0]);
	struct queries *made = memory_alloc_lines(bytes);

	if (!made)
		return -ENOMEM;
	made->worker_count = worker_count;
	*queries = made;
	return 0;
}

void queries_destroy(struct queries *queries)
{
	free(queries);
}

/* The control thread --------------------------------------------------------------------------- */

void queries_ask(struct queries *queries, const struct query *query)
{
	uint32_t asked = atomic_load_explicit(&queries->asked, memory_order_relaxed);

	CHECK(queries_are_answered(queries));
	queries->query = *query;
	/* 0 means no question: queries_work() */
	asked = asked + 1 ? asked + 1 : 1;
	atomic_store_explicit(&queries->asked, asked, memory_order_release);
}

static bool has_answered(const struct queries *queries, const struct task *task)
{
	return atomic_load_explicit(&task->answered, memory_order_acquire) ==
	       atomic_load_explicit(&queries->asked, memory_order_relaxed);
}

bool queries_are_answered(const struct queries *queries)
{
	for (unsigned i = 0; i < queries->worker_count; i++)
		if (!has_answered(queries, &queries->tasks[i]) &&
		    !atomic_load_explicit(&queries->tasks[i].left, memory_order_acquire))
			return false;
	return true;
}

const struct query_answer *queries_answer(const struct queries *queries, unsigned worker)
{
	const struct task *task = &queries->tasks[worker];

	CHECK(worker < queries->worker_count);
	return has_answered(queries, task) ? &task->answer : NULL;
}

unsigned queries_worker_count(const struct queries *queries)
{
	return queries->worker_count;
}

/* A worker ------------------------------------------------------------------------------------- */

bool query_matches(const struct query *query, const struct addr *endpoint)
{
	if (!endpoint->length_bytes || (query->port && query->port != addr_port(endpoint)))
		return false;
	return cidr_means(&query->block, endpoint);
}

/* Whether a ban of the block would refuse the session's client: session_admit(). */
static bool matches_as_ban(const struct query *query, const struct session *session)
{
	struct in6_addr inside;

	/* a client of a local socket has no address that a block can have */
	if (addr_is_local(session_client(session)))
		return false;
	return query_matches(query, session_client(session)) ||
	       (session_embedded_client(session, &inside) && cidr_contains(&query->block, &inside));
}

/* Also by an address that backends see, if it is of one session or one client alone. */
static bool matches_client(const struct query *query, const struct session *session,
			   const struct session_record *record)
{
	if (!session_knows_client(session))
		return false;
	return query_matches(query, &record->client) ||
	       ((query->port || record->has_own_source) && query_matches(query, &record->source));
}

/* Whether the filter names the session, which `record` describes. */
static bool matches_filter(const struct query *query, const struct session *session,
			   const struct session_record *record)
{
	const struct query_filter *filter = &query->filter;

	if (filter->forward && filter->forward != session_forward(session))
		return false;
	if (filter->by_id && (filter->boot_id != record->boot_id || filter->id != record->id))
		return false;
	if (filter->by_backend && !session_has_backend(session, &filter->backend, filter->group))
		return false;
	return !filter->by_client || matches_client(query, session, record);
}

bool query_comes_before(enum query_order order, const struct session_record *a,
			const struct session_record *b)
{
	uint64_t a_bytes = a->bytes_up + a->bytes_down, b_bytes = b->bytes_up + b->bytes_down;

	if (order == QUERY_BY_BYTES && a_bytes != b_bytes)
		return a_bytes > b_bytes;
	if (a->opened_ms != b->opened_ms)
		return a->opened_ms < b->opened_ms;
	return a->id < b->id;
}

/* Puts a record into the heap from `at` downwards; a parent comes after its children in order. */
static void sift_down(struct query_answer *answer, enum query_order order,
		      const struct session_record *record)
{
	struct session_record *records = answer->records;
	unsigned at = 0;

	for (;;) {
		unsigned child = 2 * at + 1;

		if (child + 1 < answer->count &&
		    query_comes_before(order, &records[child], &records[child + 1]))
			child++;
		if (child >= answer->count || !query_comes_before(order, record, &records[child]))
			break;
		records[at] = records[child];
		at = child;
	}
	records[at] = *record;
}

static void sift_up(struct query_answer *answer, enum query_order order,
		    const struct session_record *record)
{
	struct session_record *records = answer->records;
	unsigned at = answer->count++;

	while (at && query_comes_before(order, &records[(at - 1) / 2], record)) {
		records[at] = records[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	records[at] = *record;
}

/* Keeps the sessions that come first: a new one takes the place of the last. */
static void add_in_order(const struct query *query, struct query_answer *answer,
			 const struct session_record *record)
{
	answer->matched_count++;
	if (answer->count < query->limit)
		sift_up(answer, query->order, record);
	else if (query_comes_before(query->order, record, &answer->records[0]))
		sift_down(answer, query->order, record);
}

static void add_sum(struct query_answer *answer, const struct session_record *record)
{
	struct query_sum *sum = &answer->sums[record->forward];

	sum->sessions++;
	sum->bytes_up += record->bytes_up;
	sum->bytes_down += record->bytes_down;
}

/* The kinds of question that have a filter. Returns the number of steps. */
static unsigned inspect_filtered(const struct query *query, struct task *task,
				 struct sessions *sessions, struct session *session)
{
	struct session_record record;

	session_describe(sessions, session, &record);
	record.closed_ms = 0;
	if (!matches_filter(query, session, &record))
		return 1;
	if (query->kind == QUERY_COUNT) {
		add_sum(&task->answer, &record);
	} else if (query->kind == QUERY_LIST) {
		add_in_order(query, &task->answer, &record);
	} else {
		task->answer.reset_count++;
		session_end(sessions, session, CLOSE_killed);
		return QUERY_RESET_STEPS;
	}
	return QUERY_LIST_STEPS;
}

static void add_record(struct query_answer *answer, const struct session_record *record)
{
	if (answer->count == QUERY_RECORD_LIMIT)
		answer->truncated = true;
	else
		answer->records[answer->count++] = *record;
}

/* Inspects the next slot of the table. Returns the number of steps. */
static unsigned inspect_slot(const struct query *query, struct task *task,
			     struct sessions *sessions)
{
	struct session *session = sessions_at(sessions, task->slot++);
	struct session_record record;

	if (!session)
		return 1;
	if (query->kind == QUERY_RESET) {
		/* until the client is known, the peer is a proxy; session_admit() decides later */
		if (!session_knows_client(session) || !matches_as_ban(query, session))
			return 1;
		task->answer.reset_count++;
		session_end(sessions, session, CLOSE_banned);
		return QUERY_RESET_STEPS;
	}
	if (query->kind != QUERY_WHO)
		return inspect_filtered(query, task, sessions, session);
	if (!query_matches(query, session_client(session)) &&
	    !query_matches(query, session_source(session)))
		return 1;
	session_describe(sessions, session, &record);
	/* a closing session still has sockets; it will be in the history when they are closed */
	record.closed_ms = 0;
	add_record(&task->answer, &record);
	return 1;
}

/* Replaces the record of a session that was open at the time; false: there is no such record. */
static bool replace_open(struct query_answer *answer, const struct session_record *record)
{
	for (unsigned i = 0; i < answer->count; i++) {
		struct session_record *open = &answer->records[i];

		if (open->closed_ms || open->opened_ms != record->opened_ms ||
		    open->forward != record->forward || !addr_equal(&open->client, &record->client))
			continue;
		*open = *record;
		return true;
	}
	return false;
}

/* Inspects the next entry of the history. Returns false if there are no more. */
static bool inspect_entry(const struct query *query, struct task *task,
			  const struct history *history)
{
	const struct session_record *record =
		task->entry ? history_find(history, --task->entry) : NULL;
	bool ended_meanwhile = task->entry >= task->history_began;

	if (!record)
		return false;
	if (!query_matches(query, &record->client) && !query_matches(query, &record->source))
		return true;
	if (!ended_meanwhile || !replace_open(&task->answer, record))
		add_record(&task->answer, record);
	return true;
}

/* Returns whether the answer is complete. */
static bool work(const struct query *query, struct task *task, struct sessions *sessions)
{
	const struct history *history = query->kind == QUERY_WHO ? sessions->history : NULL;
	unsigned steps = 0;

	while (!task->walked && steps < QUERY_TICK_STEPS &&
	       task->slot < sessions_slot_end(sessions))
		steps += inspect_slot(query, task, sessions);
	if (steps >= QUERY_TICK_STEPS)
		return false;
	if (!task->walked)
		task->entry = history ? history_end(history) : 0;
	task->walked = true;
	for (; steps < QUERY_TICK_STEPS; steps++)
		if (task->answer.truncated || !inspect_entry(query, task, history))
			return true;
	return false;
}

enum query_progress queries_work(struct queries *queries, struct sessions *sessions)
{
	struct task *task = &queries->tasks[sessions->worker];
	uint32_t asked = atomic_load_explicit(&queries->asked, memory_order_acquire);

	if (asked == atomic_load_explicit(&task->answered, memory_order_relaxed))
		return QUERY_NONE;
	if (task->taken != asked) {
		task->taken = asked;
		task->slot = 0;
		task->walked = false;
		task->history_began = sessions->history ? history_end(sessions->history) : 0;
		task->answer.count = 0;
		task->answer.truncated = false;
		task->answer.reset_count = 0;
		task->answer.matched_count = 0;
		memset(task->answer.sums, 0, sizeof(task->answer.sums));
	}
	if (!work(&queries->query, task, sessions))
		return QUERY_MORE;
	atomic_store_explicit(&task->answered, asked, memory_order_release);
	return QUERY_ANSWERED;
}

void queries_leave(struct queries *queries, unsigned worker)
{
	CHECK(worker < queries->worker_count);
	atomic_store_explicit(&queries->tasks[worker].left, true, memory_order_release);
}
