/*
 * Theory of operation. Questions are numbered. The control thread writes the question, then its
 * number; a worker that sees a number which it has not answered begins to work, and writes that
 * number on its desk once the answer is there. The two release stores hand the question over one
 * way and the answer the other, so neither is ever read while it is written.
 *
 * A worker first walks through its table of sessions and then back through its history. Both go on
 * changing between two turns. A session that is opened behind the walk is not told of; one that has
 * been told of as live and ends meanwhile is found again in the history, and replaced.
 */
#include "relay/query.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"

enum stage { STAGE_SESSIONS, STAGE_HISTORY };

struct desk {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint32_t answered; /* number of a question */
	atomic_bool left;

	/* the worker's, and the control thread's once it is answered */
	uint32_t taken; /* the question that the rest is about */
	enum stage stage;
	uint32_t slot;		/* next to look at */
	uint64_t entry;		/* of the history: one more than the next to look at */
	uint64_t history_began; /* its end when the question was taken */
	struct query_answer answer;
};

struct queries {
	struct query query;
	_Atomic uint32_t asked; /* number of the last question; 0: none yet */
	unsigned worker_count;
	struct desk desks[];
};

int queries_create(struct queries **queries, unsigned worker_count)
{
	size_t bytes = sizeof(**queries) + worker_count * sizeof((*queries)->desks[0]);
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

/* The control thread ---------------------------------------------------------------------------- */

void queries_ask(struct queries *queries, const struct query *query)
{
	uint32_t asked = atomic_load_explicit(&queries->asked, memory_order_relaxed);

	CHECK(queries_are_answered(queries));
	queries->query = *query;
	/* 0 is no question: see queries_take_turn() */
	asked = asked + 1 ? asked + 1 : 1;
	atomic_store_explicit(&queries->asked, asked, memory_order_release);
}

static bool has_answered(const struct queries *queries, const struct desk *desk)
{
	return atomic_load_explicit(&desk->answered, memory_order_acquire) ==
	       atomic_load_explicit(&queries->asked, memory_order_relaxed);
}

bool queries_are_answered(const struct queries *queries)
{
	for (unsigned i = 0; i < queries->worker_count; i++)
		if (!has_answered(queries, &queries->desks[i]) &&
		    !atomic_load_explicit(&queries->desks[i].left, memory_order_acquire))
			return false;
	return true;
}

const struct query_answer *queries_answer(const struct queries *queries, unsigned worker)
{
	const struct desk *desk = &queries->desks[worker];

	CHECK(worker < queries->worker_count);
	return has_answered(queries, desk) ? &desk->answer : NULL;
}

unsigned queries_worker_count(const struct queries *queries)
{
	return queries->worker_count;
}

/* A worker ------------------------------------------------------------------------------------- */

bool query_means(const struct query *query, const struct addr *endpoint)
{
	if (!endpoint->length_bytes || (query->port && query->port != addr_port(endpoint)))
		return false;
	return cidr_means(&query->block, endpoint);
}

static bool is_meant(const struct query *query, const struct addr *client,
		     const struct addr *source)
{
	return query_means(query, client) || query_means(query, source);
}

/* As session_admit() asks it of the bans. */
static bool is_to_be_reset(const struct query *query, const struct session *session)
{
	struct in6_addr inside;

	/* who came by a local socket has no address that could be meant */
	if (addr_is_local(session_client(session)))
		return false;
	return query_means(query, session_client(session)) ||
	       (session_embedded_client(session, &inside) && cidr_contains(&query->block, &inside));
}

static void tell(struct query_answer *answer, const struct session_record *record)
{
	if (answer->count == QUERY_RECORD_LIMIT)
		answer->truncated = true;
	else
		answer->records[answer->count++] = *record;
}

/* Looks at one slot of the table; returns the steps that took. */
static unsigned look_at_slot(const struct query *query, struct desk *desk,
			     struct sessions *sessions)
{
	struct session *session = sessions_at(sessions, desk->slot++);
	struct session_record record;

	if (!session)
		return 1;
	if (query->kind == QUERY_RESET) {
		/* not the client yet, but the proxy that announces it: session_admit() will ask */
		if (!session_knows_client(session) || !is_to_be_reset(query, session))
			return 1;
		desk->answer.reset_count++;
		session_end(sessions, session, CLOSE_banned);
		return QUERY_RESET_STEPS;
	}
	if (!is_meant(query, session_client(session), session_source(session)))
		return 1;
	session_describe(sessions, session, &record);
	/* one that is closing has sockets yet, and will be in the history when it has none */
	record.closed_ms = 0;
	tell(&desk->answer, &record);
	return 1;
}

/* The same session, which had been told of as live: the end of it is news. */
static bool replace_live(struct query_answer *answer, const struct session_record *record)
{
	for (unsigned i = 0; i < answer->count; i++) {
		struct session_record *told = &answer->records[i];

		if (told->closed_ms || told->opened_ms != record->opened_ms ||
		    told->forward != record->forward || !addr_equal(&told->client, &record->client))
			continue;
		*told = *record;
		return true;
	}
	return false;
}

/* Looks at one entry; returns false when there are no more. */
static bool look_at_entry(const struct query *query, struct desk *desk,
			  const struct history *history)
{
	const struct session_record *record =
		desk->entry ? history_find(history, --desk->entry) : NULL;
	bool ended_meanwhile = desk->entry >= desk->history_began;

	if (!record)
		return false;
	if (!is_meant(query, &record->client, &record->source))
		return true;
	if (!ended_meanwhile || !replace_live(&desk->answer, record))
		tell(&desk->answer, record);
	return true;
}

/* Returns whether the answer is complete. */
static bool work(const struct query *query, struct desk *desk, struct sessions *sessions)
{
	const struct history *history = query->kind == QUERY_WHO ? sessions->history : NULL;
	unsigned steps = 0;

	while (desk->stage == STAGE_SESSIONS && steps < QUERY_TURN_STEPS) {
		if (desk->slot < sessions_slot_end(sessions)) {
			steps += look_at_slot(query, desk, sessions);
			continue;
		}
		desk->stage = STAGE_HISTORY;
		desk->entry = history ? history_end(history) : 0;
	}
	if (desk->stage == STAGE_SESSIONS)
		return false;
	for (; steps < QUERY_TURN_STEPS; steps++)
		if (desk->answer.truncated || !look_at_entry(query, desk, history))
			return true;
	return false;
}

enum query_turn queries_take_turn(struct queries *queries, struct sessions *sessions)
{
	struct desk *desk = &queries->desks[sessions->worker];
	uint32_t asked = atomic_load_explicit(&queries->asked, memory_order_acquire);

	if (asked == atomic_load_explicit(&desk->answered, memory_order_relaxed))
		return QUERY_TURN_NOTHING;
	if (desk->taken != asked) {
		desk->taken = asked;
		desk->stage = STAGE_SESSIONS;
		desk->slot = 0;
		desk->history_began = sessions->history ? history_end(sessions->history) : 0;
		desk->answer.count = 0;
		desk->answer.truncated = false;
		desk->answer.reset_count = 0;
	}
	if (!work(&queries->query, desk, sessions))
		return QUERY_TURN_MORE;
	atomic_store_explicit(&desk->answered, asked, memory_order_release);
	return QUERY_TURN_ANSWERED;
}

void queries_leave(struct queries *queries, unsigned worker)
{
	CHECK(worker < queries->worker_count);
	atomic_store_explicit(&queries->desks[worker].left, true, memory_order_release);
}
