/* SPDX-License-Identifier: MIT */
/*
 * The commands of the admin socket, for admin_job.c and command_*.c. A command begins, and either
 * answers or asks the workers a question: admin_command_ask(). When they have answered, it goes on in
 * the same way, until it has answered.
 */
#pragma once

#include "admin/admin_job.h"
#include "base/log.h"

/* The longest message of an answer. */
#define ADMIN_MESSAGE_BYTES 1536

/* For commands --------------------------------------------------------------------------------- */

/* The present, with a difference of the clocks that is the same in every answer. */
struct admin_clock admin_command_clock(void);

/* Answers with a code and a message that begins with the request's `given`, if there is one. */
PRINTF_LIKE(4, 5)
void admin_command_answer(const struct admin_job *job, struct admin_answer *answer,
			  enum admin_code code, const char *format, ...);

/*
 * Opens an answer that has more than its first line; admin_command_close() completes it. Returns
 * false without memory.
 */
bool admin_command_open(const struct admin_job *job, struct admin_answer *answer,
			enum admin_code code, const char *message, struct admin_text *text);
void admin_command_close(struct admin_answer *answer, FILE *out);

/* Asks the workers. */
void admin_command_ask(struct admin_job *job, const struct query *query);

/* Makes job->found of the workers' answers to QUERY_WHO, in the order of `who`. */
void admin_command_collect(struct admin_job *job);

/* The sessions that the workers have ended for the question. */
unsigned admin_command_reset_count(const struct admin_job *job);

/*
 * Begins the log line of a change, with its command and user, as log_begin(). And keeps the change
 * for `stats`.
 */
bool admin_command_log(const struct admin_job *job, struct log_line *line);
void admin_command_note(const struct admin_job *job);

/* The forward that the request names; NULL: it has answered that there is none. */
struct forward *admin_command_forward(const struct admin_job *job, struct admin_answer *answer);

/* The commands: command_*.c -------------------------------------------------------------------- */

void command_who_begin(struct admin_job *job, struct admin_answer *answer);
void command_who_go_on(struct admin_job *job, struct admin_answer *answer);
void command_ban_begin(struct admin_job *job, struct admin_answer *answer);
void command_ban_go_on(struct admin_job *job, struct admin_answer *answer);
void command_unban_begin(struct admin_job *job, struct admin_answer *answer);
void command_bans_begin(struct admin_job *job, struct admin_answer *answer);
void command_stats_begin(struct admin_job *job, struct admin_answer *answer);
void command_stats_go_on(struct admin_job *job, struct admin_answer *answer);
void command_sessions_begin(struct admin_job *job, struct admin_answer *answer);
void command_sessions_go_on(struct admin_job *job, struct admin_answer *answer);
void command_backends_begin(struct admin_job *job, struct admin_answer *answer);
void command_backend_begin(struct admin_job *job, struct admin_answer *answer);
void command_kill_begin(struct admin_job *job, struct admin_answer *answer);
void command_kill_go_on(struct admin_job *job, struct admin_answer *answer);
void command_drain_begin(struct admin_job *job, struct admin_answer *answer);
void command_log_level_begin(struct admin_job *job, struct admin_answer *answer);
