/* SPDX-License-Identifier: MIT */
/*
 * The commands ban, unban and bans. `bans` and unban need only the table of bans. A ban of a
 * client's address asks the workers once, to end the client's sessions. A ban of another address (an
 * IPv4 source address, or an address with a port) first asks the workers for the client.
 *
 * The ban is in the table before the workers are asked. So a session that a worker does not find in
 * its table is opened later, and is refused by the ban.
 */
#include "admin/admin_command.h"
#include "admin/admin_whom.h"
#include "base/check.h"
#include "base/log.h"
#include "forward/source_address.h"
#include "os/timer.h"

/* `asker`: the job of the user who asked; NULL: the ban's time has passed. */
static void log_ban(const struct admin_tools *tools, enum log_event event, const struct ban *ban,
		    const struct admin_job *asker)
{
	struct admin_clock clock = admin_command_clock();
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

/* Bans job->client, and asks the workers to end its sessions. */
static void make_ban(struct admin_job *job, struct admin_answer *answer)
{
	uint64_t now_ms = timer_now_ms();
	uint64_t expires_ms = BANS_NEVER;
	const char *problem = admin_whom_refuse(&job->client);
	const struct ban *ban;

	if (problem) {
		admin_command_answer(job, answer, ADMIN_BAD, "%s", problem);
		return;
	}
	if (job->request.for_ms && job->request.for_ms < BANS_NEVER - now_ms)
		expires_ms = now_ms + job->request.for_ms;
	ban = bans_add(job->tools.bans, &job->client, job->request.given, now_ms, expires_ms);
	if (!ban) {
		admin_command_answer(
			job, answer, ADMIN_NOBODY,
			"was not banned: there are %u bans already, and no more fit; unban "
			"some, or ban wider blocks",
			BANS_LIMIT);
		return;
	}
	log_ban(&job->tools, LOG_EVENT_ban, ban, job);
	job->has_ban = true;
	admin_command_ask(job, &(struct query){.kind = QUERY_RESET, .block = job->client});
}

static void answer_ban(struct admin_job *job, struct admin_answer *answer)
{
	const struct ban *ban = bans_find(job->tools.bans, &job->client);
	struct admin_text text;

	if (!admin_command_open(job, answer, ADMIN_DONE, "", &text))
		return;
	/* a short ban may have expired by now */
	if (ban)
		admin_text_print_ban(&text, ban, admin_command_reset_count(job),
				     job->has_previous ? &job->previous : NULL);
	admin_command_close(answer, text.out);
}

/* The workers have told the sessions of WHO. */
static void ban_whom_found(struct admin_job *job, struct admin_answer *answer)
{
	enum admin_code code;
	const char *problem;

	admin_command_collect(job);
	problem = admin_whom_choose(job, &code);
	if (problem)
		admin_command_answer(job, answer, code, "%s", problem);
	else
		make_ban(job, answer);
}

void command_ban_begin(struct admin_job *job, struct admin_answer *answer)
{
	const struct admin_who *who = &job->request.who;
	bool is_v4 = cidr_is_v4(&who->block);
	bool is_of_pool = is_v4 && job->tools.forwards->sources &&
			  source_addresses_own(job->tools.forwards->sources, &who->block);
	/* 240.1.2.3/32 is a leased address too; any other block means clients that come by IPv4 */
	bool is_block = who->is_block && !(is_of_pool && who->block.bits == 128);

	if (!is_block && (who->port || is_v4)) {
		admin_command_ask(
			job,
			&(struct query){.kind = QUERY_WHO, .block = who->block, .port = who->port});
		return;
	}
	if (is_of_pool) {
		admin_command_answer(
			job, answer, ADMIN_BAD,
			"has addresses of a pool of --source, from which no client comes; ban "
			"these one by one, or a block of clients");
		return;
	}
	job->client = who->is_block ? who->block : admin_client_of(&who->block.network);
	make_ban(job, answer);
}

void command_ban_go_on(struct admin_job *job, struct admin_answer *answer)
{
	if (job->has_ban)
		answer_ban(job, answer);
	else
		ban_whom_found(job, answer);
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

void command_unban_begin(struct admin_job *job, struct admin_answer *answer)
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
			admin_command_answer(job, answer, ADMIN_NOBODY,
					     "is banned as a part of %s; unban that",
					     cidr_print_on_link(&ban->client, covering));
		else
			admin_command_answer(job, answer, ADMIN_NOBODY,
					     "is not banned; sixpipe bans tells who is");
		return;
	}
	taken = *ban;
	removed = bans_remove(job->tools.bans, &taken.client);
	CHECK(removed);
	log_ban(&job->tools, LOG_EVENT_unban, &taken, job);
	if (!admin_command_open(job, answer, ADMIN_DONE, "", &text))
		return;
	admin_text_print_unban(&text, &taken);
	admin_command_close(answer, text.out);
}

void command_bans_begin(struct admin_job *job, struct admin_answer *answer)
{
	struct admin_text text;
	const struct ban *list;
	unsigned count;

	if (!admin_command_open(job, answer, ADMIN_DONE, "", &text))
		return;
	list = bans_list(job->tools.bans, &count);
	admin_text_print_bans(&text, list, count);
	admin_command_close(answer, text.out);
}

void admin_job_expire(const struct admin_tools *tools)
{
	struct ban expired;

	while (bans_take_expired(tools->bans, timer_now_ms(), &expired))
		log_ban(tools, LOG_EVENT_unban, &expired, NULL);
}
