/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. `bans` and unban need only the table of bans. `who` asks the workers once. A
 * ban of a client's address asks the workers once, to end the client's sessions. A ban of another
 * address (an IPv4 source address, or an address with a port) first asks the workers for the
 * client.
 *
 * The ban is in the table before the workers are asked. So a session that a worker does not find in
 * its table is opened later, and is refused by the ban.
 */
#include "admin/admin_job.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
static struct admin_clock read_clock(void)
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

static void close_answer(struct admin_answer *answer, FILE *out)
{
	if (!out || !fclose(out))
		return;
	free(answer->text);
	*answer = (struct admin_answer){0};
}

void admin_answer_line(struct admin_answer *answer, enum admin_code code, const char *message)
{
	close_answer(answer, open_answer(answer, code, message));
}

PRINTF_LIKE(4, 5)
static void answer_about(const struct admin_job *job, struct admin_answer *answer,
			 enum admin_code code, const char *format, ...)
{
	char message[512];
	va_list arguments;
	int length = snprintf(message, sizeof(message), "%s ", job->request.given);

	va_start(arguments, format);
	vsnprintf(message + length, sizeof(message) - (size_t)length, format, arguments);
	va_end(arguments);
	admin_answer_line(answer, code, message);
}

/* Opens an answer that has more than its first line. Returns false without memory. */
static bool open_text(const struct admin_job *job, struct admin_answer *answer,
		      enum admin_code code, const char *message, struct admin_text *text)
{
	*text = (struct admin_text){.out = open_answer(answer, code, message),
				    .json = job->request.json,
				    .clock = read_clock()};
	return text->out;
}

/* Asking the workers --------------------------------------------------------------------------- */

static void ask(struct admin_job *job, enum query_kind kind, const struct cidr *block,
		unsigned port)
{
	struct query query = {.kind = kind, .block = *block, .port = port};

	queries_ask(job->tools.queries, &query);
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

static void collect(struct admin_job *job)
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

static unsigned reset_count(const struct admin_job *job)
{
	unsigned count = 0;

	for (unsigned i = 0; i < queries_worker_count(job->tools.queries); i++) {
		const struct query_answer *answer = queries_answer(job->tools.queries, i);

		count += answer ? answer->reset_count : 0;
	}
	return count;
}

/* Who ------------------------------------------------------------------------------------------ */

static void answer_who(struct admin_job *job, struct admin_answer *answer)
{
	struct admin_sessions sessions = {.forwards = job->tools.forwards};
	char source[CIDR_TEXT_BYTES];
	struct admin_text text;
	bool found;

	collect(job);
	sessions.records = job->found;
	sessions.count = job->found_count;
	sessions.truncated = job->truncated;
	/* an address with a port means its session, even if another client has the lease now */
	found = sessions.count || job->has_lease;
	sessions.lease =
		job->has_lease && (!job->request.who.port || !sessions.count) ? &job->lease : NULL;
	sessions.lease_source = cidr_print(&job->request.who.block, source);
	if (!found && !job->request.json) {
		answer_about(job, answer, ADMIN_NOBODY,
			     "is not known: no live session has it, nor any of the last %u per "
			     "worker",
			     (unsigned)HISTORY_LIMIT);
		return;
	}
	if (!open_text(job, answer, found ? ADMIN_DONE : ADMIN_NOBODY,
		       "no session has this address", &text))
		return;
	admin_text_print_sessions(&text, &sessions);
	close_answer(answer, text.out);
}

/* Bans ----------------------------------------------------------------------------------------- */

/* `asker`: the job of the user who asked; NULL: the ban's time has passed. */
static void log_ban(const struct admin_tools *tools, enum log_event event, const struct ban *ban,
		    const struct admin_job *asker)
{
	struct admin_clock clock = read_clock();
	char client[CIDR_TEXT_BYTES], date[LOG_DATE_BYTES];
	struct log_line line;

	if (!log_begin(&line, event))
		return;
	log_text(&line, "client", cidr_print_on_link(&ban->client, client));
	log_text(&line, "given", ban->given);
	log_text(&line, "until", admin_date_print(&clock, ban->expires_ms, date));
	log_text(&line, "cause", asker ? "asked" : "expired");
	if (asker)
		log_number(&line, "uid", asker->asker);
	log_number(&line, "bans", bans_count(tools->bans));
	log_end(&line);
}

/* Bans job->client. Returns whether the job is over: the ban failed. */
static bool make_ban(struct admin_job *job, struct admin_answer *answer)
{
	uint64_t now_ms = timer_now_ms();
	uint64_t expires_ms = BANS_NEVER;
	const char *problem = admin_whom_refuse(&job->client);
	const struct ban *ban;

	if (problem) {
		answer_about(job, answer, ADMIN_BAD, "%s", problem);
		return true;
	}
	if (job->request.for_ms && job->request.for_ms < BANS_NEVER - now_ms)
		expires_ms = now_ms + job->request.for_ms;
	ban = bans_add(job->tools.bans, &job->client, job->request.given, now_ms, expires_ms);
	if (!ban) {
		answer_about(job, answer, ADMIN_NOBODY,
			     "was not banned: there are %u bans already, and no more fit; unban "
			     "some, or ban wider blocks",
			     BANS_LIMIT);
		return true;
	}
	log_ban(&job->tools, LOG_EVENT_ban, ban, job);
	job->has_ban = true;
	ask(job, QUERY_RESET, &job->client, 0);
	return false;
}

static void answer_ban(struct admin_job *job, struct admin_answer *answer)
{
	const struct ban *ban = bans_find(job->tools.bans, &job->client);
	struct admin_text text;

	if (!open_text(job, answer, ADMIN_DONE, "", &text))
		return;
	/* a short ban may have expired by now */
	if (ban)
		admin_text_print_ban(&text, ban, reset_count(job),
				     job->has_previous ? &job->previous : NULL);
	close_answer(answer, text.out);
}

/* The workers have told the sessions of WHO. Returns whether the job is over. */
static bool ban_whom_found(struct admin_job *job, struct admin_answer *answer)
{
	enum admin_code code;
	const char *problem;

	collect(job);
	problem = admin_whom_choose(job, &code);
	if (!problem)
		return make_ban(job, answer);
	answer_about(job, answer, code, "%s", problem);
	return true;
}

/* Returns whether the job is over. */
static bool begin_ban(struct admin_job *job, struct admin_answer *answer)
{
	const struct admin_who *who = &job->request.who;
	bool is_v4 = cidr_is_v4(&who->block);
	bool is_of_pool = is_v4 && job->tools.forwards->sources &&
			  source_addresses_own(job->tools.forwards->sources, &who->block);
	/* 240.1.2.3/32 is a leased address too; any other block means clients that come by IPv4 */
	bool is_block = who->is_block && !(is_of_pool && who->block.bits == 128);

	if (!is_block && (who->port || is_v4)) {
		ask(job, QUERY_WHO, &who->block, who->port);
		return false;
	}
	if (is_of_pool) {
		answer_about(job, answer, ADMIN_BAD,
			     "has addresses of a pool of --source, from which no client comes; ban "
			     "these one by one, or a block of clients");
		return true;
	}
	job->client = who->is_block ? who->block : admin_client_of(&who->block.network);
	return make_ban(job, answer);
}

/* Finds the ban of WHO: by the text of the request, by its block, or by its client. */
static const struct ban *find_ban(const struct admin_job *job)
{
	const struct admin_who *who = &job->request.who;
	const struct ban *ban = bans_find_given(job->tools.bans, job->request.given);
	struct cidr client = admin_client_of(&who->block.network);

	if (!ban && !who->port)
		ban = bans_find(job->tools.bans, &who->block);
	if (!ban && !who->port && !who->is_block)
		ban = bans_find(job->tools.bans, &client);
	if (!ban && job->has_lease)
		ban = bans_find(job->tools.bans, &job->lease);
	return ban;
}

static void answer_unban(struct admin_job *job, struct admin_answer *answer)
{
	const struct ban *ban = find_ban(job);
	char covering[CIDR_TEXT_BYTES];
	struct admin_text text;
	struct ban taken;
	bool removed;

	if (!ban) {
		struct cidr on_all = cidr_on_all_links(&job->request.who.block);

		ban = bans_find_covering(job->tools.bans, &on_all);
		if (ban)
			answer_about(job, answer, ADMIN_NOBODY,
				     "is banned as a part of %s; unban that",
				     cidr_print_on_link(&ban->client, covering));
		else
			answer_about(job, answer, ADMIN_NOBODY,
				     "is not banned; sixpipe bans tells who is");
		return;
	}
	taken = *ban;
	removed = bans_remove(job->tools.bans, &taken.client);
	CHECK(removed);
	log_ban(&job->tools, LOG_EVENT_unban, &taken, job);
	if (!open_text(job, answer, ADMIN_DONE, "", &text))
		return;
	admin_text_print_unban(&text, &taken);
	close_answer(answer, text.out);
}

static void answer_bans(const struct admin_job *job, struct admin_answer *answer)
{
	struct admin_text text;
	const struct ban *list;
	unsigned count;

	if (!open_text(job, answer, ADMIN_DONE, "", &text))
		return;
	list = bans_list(job->tools.bans, &count);
	admin_text_print_bans(&text, list, count);
	close_answer(answer, text.out);
}

void admin_job_expire(const struct admin_tools *tools)
{
	struct ban expired;

	while (bans_take_expired(tools->bans, timer_now_ms(), &expired))
		log_ban(tools, LOG_EVENT_unban, &expired, NULL);
}

/* The job -------------------------------------------------------------------------------------- */

void admin_job_begin(struct admin_job *job, const struct admin_request *request, uid_t asker)
{
	CHECK(!job->busy);
	job->request = *request;
	job->asker = asker;
	job->has_ban = false;
	job->has_previous = false;
	job->has_lease = request->verb != ADMIN_BANS && admin_whom_find_lease(job);
	job->busy = true;
	job->asked = false;
}

/* The first step. Returns whether the job is over. */
static bool begin(struct admin_job *job, struct admin_answer *answer)
{
	switch (job->request.verb) {
	case ADMIN_WHO:
		ask(job, QUERY_WHO, &job->request.who.block, job->request.who.port);
		return false;
	case ADMIN_BAN:
		return begin_ban(job, answer);
	case ADMIN_UNBAN:
		answer_unban(job, answer);
		return true;
	default:
		answer_bans(job, answer);
		return true;
	}
}

/* The workers have answered. Returns whether the job is over. */
static bool go_on(struct admin_job *job, struct admin_answer *answer)
{
	if (job->request.verb == ADMIN_BAN && !job->has_ban)
		return ban_whom_found(job, answer);
	if (job->request.verb == ADMIN_BAN)
		answer_ban(job, answer);
	else
		answer_who(job, answer);
	return true;
}

bool admin_job_continue(struct admin_job *job, struct admin_answer *answer)
{
	bool over;

	CHECK(job->busy);
	if (!queries_are_answered(job->tools.queries))
		return false;
	over = job->asked ? go_on(job, answer) : begin(job, answer);
	job->asked = true;
	job->busy = !over;
	return over;
}
