/* SPDX-License-Identifier: MIT */
/* The command who: asks the workers once. */
#include "admin/admin_command.h"

void command_who_begin(struct admin_job *job, struct admin_answer *answer)
{
	const struct admin_who *who = &job->request.who;

	(void)answer;
	admin_command_ask(
		job, &(struct query){.kind = QUERY_WHO, .block = who->block, .port = who->port});
}

void command_who_go_on(struct admin_job *job, struct admin_answer *answer)
{
	struct admin_sessions sessions = {.forwards = job->tools.forwards};
	char source[CIDR_TEXT_BYTES];
	struct admin_text text;
	bool found;

	admin_command_collect(job);
	sessions.records = job->found;
	sessions.count = job->found_count;
	sessions.truncated = job->truncated;
	/* an address with a port means its session, even if another client has the lease now */
	found = sessions.count || job->has_lease;
	sessions.lease =
		job->has_lease && (!job->request.who.port || !sessions.count) ? &job->lease : NULL;
	sessions.lease_source = cidr_print(&job->request.who.block, source);
	if (!found && !job->request.json) {
		admin_command_answer(
			job, answer, ADMIN_NOBODY,
			"is not known: no live session has it, nor any of the last %u per "
			"worker",
			(unsigned)HISTORY_LIMIT);
		return;
	}
	if (!admin_command_open(job, answer, found ? ADMIN_DONE : ADMIN_NOBODY,
				"no session has this address", &text))
		return;
	admin_text_print_sessions(&text, &sessions);
	admin_command_close(answer, text.out);
}
