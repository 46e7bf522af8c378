/* SPDX-License-Identifier: MIT */
/* The commands sessions and kill: both ask the workers once. */
#include <stdlib.h>
#include <string.h>

#include "admin/admin_command.h"
#include "admin/admin_table.h"
#include "admin/backend_name.h"

static const char *const keys[] = {"id",     "client", "forward",  "backend",
				   "source", "age_s",  "bytes_up", "bytes_down"};

/*
 * Sets which backend's sessions are meant. A name without an address (web.example:80) is looked for
 * among the forwards. Returns false if it has answered that there is none.
 */
static bool set_backend(const struct admin_job *job, struct query *query,
			struct admin_answer *answer)
{
	const struct forwards *forwards = job->tools.forwards;
	struct pool_snapshot now;
	struct backend_name name;

	backend_name_read(&name, job->request.backend);
	query->filter.by_backend = true;
	query->filter.backend = name.address;
	query->filter.group = -1;
	for (unsigned i = 0; i < forwards->count; i++) {
		const struct forward *forward = &forwards->list[i];
		const struct pool *pool = upstream_pool(forward->upstream);

		if (*name.forward && !strcmp(name.forward, forward->config->name))
			query->filter.forward = forward;
		for (unsigned j = 0; j < pool_slot_count(pool); j++) {
			pool_snapshot(pool, j, job->now_ms, &now);
			if (name.address.length_bytes || !backend_name_means(&name, forward, &now))
				continue;
			query->filter.forward = forward;
			query->filter.group = (int)now.group;
			return true;
		}
	}
	if (name.address.length_bytes && (!*name.forward || query->filter.forward))
		return true;
	admin_command_answer(job, answer, ADMIN_NOBODY,
			     "%s is no backend; 'sixpipe backends' lists them",
			     job->request.backend);
	return false;
}

/* The question about the sessions that the request names. False: it is answered with an error. */
static bool make_query(const struct admin_job *job, struct query *query,
		       struct admin_answer *answer)
{
	const struct admin_request *request = &job->request;

	if (*request->backend && !set_backend(job, query, answer))
		return false;
	if (*request->forward) {
		query->filter.forward = admin_command_forward(job, answer);
		if (!query->filter.forward)
			return false;
	}
	query->filter.by_client = request->has_who;
	query->filter.by_id = request->has_id;
	query->filter.boot_id = request->boot_id;
	query->filter.id = request->id;
	query->block = request->who.block;
	query->port = request->who.port;
	return true;
}

/* Sessions ------------------------------------------------------------------------------------- */

void command_sessions_begin(struct admin_job *job, struct admin_answer *answer)
{
	struct query query = {.kind = QUERY_LIST,
			      .order = job->request.order,
			      .limit = job->request.limit ? (unsigned)job->request.limit
							  : ADMIN_LIST_DEFAULT};

	if (make_query(job, &query, answer))
		admin_command_ask(job, &query);
}

static int compare(const void *left, const void *right, void *order)
{
	const struct session_record *a = *(const struct session_record *const *)left;
	const struct session_record *b = *(const struct session_record *const *)right;

	return query_comes_before(*(const enum query_order *)order, a, b)   ? -1
	       : query_comes_before(*(const enum query_order *)order, b, a) ? 1
									    : 0;
}

/* Makes job->found of the workers' answers. Returns how many sessions matched. */
static unsigned collect(struct admin_job *job)
{
	enum query_order order = job->request.order;
	unsigned limit = job->request.limit ? (unsigned)job->request.limit : ADMIN_LIST_DEFAULT;
	unsigned matched = 0;

	job->found_count = 0;
	for (unsigned i = 0; i < queries_worker_count(job->tools.queries); i++) {
		const struct query_answer *answer = queries_answer(job->tools.queries, i);

		for (unsigned j = 0; answer && j < answer->count; j++)
			job->found[job->found_count++] = &answer->records[j];
		matched += answer ? answer->matched_count : 0;
	}
	qsort_r(job->found, job->found_count, sizeof(*job->found), compare, &order);
	job->found_count = MIN(job->found_count, limit);
	return matched;
}

static void add_session(const struct admin_job *job, struct admin_table *table,
			const struct session_record *record)
{
	uint64_t age_ms = job->now_ms > record->opened_ms ? job->now_ms - record->opened_ms : 0;
	char id[SESSION_ID_TEXT_BYTES];

	admin_table_text(table, session_id_print(record->boot_id, record->id, id));
	admin_table_addr(table, &record->client);
	admin_table_text(table, job->tools.forwards->list[record->forward].config->name);
	admin_table_addr(table, &record->backend);
	admin_table_addr(table, &record->source);
	admin_table_number(table, age_ms / 1000);
	admin_table_number(table, record->bytes_up);
	admin_table_number(table, record->bytes_down);
}

void command_sessions_go_on(struct admin_job *job, struct admin_answer *answer)
{
	unsigned matched = collect(job);
	struct admin_table table;
	struct admin_text text;

	if (!admin_command_open(job, answer, ADMIN_DONE, "", &text))
		return;
	fputs(text.json ? "{\"sessions\":" : "", text.out);
	admin_table_begin(&table, &text, keys, ARRAY_COUNT(keys));
	for (unsigned i = 0; i < job->found_count; i++)
		add_session(job, &table, job->found[i]);
	admin_table_end(&table);
	if (text.json)
		fprintf(text.out, ",\"matched\":%u}\n", matched);
	else if (matched > job->found_count)
		fprintf(text.out, "# %u of %u sessions; --limit shows more, up to %u\n",
			job->found_count, matched, (unsigned)ADMIN_LIST_MOST);
	admin_command_close(answer, text.out);
}

/* Kill ----------------------------------------------------------------------------------------- */

void command_kill_begin(struct admin_job *job, struct admin_answer *answer)
{
	struct query query = {.kind = QUERY_KILL};

	if (make_query(job, &query, answer))
		admin_command_ask(job, &query);
}

void command_kill_go_on(struct admin_job *job, struct admin_answer *answer)
{
	unsigned count = admin_command_reset_count(job);
	struct admin_text text;
	struct log_line line;

	if (count && admin_command_log(job, &line)) {
		log_number(&line, "sessions", count);
		log_end(&line);
	}
	if (!count && !job->request.json) {
		admin_command_answer(job, answer, ADMIN_NOBODY,
				     "%shas no session; 'sixpipe sessions' lists them",
				     *job->request.given ? "" : "the backend ");
		return;
	}
	if (!admin_command_open(job, answer, count ? ADMIN_DONE : ADMIN_NOBODY,
				"there is no such session", &text))
		return;
	fprintf(text.out, text.json ? "{\"sessions_reset\":%u}\n" : "sessions_reset=%u\n", count);
	admin_command_close(answer, text.out);
}
