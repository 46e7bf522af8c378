/* SPDX-License-Identifier: MIT */
/* The commands drain and log-level. */
#include <string.h>

#include "admin/admin_command.h"
#include "os/poll_set.h"
#include "os/timer.h"

/* Drain ---------------------------------------------------------------------------------------- */

/* Answers that a drain has begun, or runs already. */
static void answer_drain(const struct admin_job *job, struct admin_answer *answer,
			 const struct forward *forward, bool has_begun)
{
	uint64_t limit_ms = job->tools.forwards->config->drain_timeout_ms;
	const char *name = forward ? forward->config->name : "-";
	struct admin_text text;

	if (!admin_command_open(job, answer, ADMIN_DONE, "", &text))
		return;
	/* a forward's name has no character that JSON escapes */
	if (!text.json)
		fprintf(text.out, "draining=%s forward=%s drain_timeout_ms=%llu\n",
			has_begun ? "begun" : "already", name, (unsigned long long)limit_ms);
	else
		fprintf(text.out,
			"{\"draining\":\"%s\",\"forward\":%s%s%s,\"drain_timeout_ms\":%llu}\n",
			has_begun ? "begun" : "already", forward ? "\"" : "",
			forward ? name : "null", forward ? "\"" : "", (unsigned long long)limit_ms);
	admin_command_close(answer, text.out);
}

static void log_drain(const struct admin_job *job, const struct forward *forward)
{
	struct log_line line;

	if (!admin_command_log(job, &line))
		return;
	if (forward)
		forward_log(forward, &line);
	log_number(&line, "drain_timeout_ms", job->tools.forwards->config->drain_timeout_ms);
	log_end(&line);
}

static void drain_process(struct admin_job *job, struct admin_answer *answer)
{
	struct admin_process *process = job->tools.process;
	/* a second drain must not reset the sessions, as a second SIGTERM does */
	bool begins = !process->ending && !process->drain_asked;

	if (begins) {
		log_drain(job, NULL);
		process->drain_asked = true;
	}
	answer_drain(job, answer, NULL, begins);
}

/* The time since the drain began: it may have begun in the process before this one. */
static uint64_t drain_age_ms(const struct admin_job *job)
{
	uint64_t now_ms = admin_command_clock().unix_now_ms;

	return job->repeated && job->repeated->unix_ms < now_ms ? now_ms - job->repeated->unix_ms
								: 0;
}

static void drain_forward(const struct admin_job *job, const struct forward *forward)
{
	struct forwards *forwards = job->tools.forwards;
	uint64_t limit_ms = forwards->config->drain_timeout_ms, age_ms = drain_age_ms(job);
	bool expired = limit_ms && age_ms >= limit_ms;

	forwards_drain(forwards, forward->index, expired ? FORWARD_EXPIRED : FORWARD_DRAINS);
	job->tools.process->forward_due_ms[forward->index] =
		limit_ms && !expired ? timer_now_ms() + limit_ms - age_ms : 0;
	workers_wake(job->tools.workers);
}

void command_drain_begin(struct admin_job *job, struct admin_answer *answer)
{
	struct forward *forward;
	bool begins;

	if (!*job->request.forward) {
		drain_process(job, answer);
		return;
	}
	forward = admin_command_forward(job, answer);
	if (!forward)
		return;
	begins = !forward_drains(forward);
	if (begins) {
		log_drain(job, forward);
		admin_command_note(job);
		drain_forward(job, forward);
	}
	answer_drain(job, answer, forward, begins);
}

uint64_t admin_job_next_drain_ms(const struct admin_tools *tools)
{
	uint64_t next_ms = POLL_SET_NEVER;

	for (unsigned i = 0; i < tools->forwards->count; i++)
		if (tools->process->forward_due_ms[i])
			next_ms = MIN(next_ms, tools->process->forward_due_ms[i]);
	return next_ms;
}

static void expire_drain(const struct admin_tools *tools, unsigned index)
{
	struct log_line line;

	if (log_begin(&line, LOG_EVENT_forward_expired)) {
		forward_log(&tools->forwards->list[index], &line);
		log_end(&line);
	}
	tools->process->forward_due_ms[index] = 0;
	forwards_drain(tools->forwards, index, FORWARD_EXPIRED);
	workers_wake(tools->workers);
}

void admin_job_expire_drains(const struct admin_tools *tools)
{
	uint64_t now_ms = timer_now_ms();

	if (admin_job_next_drain_ms(tools) > now_ms)
		return;
	for (unsigned i = 0; i < tools->forwards->count; i++)
		if (tools->process->forward_due_ms[i] &&
		    tools->process->forward_due_ms[i] <= now_ms)
			expire_drain(tools, i);
}

/* The log's level ------------------------------------------------------------------------------ */

void command_log_level_begin(struct admin_job *job, struct admin_answer *answer)
{
	enum log_level before = log_level(),
		       after = job->request.has_level ? job->request.level : before;
	struct admin_text text;
	struct log_line line;

	if (after != before) {
		/* at the level that tells more, so that the line is not left out for its level */
		log_set_level(MAX(before, after));
		if (admin_command_log(job, &line)) {
			log_text(&line, "from", log_level_word(before));
			log_text(&line, "to", log_level_word(after));
			log_end(&line);
		}
		log_set_level(after);
		admin_command_note(job);
	}
	if (!admin_command_open(job, answer, ADMIN_DONE, "", &text))
		return;
	fprintf(text.out, text.json ? "{\"log_level\":\"%s\"}\n" : "log_level=%s\n",
		log_level_word(after));
	admin_command_close(answer, text.out);
}
