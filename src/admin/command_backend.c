/* SPDX-License-Identifier: MIT */
/* The commands backends and backend. They need no answer of the workers. */
#include <errno.h>
#include <string.h>

#include "admin/admin_command.h"
#include "admin/admin_table.h"
#include "admin/backend_name.h"
#include "base/check.h"
#include "os/timer.h"

/* Rows ----------------------------------------------------------------------------------------- */

static const char *const keys[] = {"forward", "backend",  "address", "state",  "weight",
				   "maxconn", "sessions", "total",   "failed", "last_error"};

static void add_row(struct admin_table *table, const struct forward *forward, unsigned member,
		    const struct pool_snapshot *now)
{
	char text[CONFIG_BACKEND_TEXT_BYTES];

	admin_table_text(table, forward->config->name);
	admin_table_text(table, config_print_backend(
					upstream_configured(forward->upstream, now->group), text));
	admin_table_addr(table, &now->address);
	admin_table_text(table, backend_state_word(now));
	admin_table_number(table, now->weight);
	admin_table_number(table, now->maxconn);
	admin_table_number(table, now->live);
	admin_table_number(table, now->total);
	admin_table_number(table, now->failed);
	admin_table_text(table, upstream_last_error(forward->upstream, member));
}

/* Adds the rows of a forward: of all members, or of those that a name means, or of one group. */
static void add_rows(struct admin_table *table, const struct forward *forward,
		     const struct backend_name *name, int group)
{
	const struct pool *pool = upstream_pool(forward->upstream);
	uint64_t now_ms = timer_now_ms();
	struct pool_snapshot now;

	for (unsigned i = 0; i < pool_slot_count(pool); i++) {
		pool_snapshot(pool, i, now_ms, &now);
		if (now.state != POOL_EMPTY && (group < 0 || now.group == (unsigned)group) &&
		    (!name || backend_name_means(name, forward, &now)))
			add_row(table, forward, i, &now);
	}
}

static void answer_rows(const struct admin_job *job, struct admin_answer *answer,
			const struct forward *only, const struct backend_name *name, int group)
{
	const struct forwards *forwards = job->tools.forwards;
	struct admin_table table;
	struct admin_text text;

	if (!admin_command_open(job, answer, ADMIN_DONE, "", &text))
		return;
	fputs(text.json ? "{\"backends\":" : "", text.out);
	admin_table_begin(&table, &text, keys, ARRAY_COUNT(keys));
	for (unsigned i = 0; i < forwards->count; i++)
		if (!only || only == &forwards->list[i])
			add_rows(&table, &forwards->list[i], name, group);
	admin_table_end(&table);
	fputs(text.json ? "}\n" : "", text.out);
	admin_command_close(answer, text.out);
}

void command_backends_begin(struct admin_job *job, struct admin_answer *answer)
{
	const struct forward *forward = NULL;

	if (*job->request.forward) {
		forward = admin_command_forward(job, answer);
		if (!forward)
			return;
	}
	answer_rows(job, answer, forward, NULL, -1);
}

/* Changes -------------------------------------------------------------------------------------- */

static void log_change(const struct admin_job *job, const struct forward *forward,
		       const struct addr *backend)
{
	struct log_line line;

	if (!admin_command_log(job, &line))
		return;
	forward_log(forward, &line);
	log_addr(&line, "backend", backend);
	log_end(&line);
}

static void change(const struct admin_job *job, struct forward *forward, unsigned member)
{
	struct upstream *upstream = forward->upstream;
	unsigned value = (unsigned)job->request.value;

	switch (job->request.action) {
	case ADMIN_BACKEND_UP:
		upstream_set_order(upstream, member, POOL_ORDER_NONE);
		break;
	case ADMIN_BACKEND_DOWN:
		upstream_set_order(upstream, member, POOL_ORDER_DOWN);
		break;
	case ADMIN_BACKEND_DRAIN:
		upstream_set_order(upstream, member, POOL_ORDER_DRAIN);
		break;
	case ADMIN_BACKEND_WEIGHT:
		upstream_set_weight(upstream, member, value);
		break;
	case ADMIN_BACKEND_MAXCONN:
		upstream_set_maxconn(upstream, member, value);
		break;
	default:
		upstream_remove(upstream, member);
		break;
	}
}

/* Changes the members of a forward that the name means. Returns their number. */
static unsigned change_all(const struct admin_job *job, struct forward *forward,
			   const struct backend_name *name)
{
	const struct pool *pool = upstream_pool(forward->upstream);
	struct pool_snapshot now;
	unsigned count = 0;

	for (unsigned i = 0; i < pool_slot_count(pool); i++) {
		pool_snapshot(pool, i, timer_now_ms(), &now);
		if (!backend_name_means(name, forward, &now))
			continue;
		change(job, forward, i);
		log_change(job, forward, &now.address);
		count++;
	}
	return count;
}

static bool has_member(const struct forward *forward, const struct backend_name *name)
{
	const struct pool *pool = upstream_pool(forward->upstream);
	struct pool_snapshot now;

	for (unsigned i = 0; i < pool_slot_count(pool); i++) {
		pool_snapshot(pool, i, timer_now_ms(), &now);
		if (backend_name_means(name, forward, &now))
			return true;
	}
	return false;
}

/* The one forward that has the backend; NULL: it has answered why there is none. */
static struct forward *find_forward(const struct admin_job *job, struct admin_answer *answer,
				    const struct backend_name *name)
{
	struct forwards *forwards = job->tools.forwards;
	struct forward *found = NULL;

	for (unsigned i = 0; i < forwards->count; i++) {
		struct forward *forward = &forwards->list[i];

		if (!has_member(forward, name))
			continue;
		if (found) {
			admin_command_answer(job, answer, ADMIN_BAD,
					     "is a backend of several forwards; name one of them, "
					     "as in %s/%s",
					     found->config->name, name->text);
			return NULL;
		}
		found = forward;
	}
	if (!found)
		admin_command_answer(job, answer, ADMIN_NOBODY,
				     "is no backend; 'sixpipe backends' lists them");
	return found;
}

static void change_by_name(struct admin_job *job, struct admin_answer *answer)
{
	struct backend_name name;
	struct forward *forward;

	backend_name_read(&name, job->request.given);
	forward = find_forward(job, answer, &name);
	if (!forward)
		return;
	(void)change_all(job, forward, &name);
	admin_command_note(job);
	/* --on-down: the workers end the sessions of a backend that is down now */
	workers_wake(job->tools.workers);
	answer_rows(job, answer, forward, &name, -1);
}

static void add(struct admin_job *job, struct admin_answer *answer, struct forward *forward)
{
	char text[FAULT_TEXT_BYTES];
	struct fault fault;
	int group = upstream_add(forward->upstream, job->request.backend, &fault);

	/* an upgrade reads the file too, which may have the backend by now */
	if (group == -EEXIST && job->repeated) {
		admin_answer_line(answer, ADMIN_DONE, "");
		return;
	}
	if (group < 0) {
		admin_command_answer(job, answer, ADMIN_BAD, "%s", fault_print(&fault, text));
		return;
	}
	log_change(job, forward, &upstream_configured(forward->upstream, (unsigned)group)->addr);
	admin_command_note(job);
	answer_rows(job, answer, forward, NULL, group);
}

/* Whether a member that the name means is an address of a name, which DNS brings back. */
static bool is_of_dns(const struct forward *forward, const struct backend_name *name)
{
	const struct pool *pool = upstream_pool(forward->upstream);
	struct pool_snapshot now;

	for (unsigned i = 0; i < pool_slot_count(pool); i++) {
		pool_snapshot(pool, i, timer_now_ms(), &now);
		if (backend_name_means(name, forward, &now) &&
		    *upstream_configured(forward->upstream, now.group)->name)
			return true;
	}
	return false;
}

static void remove_backend(struct admin_job *job, struct admin_answer *answer,
			   struct forward *forward)
{
	struct admin_text text;
	struct backend_name name;
	unsigned count;

	backend_name_read(&name, job->request.backend);
	if (is_of_dns(forward, &name)) {
		admin_command_answer(job, answer, ADMIN_BAD,
				     "%s is given by a name, and DNS would bring it back; use "
				     "'sixpipe backend %s/%s down'",
				     job->request.backend, forward->config->name,
				     job->request.backend);
		return;
	}
	count = change_all(job, forward, &name);
	if (!count && job->repeated) {
		admin_answer_line(answer, ADMIN_DONE, "");
		return;
	}
	if (!count) {
		admin_command_answer(job, answer, ADMIN_NOBODY,
				     "%s is no backend of forward %s; 'sixpipe backends %s' lists "
				     "them",
				     job->request.backend, forward->config->name,
				     forward->config->name);
		return;
	}
	admin_command_note(job);
	if (!admin_command_open(job, answer, ADMIN_DONE, "", &text))
		return;
	fprintf(text.out, text.json ? "{\"removed\":%u}\n" : "removed=%u\n", count);
	admin_command_close(answer, text.out);
}

void command_backend_begin(struct admin_job *job, struct admin_answer *answer)
{
	struct forward *forward;

	if (*job->request.given) {
		change_by_name(job, answer);
		return;
	}
	forward = admin_command_forward(job, answer);
	if (!forward)
		return;
	if (job->request.action == ADMIN_BACKEND_ADD)
		add(job, answer, forward);
	else
		remove_backend(job, answer, forward);
}
