/* SPDX-License-Identifier: MIT */
#include "admin/admin_job.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/admin_command.h"
#include "admin/admin_whom.h"
#include "base/check.h"
#include "base/log.h"
#include "os/timer.h"

int admin_job_init(struct admin_job *job, const struct admin_tools *tools)
{
	*job = (struct admin_job){.tools = *tools};
	job->found = calloc((size_t)queries_worker_count(tools->queries) * QUERY_RECORD_LIMIT,
			    sizeof(*job->found));
	return job->found ? 0 : -ENOMEM;
}

void admin_job_finish(struct admin_job *job)
{
	free(job->found);
	job->found = NULL;
	if (job->tools.changes)
		runtime_changes_finish(job->tools.changes);
}

/* Answers -------------------------------------------------------------------------------------- */

static int64_t read_ns(clockid_t clock)
{
	struct timespec now;
	int failed = clock_gettime(clock, &now);

	CHECK(!failed); /* it fails only for a clock that does not exist */
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* The difference of the clocks is rounded, so that a time has the same date in every answer. */
struct admin_clock admin_command_clock(void)
{
	int64_t monotonic_ns = read_ns(CLOCK_MONOTONIC);
	int64_t ahead_ms = (read_ns(CLOCK_REALTIME) - monotonic_ns + 500000) / 1000000;
	uint64_t now_ms = (uint64_t)monotonic_ns / 1000000;

	return (struct admin_clock){.now_ms = now_ms, .unix_now_ms = now_ms + (uint64_t)ahead_ms};
}

/* Opens the answer with its first line; NULL without memory. */
static FILE *open_answer(struct admin_answer *answer, enum admin_code code, const char *message)
{
	FILE *out;

	*answer = (struct admin_answer){0};
	out = open_memstream(&answer->text, &answer->bytes);
	if (out)
		fprintf(out, "%d%s%s\n", (int)code, code ? " " : "", code ? message : "");
	return out;
}

void admin_command_close(struct admin_answer *answer, FILE *out)
{
	if (!out || !fclose(out))
		return;
	free(answer->text);
	*answer = (struct admin_answer){0};
}

void admin_answer_line(struct admin_answer *answer, enum admin_code code, const char *message)
{
	admin_command_close(answer, open_answer(answer, code, message));
}

void admin_command_answer(const struct admin_job *job, struct admin_answer *answer,
			  enum admin_code code, const char *format, ...)
{
	char message[ADMIN_MESSAGE_BYTES];
	const char *given = job->request.given;
	va_list arguments;
	int length = snprintf(message, sizeof(message), "%s%s", given, *given ? " " : "");

	va_start(arguments, format);
	vsnprintf(message + length, sizeof(message) - (size_t)length, format, arguments);
	va_end(arguments);
	admin_answer_line(answer, code, message);
}

bool admin_command_open(const struct admin_job *job, struct admin_answer *answer,
			enum admin_code code, const char *message, struct admin_text *text)
{
	*text = (struct admin_text){.out = open_answer(answer, code, message),
				    .json = job->request.json,
				    .clock = admin_command_clock()};
	return text->out;
}

/* Asking the workers --------------------------------------------------------------------------- */

void admin_command_ask(struct admin_job *job, const struct query *query)
{
	queries_ask(job->tools.queries, query);
	job->waits = true;
	workers_wake(job->tools.workers);
}

/* Live sessions first, the youngest of these first; then ended sessions, the last to end first. */
static int compare_records(const void *left, const void *right)
{
	const struct session_record *a = *(const struct session_record *const *)left;
	const struct session_record *b = *(const struct session_record *const *)right;
	uint64_t a_ms = a->closed_ms ? a->closed_ms : UINT64_MAX;
	uint64_t b_ms = b->closed_ms ? b->closed_ms : UINT64_MAX;

	if (a_ms == b_ms) {
		a_ms = a->opened_ms;
		b_ms = b->opened_ms;
	}
	return a_ms < b_ms ? 1 : a_ms > b_ms ? -1 : 0;
}

void admin_command_collect(struct admin_job *job)
{
	job->found_count = 0;
	job->truncated = false;
	for (unsigned i = 0; i < queries_worker_count(job->tools.queries); i++) {
		const struct query_answer *answer = queries_answer(job->tools.queries, i);

		for (unsigned j = 0; answer && j < answer->count; j++)
			job->found[job->found_count++] = &answer->records[j];
		job->truncated |= answer && answer->truncated;
	}
	qsort(job->found, job->found_count, sizeof(*job->found), compare_records);
	if (job->found_count > ADMIN_SESSION_LIMIT) {
		job->found_count = ADMIN_SESSION_LIMIT;
		job->truncated = true;
	}
}

unsigned admin_command_reset_count(const struct admin_job *job)
{
	unsigned count = 0;

	for (unsigned i = 0; i < queries_worker_count(job->tools.queries); i++) {
		const struct query_answer *answer = queries_answer(job->tools.queries, i);

		count += answer ? answer->reset_count : 0;
	}
	return count;
}

/* Logs a change that the job has made, with its command and user; the caller ends the line. */
bool admin_command_log(const struct admin_job *job, struct log_line *line)
{
	if (job->repeated || !log_begin(line, LOG_EVENT_changed))
		return false;
	log_text(line, "command", job->request.line);
	log_number(line, "uid", job->asker);
	return true;
}

struct forward *admin_command_forward(const struct admin_job *job, struct admin_answer *answer)
{
	struct forward *forward = forwards_find(job->tools.forwards, job->request.forward);

	if (forward)
		return forward;
	admin_command_answer(job, answer, ADMIN_NOBODY,
			     "there is no forward %s; 'sixpipe stats' lists them",
			     job->request.forward);
	return NULL;
}

void admin_command_note(const struct admin_job *job)
{
	const struct admin_request *request = &job->request;
	struct runtime_change change = {
		.unix_ms =
			job->repeated ? job->repeated->unix_ms : admin_command_clock().unix_now_ms,
		.uid = job->asker,
		.is_of_member =
			request->verb == ADMIN_BACKEND && request->action < ADMIN_BACKEND_ADD,
	};

	snprintf(change.command, sizeof(change.command), "%s", request->line);
	runtime_changes_add(job->tools.changes, &change);
}

/* The job -------------------------------------------------------------------------------------- */

/* `go_on` only for commands that ask the workers. reload and upgrade are no jobs: admin.c. */
static const struct admin_command {
	void (*begin)(struct admin_job *job, struct admin_answer *answer);
	void (*go_on)(struct admin_job *job, struct admin_answer *answer);
} commands[ADMIN_VERB_COUNT] = {
	[ADMIN_WHO] = {command_who_begin, command_who_go_on},
	[ADMIN_BAN] = {command_ban_begin, command_ban_go_on},
	[ADMIN_UNBAN] = {command_unban_begin, NULL},
	[ADMIN_BANS] = {command_bans_begin, NULL},
	[ADMIN_STATS] = {command_stats_begin, command_stats_go_on},
	[ADMIN_SESSIONS] = {command_sessions_begin, command_sessions_go_on},
	[ADMIN_BACKENDS] = {command_backends_begin, NULL},
	[ADMIN_BACKEND] = {command_backend_begin, NULL},
	[ADMIN_KILL] = {command_kill_begin, command_kill_go_on},
	[ADMIN_DRAIN] = {command_drain_begin, NULL},
	[ADMIN_LOG_LEVEL] = {command_log_level_begin, NULL},
};

void admin_job_begin(struct admin_job *job, const struct admin_request *request, uid_t asker)
{
	CHECK(!job->busy);
	job->request = *request;
	job->asker = asker;
	job->now_ms = timer_now_ms();
	job->has_ban = false;
	job->has_previous = false;
	job->has_lease = request->has_who && admin_whom_find_lease(job);
	job->busy = true;
	job->asked = false;
}

bool admin_job_continue(struct admin_job *job, struct admin_answer *answer)
{
	const struct admin_command *command = &commands[job->request.verb];

	CHECK(job->busy);
	if (!queries_are_answered(job->tools.queries))
		return false;
	job->waits = false;
	*answer = (struct admin_answer){0};
	if (job->asked)
		command->go_on(job, answer);
	else
		command->begin(job, answer);
	job->asked = true;
	job->busy = job->waits;
	return !job->busy;
}

/* The changes of the process before ------------------------------------------------------------ */

/* Whether the command makes a change that is kept. It never asks the workers. */
static bool is_repeatable(const struct admin_request *request)
{
	return request->verb == ADMIN_BACKEND || request->verb == ADMIN_LOG_LEVEL ||
	       (request->verb == ADMIN_DRAIN && *request->forward);
}

/* Cuts an answer down to its message; a static string without memory. */
static const char *take_message(const struct admin_answer *answer)
{
	char *message = answer->text ? strchr(answer->text, ' ') : NULL;

	if (!message)
		return "out of memory";
	message[strcspn(message, "\n")] = '\0';
	return message + 1;
}

/* Returns 0, or -ENOMEM if a change that is lost cannot be remembered. */
static int repeat(struct admin_job *job, const struct runtime_change *change)
{
	struct runtime_changes *changes = job->tools.changes;
	struct admin_request request;
	struct admin_answer answer;
	const char *fault = admin_request_parse(change->command, &request);
	int result = 0;
	bool over;

	if (!fault && !is_repeatable(&request))
		fault = "this version of sixpipe cannot make this change";
	if (fault)
		return runtime_changes_lose(changes, change, fault);
	job->repeated = change;
	admin_job_begin(job, &request, change->uid);
	over = admin_job_continue(job, &answer);
	CHECK(over);
	job->repeated = NULL;
	if (!answer.text || *answer.text != '0')
		result = runtime_changes_lose(changes, change, take_message(&answer));
	free(answer.text);
	return result;
}

int admin_job_read_change(struct admin_job *job, struct carrier *carrier)
{
	struct runtime_change change;
	int result = runtime_change_read(&change, carrier);

	return result ? result : repeat(job, &change);
}
