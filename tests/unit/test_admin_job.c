/* SPDX-License-Identifier: MIT */
#include "admin/admin_job.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "carry_fixture.h"
#include "relay/session_private.h"
#include "relay/worker_parts.h"
#include "support.h"

TestSuite(admin_job, .fini = support_check_leaks);

#define WORKERS	   5
#define TEXT_BYTES 256

/* Workers that have no thread: the test answers for them. */
static struct workers no_workers;
static struct config config;
static struct forwards *forwards;
static struct bans *bans;
static struct queries *queries;
static struct sessions sessions[WORKERS];
static struct admin_job job;
static struct admin_process process;
static struct runtime_changes changes;

static void begin(unsigned worker_count)
{
	struct config_errors errors = {0};

	config_init(&config);
	support_must_set(&config, "listen", "[::1]:2000");
	support_must_set(&config, "backend", "192.0.2.80:80");
	cr_assert_eq(config_check(&config), 0);
	cr_assert_eq(forwards_create(&forwards, &config, &errors), 0);
	cr_assert_eq(forwards_make_upstreams(forwards), 0);
	cr_assert_eq(bans_create(&bans), 0);
	cr_assert_eq(queries_create(&queries, worker_count), 0);
	for (unsigned i = 0; i < worker_count; i++) {
		sessions[i] =
			(struct sessions){.config = &config, .forwards = forwards, .worker = i};
		cr_assert_eq(session_table_create(&sessions[i].table, 16), 0);
		cr_assert_eq(history_create(&sessions[i].history, HISTORY_LIMIT), 0);
	}
	cr_assert_eq(admin_job_init(&job, &(struct admin_tools){.forwards = forwards,
								.workers = &no_workers,
								.process = &process,
								.changes = &changes,
								.bans = bans,
								.queries = queries}),
		     0);
}

static void finish(void)
{
	for (unsigned i = 0; i < queries_worker_count(queries); i++) {
		for (uint32_t slot = 0; slot < session_table_end(sessions[i].table); slot++)
			session_table_give(sessions[i].table,
					   session_table_at(sessions[i].table, slot));
		session_table_destroy(sessions[i].table);
		history_destroy(sessions[i].history);
	}
	admin_job_finish(&job);
	queries_destroy(queries);
	bans_destroy(bans);
	forwards_destroy(forwards);
	config_finish(&config);
}

/* A session of worker `worker`, whose client is 2001:db8::1:N. `closed_ms` 0: it is live. */
static void add_session(unsigned worker, unsigned n, uint64_t opened_ms, uint64_t closed_ms)
{
	struct session_record record = {
		.opened_ms = opened_ms, .closed_ms = closed_ms, .reason = CLOSE_done};
	struct session *session;
	char text[64];

	snprintf(text, sizeof(text), "[2001:db8::1:%x]:5000", n);
	cr_assert_null(addr_parse(text, &record.client));
	if (closed_ms) {
		history_add(sessions[worker].history, &record);
		return;
	}
	session = session_table_take(sessions[worker].table);
	session->state = SESSION_CONNECTING;
	session->tenancy.forward = &forwards->list[0];
	session->client = record.client;
	session->opened_ms = opened_ms;
}

/* Carries the request out. Returns the answer, the caller's to free. */
static char *ask(const char *line)
{
	struct admin_request request;
	struct admin_answer answer;

	cr_assert_null(admin_request_parse(line, &request), "%s", line);
	admin_job_begin(&job, &request, 0);
	while (!admin_job_continue(&job, &answer))
		for (unsigned i = 0; i < queries_worker_count(queries); i++)
			while (queries_work(queries, &sessions[i]) == QUERY_MORE)
				;
	cr_assert_not_null(answer.text);
	return answer.text;
}

/* The last number of each client in the answer. */
static void read_clients(const char *answer, char text[TEXT_BYTES])
{
	*text = '\0';
	for (const char *at = answer; (at = strstr(at, "client=[2001:db8::1:")); at++) {
		size_t length = strlen(text);

		snprintf(text + length, TEXT_BYTES - length, "%s%.*s", length ? " " : "",
			 (int)strcspn(at + 20, "]"), at + 20);
	}
}

struct part {
	unsigned worker, client;
	uint64_t opened_ms, closed_ms;
};

struct order_row {
	struct part parts[6];
	const char *clients;
};

/* What the workers tell becomes one list: live sessions, the youngest first; then those that ended, the latest first. */
Test(admin_job, one_answer_of_several_workers)
{
	static const struct order_row rows[] = {
		{{{0, 1, 10, 0}, {1, 2, 30, 0}, {2, 3, 20, 0}}, "2 3 1"},
		{{{0, 1, 10, 500}, {1, 2, 30, 400}, {2, 3, 20, 600}}, "3 1 2"},
		{{{0, 1, 10, 500}, {0, 2, 30, 0}, {2, 3, 20, 600}, {1, 4, 40, 0}}, "4 2 3 1"},
		{{{0, 1, 10, 500}, {1, 2, 30, 500}, {2, 3, 20, 500}}, "2 3 1"},
		{{{2, 7, 10, 0}}, "7"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char *answer, clients[TEXT_BYTES];

		begin(3);
		for (size_t j = 0; j < ARRAY_COUNT(rows[i].parts) && rows[i].parts[j].client; j++)
			add_session(rows[i].parts[j].worker, rows[i].parts[j].client,
				    rows[i].parts[j].opened_ms, rows[i].parts[j].closed_ms);
		answer = ask("who 2001:db8::/32");
		read_clients(answer, clients);
		cr_expect_str_eq(clients, rows[i].clients, "row %zu: %s", i, answer);
		cr_expect_null(strstr(answer, "truncated"), "row %zu", i);
		free(answer);
		finish();
	}
}

/* A worker tells of some only, and the answer of ADMIN_SESSION_LIMIT: the latest of all. */
Test(admin_job, an_answer_that_is_cut)
{
	unsigned lines = 0;
	char *answer, clients[TEXT_BYTES];

	begin(WORKERS);
	for (unsigned i = 0; i < WORKERS * QUERY_RECORD_LIMIT; i++)
		add_session(i % WORKERS, i + 1, 1, 1000 + i);
	answer = ask("who 2001:db8::/32");
	read_clients(answer, clients);
	cr_expect_eq(strncmp(clients, "500 4ff 4fe ", 12), 0, "%s", clients);
	for (const char *at = answer; (at = strstr(at, "state=closed")); at++)
		lines++;
	cr_expect_eq(lines, ADMIN_SESSION_LIMIT);
	cr_expect_not_null(strstr(answer, "\ntruncated=true\n"));
	free(answer);
	finish();
}

/* A worker that has ended answers no more, and nobody waits for it. */
Test(admin_job, a_worker_that_has_left)
{
	char *answer, clients[TEXT_BYTES];

	begin(2);
	add_session(0, 1, 10, 0);
	add_session(1, 2, 20, 0);
	queries_leave(queries, 1);
	sessions[1].worker = 0;
	answer = ask("who 2001:db8::/32");
	read_clients(answer, clients);
	cr_expect_str_eq(clients, "1");
	free(answer);
	finish();
}

/* One request after another, and how each answer begins. */
Test(admin_job, bans)
{
	static const char *const rows[][2] = {
		{"bans", "0\n"},
		{"unban 2001:db8::1", "1 2001:db8::1 is not banned"},
		{"ban 2001:db8::1", "0\nclient=2001:db8::/64 given=2001:db8::1 "},
		{"bans", "0\nclient=2001:db8::/64 "},
		{"unban 2001:db8::1:0:0:0:5", "1 2001:db8::1:0:0:0:5 is not banned"},
		{"unban 2001:db8::5/128", "1 2001:db8::5/128 is banned as a part of 2001:db8::/64"},
		{"ban 2000::/8", "2 2000::/8 "},
		{"ban 192.0.2.7:80", "1 192.0.2.7:80 is not known"},
		{"ban 192.0.2.7 json", "0\n{\"ban\":{\"client\":\"192.0.2.7\""},
		{"unban 192.0.2.7", "0\nclient=192.0.2.7 "},
		{"unban 2001:db8::7", "0\nclient=2001:db8::/64 "},
		{"bans", "0\n"},
		{"who 2001:db8::1", "1 2001:db8::1 is not known"},
	};

	begin(2);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char *answer = ask(rows[i][0]);

		cr_expect_eq(strncmp(answer, rows[i][1], strlen(rows[i][1])), 0, "%s: %s",
			     rows[i][0], answer);
		free(answer);
	}
	cr_expect_eq(bans_count(bans), 0);
	finish();
}

static void must_do(const char *line)
{
	char *answer = ask(line);

	cr_expect_eq(*answer, '0', "%s: %s", line, answer);
	free(answer);
}

static void write_change(struct carry *carry, const char *command)
{
	static struct runtime_changes one;
	struct runtime_change change = {.unix_ms = 5, .uid = 6};

	snprintf(change.command, sizeof(change.command), "%s", command);
	one.count = 0;
	runtime_changes_add(&one, &change);
	runtime_changes_write(&one, carry->out);
}

/* An upgrade makes the changes again, in their order, and keeps the list of them as it was. */
Test(admin_job, changes_of_the_process_before)
{
	static const char *const made[] = {
		"backend 192.0.2.80:80 weight=7",
		"backend add 1 192.0.2.81:80 weight=3 maxconn=4",
		"backend remove 1 192.0.2.80:80",
		"backend 192.0.2.81:80 down",
		"drain 1",
	};
	static struct runtime_changes before;
	enum carrier_kind kind;
	struct carry carry;

	begin(1);
	for (size_t i = 0; i < ARRAY_COUNT(made); i++)
		must_do(made[i]);
	before = changes;
	cr_expect_eq(before.count, ARRAY_COUNT(made));
	fixture_carry_open(&carry);
	runtime_changes_write(&changes, carry.out);
	fixture_carry_flush(&carry);
	finish();

	memset(&changes, 0, sizeof(changes));
	begin(1);
	while (fixture_carry_next(&carry, &kind)) {
		cr_expect_eq(kind, CARRIER_CHANGE);
		cr_expect_eq(admin_job_read_change(&job, carry.in), 0);
	}
	cr_expect_null(changes.lost);
	cr_expect_eq(changes.count, before.count);
	cr_expect_arr_eq(changes.list, before.list, sizeof(changes.list));
	cr_expect(forward_drains(&forwards->list[0]));
	must_do("backend 192.0.2.81:80 up");
	fixture_carry_close(&carry);
	finish();
}

/* What cannot be made again is neither in force nor in the list. A drain may be over already. */
Test(admin_job, changes_that_are_lost)
{
	static const char *const lost[] = {
		"drain web",	   /* no such forward */
		"who 2001:db8::1", /* would ask the workers */
		"drain",	   /* the whole process */
		"compress 1",	   /* of a later version */
	};
	/* the configuration has them by now: they are not lost, and no changes any more */
	static const char *const met[] = {
		"backend add 1 192.0.2.80:80",
		"backend remove 1 192.0.2.99:80",
	};
	enum carrier_kind kind;
	struct carry carry;

	begin(1);
	log_init(LOG_ERROR, LOG_LOGFMT);
	fixture_carry_open(&carry);
	for (size_t i = 0; i < ARRAY_COUNT(lost); i++)
		write_change(&carry, lost[i]);
	for (size_t i = 0; i < ARRAY_COUNT(met); i++)
		write_change(&carry, met[i]);
	write_change(&carry, "drain 1");
	carrier_begin(carry.out, CARRIER_CHANGE);
	carrier_put(carry.out, 5);
	carrier_end(carry.out);
	fixture_carry_flush(&carry);
	for (size_t i = 0; i < ARRAY_COUNT(lost); i++) {
		fixture_carry_expect(&carry, CARRIER_CHANGE);
		cr_expect_eq(admin_job_read_change(&job, carry.in), 0, "%s", lost[i]);
		cr_expect_not_null(changes.lost, "%s", lost[i]);
		runtime_changes_log_lost(&changes);
	}
	for (size_t i = 0; i < ARRAY_COUNT(met); i++) {
		fixture_carry_expect(&carry, CARRIER_CHANGE);
		cr_expect_eq(admin_job_read_change(&job, carry.in), 0, "%s", met[i]);
		cr_expect_null(changes.lost, "%s", met[i]);
		cr_expect_eq(changes.count, 0, "%s", met[i]);
	}
	fixture_carry_expect(&carry, CARRIER_CHANGE);
	cr_expect_eq(admin_job_read_change(&job, carry.in), 0);
	cr_expect_null(changes.lost);
	cr_expect_eq(changes.count, 1);
	cr_expect_eq(changes.list[0].uid, 6);
	cr_expect_eq(changes.list[0].unix_ms, 5);
	cr_expect_not(process.drain_asked);
	cr_expect_eq(atomic_load(&forwards->list[0].drain), FORWARD_EXPIRED, "it began long ago");
	cr_expect(fixture_carry_next(&carry, &kind));
	cr_expect_eq(admin_job_read_change(&job, carry.in), -EBADMSG);
	fixture_carry_close(&carry);
	finish();
}
