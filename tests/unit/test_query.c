/* SPDX-License-Identifier: MIT */
#include "relay/query.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "config/config_parse.h"
#include "forward_fixture.h"
#include "relay/session_private.h"
#include "support.h"

TestSuite(query, .fini = support_check_leaks);

#define SLOTS	 5000
#define REMEMBER 300

/* A worker's sessions, without sockets and without an engine. */
struct job {
	struct config config;
	struct timer_wheel wheel;
	struct load load;
	struct metrics metrics;
	struct sessions sessions;
	struct queries *queries;
};

static struct addr endpoint_of(const char *text)
{
	struct addr endpoint = {0};

	if (*text)
		cr_assert_null(addr_parse(text, &endpoint), "%s", text);
	return endpoint;
}

static struct job *begin(void)
{
	static char words[][16] = {"sixpipe", "[::1]:2000", "192.0.2.80:80"};
	char *argv[] = {words[0], words[1], words[2]};
	struct job *job = aligned_alloc(CACHE_LINE_BYTES, sizeof(*job));
	struct command_line line = {0};
	struct fault fault = {0};

	cr_assert_not_null(job);
	memset(job, 0, sizeof(*job));
	config_init(&job->config);
	line.config = &job->config;
	cr_assert_eq(support_parse(&line, ARRAY_COUNT(argv), argv, &fault), 0, "%s",
		     support_text(&fault));
	timer_wheel_init(&job->wheel, 0);
	cr_assert_eq(load_init(&job->load, SLOTS, UINT32_MAX, 1), 0);
	job->sessions.config = &job->config;
	job->sessions.wheel = &job->wheel;
	job->sessions.load = &job->load;
	job->sessions.metrics = &job->metrics;
	job->sessions.pump.metrics = &job->metrics;
	cr_assert_eq(sessions_init(&job->sessions, SLOTS), 0);
	cr_assert_eq(history_create(&job->sessions.history, REMEMBER), 0);
	job->sessions.forwards = fixture_forwards(&job->config, SLOTS);
	cr_assert_eq(queries_create(&job->queries, 1), 0);
	return job;
}

static void finish(struct job *job)
{
	sessions_begin_end(&job->sessions, CLOSE_stopped);
	while (sessions_end_some(&job->sessions))
		;
	sessions_finish(&job->sessions);
	history_destroy(job->sessions.history);
	forwards_destroy(job->sessions.forwards);
	queries_destroy(job->queries);
	load_finish(&job->load);
	config_finish(&job->config);
	free(job);
}

static struct session *open_session(struct job *job, const struct addr *client,
				    const struct addr *source)
{
	struct session *session;

	cr_assert_eq(load_admit(&job->load, 0), 0);
	session = session_table_take(job->sessions.table);
	cr_assert_not_null(session);
	session->state = SESSION_RELAYING;
	session->opened_ms = ++job->sessions.now_ms;
	session->client = *client;
	cr_assert(tenancy_begin(&session->tenancy, job->sessions.forwards->list));
	cr_assert_eq(tenancy_choose_backend(&session->tenancy, &session->tried, client,
					    job->sessions.now_ms),
		     0);
	session->tenancy.source = *source;
	return session;
}

static void end_session(struct job *job, struct session *session)
{
	job->sessions.now_ms++;
	session_end(&job->sessions, session, CLOSE_stopped);
}

static struct query query_of(enum query_kind kind, const char *block, unsigned port)
{
	struct query query = {.kind = kind, .port = port};

	cr_assert_null(cidr_parse(block, &query.block), "%s", block);
	return query;
}

/* Works until the answer is complete. Returns the number of ticks. */
static unsigned work_ticks(struct job *job)
{
	unsigned ticks = 1;
	enum query_progress progress;

	while ((progress = queries_work(job->queries, &job->sessions)) == QUERY_MORE) {
		cr_assert(!queries_are_answered(job->queries));
		cr_assert_null(queries_answer(job->queries, 0));
		ticks++;
	}
	cr_assert_eq(progress, QUERY_ANSWERED);
	cr_assert(queries_are_answered(job->queries));
	cr_assert_eq(queries_work(job->queries, &job->sessions), QUERY_NONE);
	return ticks;
}

static const struct query_answer *ask(struct job *job, const struct query *query)
{
	queries_ask(job->queries, query);
	work_ticks(job);
	return queries_answer(job->queries, 0);
}

Test(query, means)
{
	static const struct {
		const char *block;
		unsigned port;
		const char *endpoint;
		bool meant;
	} rows[] = {
		{"2001:db8::5", 0, "[2001:db8::5]:1", true},
		{"2001:db8::5", 1, "[2001:db8::5]:1", true},
		{"2001:db8::5", 2, "[2001:db8::5]:1", false},
		{"2001:db8::/64", 0, "[2001:db8::5]:1", true},
		{"2001:db8:0:1::/64", 0, "[2001:db8::5]:1", false},
		{"240.1.2.3", 0, "240.1.2.3:9", true},
		{"240.1.2.3", 0, "[::ffff:240.1.2.3]:9", true},
		{"240.1.2.3", 9, "240.1.2.4:9", false},
		{"::/0", 0, "", false},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct query query = query_of(QUERY_WHO, rows[i].block, rows[i].port);
		struct addr endpoint = endpoint_of(rows[i].endpoint);

		cr_expect_eq(query_matches(&query, &endpoint), rows[i].meant, "row %zu", i);
	}
}

Test(query, nothing_is_answered_before_a_question)
{
	struct job *job = begin();

	cr_expect(queries_are_answered(job->queries));
	cr_expect_eq(queries_work(job->queries, &job->sessions), QUERY_NONE);
	finish(job);
}

Test(query, who)
{
	static const struct {
		const char *block;
		unsigned port;
		const char *found; /* the last digits of the clients' ports */
	} rows[] = {
		{"240.1.2.3", 0, "12"},	     {"240.1.2.3", 41001, "1"}, {"10.0.0.1", 0, "34"},
		{"10.0.0.1", 41004, "4"},    {"10.0.0.1", 41009, ""},	{"2001:db8::5", 0, "12"},
		{"2001:db8::/64", 0, "123"}, {"::/0", 0, "12345"},	{"2001:db8::5", 7002, "2"},
		{"198.51.100.7", 0, "5"},
	};
	static const char *const sessions[][2] = {
		{"[2001:db8::5]:7001", "240.1.2.3:41001"},
		{"[2001:db8::5]:7002", "240.1.2.3:41002"},
		{"[2001:db8::6]:7003", "10.0.0.1:41003"},
		{"[2001:db9::6]:7004", "10.0.0.1:41004"},
		{"198.51.100.7:7005", ""},
	};

	/* the same whether they live or have ended */
	for (unsigned ended = 0; ended < 2; ended++) {
		struct job *job = begin();

		for (size_t i = 0; i < ARRAY_COUNT(sessions); i++) {
			struct addr client = endpoint_of(sessions[i][0]);
			struct addr source = endpoint_of(sessions[i][1]);
			struct session *session = open_session(job, &client, &source);

			if (ended)
				end_session(job, session);
		}
		for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
			struct query query = query_of(QUERY_WHO, rows[i].block, rows[i].port);
			const struct query_answer *answer = ask(job, &query);
			unsigned seen = 0;

			cr_expect_eq(answer->count, strlen(rows[i].found), "row %zu", i);
			cr_expect(!answer->truncated);
			for (unsigned j = 0; j < answer->count; j++) {
				const struct session_record *record = &answer->records[j];
				char digit = (char)('0' + addr_port(&record->client) % 10);

				cr_expect_not_null(strchr(rows[i].found, digit), "row %zu", i);
				cr_expect_eq(record->closed_ms != 0, ended);
				seen |= 1U << (digit - '0');
			}
			cr_expect_eq((unsigned)__builtin_popcount(seen), answer->count);
		}
		finish(job);
	}
}

Test(query, what_is_told_of_a_live_session)
{
	struct job *job = begin();
	struct addr client = endpoint_of("[2001:db8::5]:7001");
	struct addr source = endpoint_of("240.1.2.3:41001");
	struct addr backend = endpoint_of("192.0.2.80:80");
	struct session *session = open_session(job, &client, &source);
	struct query query = query_of(QUERY_WHO, "240.1.2.3", 0);
	const struct session_record *record;

	session->lane[SESSION_CLIENT].moved_bytes = 11;
	session->lane[SESSION_BACKEND].moved_bytes = 22;
	record = &ask(job, &query)->records[0];
	cr_expect(addr_equal(&record->client, &client));
	cr_expect(addr_equal(&record->source, &source));
	cr_expect(addr_equal(&record->backend, &backend));
	cr_expect_eq(record->opened_ms, session->opened_ms);
	cr_expect_eq(record->bytes_up, 11);
	cr_expect_eq(record->bytes_down, 22);
	upstream_leave(session->tenancy.forward->upstream, &session->tenancy.claim);
	cr_expect_eq(ask(job, &query)->records[0].backend.length_bytes, 0);
	finish(job);
}

static struct addr numbered_client(unsigned number)
{
	struct addr client = endpoint_of("[2001:db8::]:1000");

	client.v6.sin6_addr.s6_addr[6] = (uint8_t)(number >> 8);
	client.v6.sin6_addr.s6_addr[7] = (uint8_t)number;
	return client;
}

Test(query, the_answer_is_bounded)
{
	static const struct addr none;
	struct query query = query_of(QUERY_WHO, "::/0", 0);
	struct job *job = begin();

	for (unsigned live = 0; live <= QUERY_RECORD_LIMIT + 1; live++) {
		const struct query_answer *answer = ask(job, &query);
		struct addr client = numbered_client(live);

		cr_assert_eq(answer->count, MIN(live, QUERY_RECORD_LIMIT));
		cr_assert_eq(answer->truncated, live > QUERY_RECORD_LIMIT);
		open_session(job, &client, &none);
	}
	finish(job);
}

/* A tick inspects a fixed number of slots, free slots included, or entries of the history. */
Test(query, a_turn_is_bounded)
{
	static const struct addr none;
	struct query query = query_of(QUERY_WHO, "192.0.2.1", 0);
	struct query reset = query_of(QUERY_RESET, "2001:db8::/32", 0);
	struct job *job = begin();

	for (unsigned i = 0; i < SLOTS; i++) {
		struct addr client = numbered_client(i);

		open_session(job, &client, &none);
	}
	queries_ask(job->queries, &query);
	cr_expect_eq(work_ticks(job), (SLOTS + QUERY_TICK_STEPS - 1) / QUERY_TICK_STEPS);
	queries_ask(job->queries, &reset);
	cr_expect_eq(work_ticks(job),
		     (SLOTS * QUERY_RESET_STEPS + QUERY_TICK_STEPS - 1) / QUERY_TICK_STEPS);
	cr_expect_eq(queries_answer(job->queries, 0)->reset_count, SLOTS);
	cr_expect_eq(session_table_used_count(job->sessions.table), 0);
	queries_ask(job->queries, &query);
	cr_expect_eq(work_ticks(job), (SLOTS + REMEMBER + QUERY_TICK_STEPS - 1) / QUERY_TICK_STEPS,
		     "free slots count too");
	finish(job);
}

Test(query, reset_ends_the_sessions_of_the_client_alone)
{
	static const char *const sessions[][2] = {
		{"[2001:db8::5]:7001", "240.1.2.3:41001"},
		{"[2001:db8::6]:7002", "240.1.2.3:41002"},
		{"[2001:db9::6]:7003", "10.0.0.1:41003"},
		/* the block as a source is another's affair */
		{"[2001:db9::7]:7004", "[2001:db8::9]:41004"},
	};
	struct query reset = query_of(QUERY_RESET, "2001:db8::/64", 0);
	struct job *job = begin();

	for (size_t i = 0; i < ARRAY_COUNT(sessions); i++) {
		struct addr client = endpoint_of(sessions[i][0]);
		struct addr source = endpoint_of(sessions[i][1]);

		open_session(job, &client, &source);
	}
	cr_expect_eq(ask(job, &reset)->reset_count, 2);
	cr_expect_eq(metrics_get_closed(&job->metrics, CLOSE_banned), 2);
	cr_expect_null(session_table_at(job->sessions.table, 0));
	cr_expect_null(session_table_at(job->sessions.table, 1));
	cr_expect_not_null(session_table_at(job->sessions.table, 2));
	cr_expect_not_null(session_table_at(job->sessions.table, 3));
	cr_expect_eq(ask(job, &reset)->reset_count, 0);
	finish(job);
}

/* One that has been told of as live, and ends before the history is looked at, is told of once. */
Test(query, a_session_that_ends_meanwhile_is_told_of_once)
{
	struct query query = query_of(QUERY_WHO, "2001:db8::5", 0);
	struct addr client = endpoint_of("[2001:db8::5]:7001"), other = numbered_client(1);
	static const struct addr none;
	const struct query_answer *answer;
	struct job *job = begin();
	struct session *session = open_session(job, &client, &none);

	/* so that the walk takes several ticks */
	for (unsigned i = 1; i < SLOTS; i++)
		open_session(job, &other, &none);
	queries_ask(job->queries, &query);
	cr_assert_eq(queries_work(job->queries, &job->sessions), QUERY_MORE);
	end_session(job, session);
	work_ticks(job);
	answer = queries_answer(job->queries, 0);
	cr_assert_eq(answer->count, 1);
	cr_expect_neq(answer->records[0].closed_ms, 0, "and as ended");
	finish(job);
}

Test(query, a_worker_that_left_is_not_waited_for)
{
	struct query query = query_of(QUERY_WHO, "::/0", 0);
	struct job *job = begin();

	queries_ask(job->queries, &query);
	cr_expect(!queries_are_answered(job->queries));
	queries_leave(job->queries, 0);
	cr_expect(queries_are_answered(job->queries));
	cr_expect_null(queries_answer(job->queries, 0));
	queries_ask(job->queries, &query);
	cr_expect(queries_are_answered(job->queries));
	finish(job);
}

static void ask_twice(void *argument)
{
	struct query query = query_of(QUERY_WHO, "::/0", 0);

	queries_ask(argument, &query);
	queries_ask(argument, &query);
}

Test(query, asking_before_the_answer_is_a_programming_error)
{
	struct queries *queries;

	cr_assert_eq(queries_create(&queries, 1), 0);
	cr_expect(support_aborts(ask_twice, queries));
	queries_destroy(queries);
}

#define MODEL_CLIENTS 12
#define MODEL_STEPS   3000

/* Sessions come and go at random; the answer is what a plain list of all of them says. */
Test(query, agrees_with_a_list)
{
	struct {
		struct session *live;
		unsigned client;
	} list[64] = {0};
	unsigned ended[REMEMBER]; /* clients, in the order of their end */
	uint64_t ended_count = 0, state = 3;
	static const struct addr none;
	struct job *job = begin();

	for (unsigned step = 0; step < MODEL_STEPS; step++) {
		unsigned at = (unsigned)(support_random(&state) % ARRAY_COUNT(list));
		unsigned wanted = (unsigned)(support_random(&state) % MODEL_CLIENTS);
		struct query query = {.kind = QUERY_WHO};
		const struct query_answer *answer;
		unsigned live = 0, past = 0;
		struct addr client;

		if (list[at].live) {
			end_session(job, list[at].live);
			list[at].live = NULL;
			ended[ended_count++ % REMEMBER] = list[at].client;
		} else {
			list[at].client = (unsigned)(support_random(&state) % MODEL_CLIENTS);
			client = numbered_client(list[at].client);
			list[at].live = open_session(job, &client, &none);
		}
		client = numbered_client(wanted);
		query.block = (struct cidr){.network = cidr_address_of(&client), .bits = 128};
		answer = ask(job, &query);
		for (unsigned i = 0; i < ARRAY_COUNT(list); i++)
			live += list[i].live && list[i].client == wanted;
		for (uint64_t i = 0; i < MIN(ended_count, (uint64_t)REMEMBER); i++)
			past += ended[i] == wanted;
		cr_assert_eq(answer->count, live + past, "step %u", step);
		for (unsigned i = 0; i < answer->count; i++)
			cr_assert_eq(answer->records[i].closed_ms == 0, i < live, "the live first");
		for (unsigned i = live + 1; i < answer->count; i++)
			cr_assert_leq(answer->records[i].closed_ms,
				      answer->records[i - 1].closed_ms, "then the latest to end");
	}
	finish(job);
}

/* Threads -------------------------------------------------------------------------------------- */

#define QUESTIONS 2000

static void *run_worker(void *argument)
{
	struct job *job = argument;
	unsigned answered = 0;

	while (answered < QUESTIONS) {
		enum query_progress progress = queries_work(job->queries, &job->sessions);

		answered += progress == QUERY_ANSWERED;
		if (progress == QUERY_NONE)
			sched_yield();
	}
	queries_leave(job->queries, 0);
	return NULL;
}

Test(query, questions_and_answers_between_threads, .timeout = 60)
{
	static const struct addr none;
	struct job *job = begin();
	pthread_t thread;

	for (unsigned i = 0; i < 10; i++) {
		struct addr client = numbered_client(i);

		open_session(job, &client, &none);
	}
	cr_assert(!pthread_create(&thread, NULL, run_worker, job));
	for (unsigned i = 0; i < QUESTIONS; i++) {
		struct addr client = numbered_client(i % 20);
		struct query query = {
			.kind = QUERY_WHO,
			.block = {.network = cidr_address_of(&client), .bits = 128},
		};

		queries_ask(job->queries, &query);
		while (!queries_are_answered(job->queries))
			sched_yield();
		cr_assert_eq(queries_answer(job->queries, 0)->count, i % 20 < 10, "question %u", i);
	}
	pthread_join(thread, NULL);
	finish(job);
}
