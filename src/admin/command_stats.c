/* SPDX-License-Identifier: MIT */
/*
 * The command stats. The workers' counters have the bytes of ended sessions; the workers are asked
 * once for those of open sessions.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <unistd.h>

#include "admin/admin_command.h"
#include "admin/admin_table.h"
#include "base/json.h"

static const char *const forward_keys[] = {"forward", "listen",	 "state",    "sessions",  "limit",
					   "opened",  "refused", "bytes_up", "bytes_down"};
static const char *const change_keys[] = {"time", "uid", "command"};

void command_stats_begin(struct admin_job *job, struct admin_answer *answer)
{
	(void)answer;
	admin_command_ask(job, &(struct query){.kind = QUERY_COUNT});
}

static struct query_sum sum_forward(const struct admin_job *job, unsigned forward)
{
	struct query_sum sum = {0};

	for (unsigned i = 0; i < queries_worker_count(job->tools.queries); i++) {
		const struct query_answer *answer = queries_answer(job->tools.queries, i);

		if (!answer)
			continue;
		sum.sessions += answer->sums[forward].sessions;
		sum.bytes_up += answer->sums[forward].bytes_up;
		sum.bytes_down += answer->sums[forward].bytes_down;
	}
	return sum;
}

/* Prints one value of the process: a line in the text, a member in JSON. */
static void print_word(const struct admin_text *text, const char *key, const char *value)
{
	if (!text->json) {
		fprintf(text->out, "%-17s %s\n", key, value);
		return;
	}
	fprintf(text->out, "\"%s\":", key);
	json_print_string(text->out, value);
	fputc(',', text->out);
}

static void print_number(const struct admin_text *text, const char *key, uint64_t value)
{
	fprintf(text->out, text->json ? "\"%s\":%" PRIu64 "," : "%-17s %" PRIu64 "\n", key, value);
}

static void print_process(const struct admin_job *job, const struct admin_text *text,
			  const struct query_sum *open)
{
	const struct admin_process *process = job->tools.process;
	const struct workers *workers = job->tools.workers;

	print_word(text, "state", process->ending ? "draining" : "serving");
	print_word(text, "version", SIXPIPE_VERSION);
	print_number(text, "pid", (uint64_t)getpid());
	print_number(text, "uptime_s", (job->now_ms - process->started_ms) / 1000);
	print_word(text, "engine", engine_name(workers_first_engine(workers)));
	print_number(text, "workers", queries_worker_count(job->tools.queries));
	print_word(text, "log_level", log_level_word(log_level()));
	print_number(text, "sessions", open->sessions);
	print_number(text, "sessions_limit", workers_session_limit(workers));
	print_number(text, "sessions_opened", workers_metric(workers, METRIC_sessions_opened));
	print_number(text, "bytes_up", workers_metric(workers, METRIC_bytes_up) + open->bytes_up);
	print_number(text, "bytes_down",
		     workers_metric(workers, METRIC_bytes_down) + open->bytes_down);
	print_number(text, "connects_failed", workers_metric(workers, METRIC_connects_failed));
	print_number(text, "bans", bans_count(job->tools.bans));
}

static void add_forward(const struct admin_job *job, struct admin_table *table, unsigned index)
{
	const struct forward *forward = &job->tools.forwards->list[index];
	uint64_t maxconn = forward->config->options.maxconn_forward;
	const struct query_sum open = sum_forward(job, index);
	struct metrics_of_forward ended;

	workers_count_forward(job->tools.workers, index, &ended);
	admin_table_text(table, forward->config->name);
	admin_table_addr(table, &forward->listen);
	admin_table_text(table, forward_drains(forward) ? "draining" : "serving");
	admin_table_number(table, open.sessions);
	admin_table_number(table, maxconn ? maxconn : workers_session_limit(job->tools.workers));
	admin_table_number(table, ended.opened);
	admin_table_number(table, ended.refused);
	admin_table_number(table, ended.bytes_up + open.bytes_up);
	admin_table_number(table, ended.bytes_down + open.bytes_down);
}

static void print_changes(const struct admin_job *job, const struct admin_text *text)
{
	const struct runtime_changes *changes = job->tools.changes;
	struct admin_table table;
	char date[LOG_DATE_BYTES];

	if (!text->json && !changes->count)
		return;
	fputs(text->json ? ",\"changes\":" : "\n", text->out);
	admin_table_begin(&table, text, change_keys, ARRAY_COUNT(change_keys));
	for (unsigned i = 0; i < changes->count; i++) {
		const struct runtime_change *change = &changes->list[i];

		admin_table_text(&table, log_date_print(change->unix_ms, date));
		admin_table_number(&table, change->uid);
		admin_table_text(&table, change->command);
	}
	admin_table_end(&table);
}

void command_stats_go_on(struct admin_job *job, struct admin_answer *answer)
{
	const struct forwards *forwards = job->tools.forwards;
	struct query_sum open = {0};
	struct admin_table table;
	struct admin_text text;

	for (unsigned i = 0; i < forwards->count; i++) {
		const struct query_sum sum = sum_forward(job, i);

		open.sessions += sum.sessions;
		open.bytes_up += sum.bytes_up;
		open.bytes_down += sum.bytes_down;
	}
	if (!admin_command_open(job, answer, ADMIN_DONE, "", &text))
		return;
	fputs(text.json ? "{" : "", text.out);
	print_process(job, &text, &open);
	fputs(text.json ? "\"forwards\":" : "\n", text.out);
	admin_table_begin(&table, &text, forward_keys, ARRAY_COUNT(forward_keys));
	for (unsigned i = 0; i < forwards->count; i++)
		add_forward(job, &table, i);
	admin_table_end(&table);
	print_changes(job, &text);
	fputs(text.json ? "}\n" : "", text.out);
	admin_command_close(answer, text.out);
}
