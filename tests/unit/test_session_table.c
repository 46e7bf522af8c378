/* SPDX-License-Identifier: MIT */
#include "relay/session_private.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/util.h"
#include "os/engine.h"
#include "support.h"

TestSuite(session_table, .fini = support_check_leaks);

static struct session *take(struct session_table *table)
{
	struct session *session = session_table_take(table);

	if (session)
		session->state = SESSION_CONNECTING; /* what an owner does first */
	return session;
}

Test(session_table, taken_sessions_are_clean)
{
	struct session_table *table;
	struct session *session;

	cr_assert_eq(session_table_create(&table, 4), 0);
	session = take(table);
	cr_assert_not_null(session);
	session->opened_ms = 77;
	session->fd[0] = 5;
	session->lane[1].read_error = 104;
	session_table_give(table, session);
	session = session_table_take(table);
	cr_expect_eq(session->state, SESSION_FREE);
	cr_expect_eq(session->fd[0], -1);
	cr_expect_eq(session->fd[1], -1);
	cr_expect_eq(session->opened_ms, 0);
	cr_expect_eq(session->lane[1].read_error, 0);
	cr_expect(!timer_is_armed(&session->timer));
	session->state = SESSION_CONNECTING;
	session_table_give(table, session);
	session_table_destroy(table);
}

Test(session_table, holds_as_many_as_it_was_made_for)
{
	static const uint32_t rows[] = {1, 2, 100};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct session_table *table;
		struct session *session;

		cr_assert_eq(session_table_create(&table, rows[i]), 0);
		for (uint32_t slot = 0; slot < rows[i]; slot++) {
			session = take(table);
			cr_assert_not_null(session, "%u of %u", slot, rows[i]);
			cr_assert_eq(session->slot, slot, "the lowest numbers come first");
		}
		cr_expect_eq(session_table_used_count(table), rows[i]);
		cr_expect_null(take(table), "one more than %u", rows[i]);
		cr_expect_eq(session_table_end(table), rows[i]);
		for (uint32_t slot = 0; slot < rows[i]; slot++) {
			session_table_give(table, session_table_at(table, slot));
			cr_expect_null(session_table_at(table, slot));
		}
		cr_expect_eq(session_table_used_count(table), 0);
		session_table_destroy(table);
	}
}

Test(session_table, a_token_of_a_former_session_finds_nobody)
{
	struct session_table *table;
	struct session *session;
	uint32_t slot, generation;

	cr_assert_eq(session_table_create(&table, 2), 0);
	cr_expect_null(session_table_find(table, 0, 0), "never used");
	cr_expect_null(session_table_find(table, 2, 0), "beyond the table");
	cr_expect_null(session_table_find(table, UINT32_MAX, 0));
	session = take(table);
	slot = session->slot;
	generation = session->generation;
	cr_expect_eq(session_table_find(table, slot, generation), session);
	cr_expect_null(session_table_find(table, slot, generation + 1));
	cr_expect_null(session_table_find(table, slot + 1, generation));
	session_table_give(table, session);
	cr_expect_null(session_table_find(table, slot, generation), "over");
	cr_expect_null(session_table_find(table, slot, generation + 1), "free");

	session = take(table);
	cr_expect_eq(session->slot, slot);
	cr_expect_null(session_table_find(table, slot, generation), "a former session");
	cr_expect_eq(session_table_find(table, slot, session->generation), session);
	session_table_give(table, session);
	session_table_destroy(table);
}

Test(session_table, generations_wrap)
{
	struct session_table *table;
	struct session *session;

	cr_assert_eq(session_table_create(&table, 1), 0);
	session = take(table);
	session->generation = ENGINE_GENERATION_LIMIT - 1;
	/* the last generation fits a token */
	cr_expect_eq(engine_token_generation(session_connect_token(session)),
		     ENGINE_GENERATION_LIMIT - 1);
	session_table_give(table, session);
	session = take(table);
	cr_expect_eq(session->generation, 0);
	session_table_give(table, session);
	session_table_destroy(table);
}

Test(session_table, tokens_tell_what_they_are_for)
{
	struct session session = {.slot = ENGINE_SLOT_LIMIT - 1, .generation = 0x123456};
	const uint64_t tokens[] = {
		session_token(&session, SESSION_REQUEST_WAIT, SESSION_CLIENT),
		session_token(&session, SESSION_REQUEST_WAIT, SESSION_BACKEND),
		session_token(&session, SESSION_REQUEST_WATCH, SESSION_CLIENT),
		session_token(&session, SESSION_REQUEST_WATCH, SESSION_BACKEND),
		session_token(&session, SESSION_REQUEST_GUARD, SESSION_CLIENT),
		session_token(&session, SESSION_REQUEST_GUARD, SESSION_BACKEND),
		session_connect_token(&session),
	};

	for (size_t i = 0; i < ARRAY_COUNT(tokens); i++) {
		cr_expect_eq(engine_token_slot(tokens[i]), session.slot);
		cr_expect_eq(engine_token_generation(tokens[i]), session.generation);
		cr_expect_neq(engine_token_op(tokens[i]), ENGINE_OP_NONE);
		for (size_t j = 0; j < i; j++)
			cr_expect_neq(tokens[i], tokens[j], "%zu and %zu", i, j);
	}
}

#define MODEL_SLOTS 50

/* Random taking and giving against an array that says who is in. */
Test(session_table, agrees_with_an_array)
{
	struct session *in[MODEL_SLOTS] = {NULL};
	struct session_table *table;
	uint32_t count = 0;
	uint64_t state = 9;

	cr_assert_eq(session_table_create(&table, MODEL_SLOTS), 0);
	for (unsigned round = 0; round < 20000; round++) {
		uint32_t slot = (uint32_t)(support_random(&state) % MODEL_SLOTS);
		uint32_t walked = 0;

		if (in[slot]) {
			session_table_give(table, in[slot]);
			in[slot] = NULL;
			count--;
		} else {
			struct session *session = take(table);

			cr_assert_not_null(session);
			cr_assert_null(in[session->slot], "slot %u was given twice", session->slot);
			in[session->slot] = session;
			count++;
		}
		cr_assert_eq(session_table_used_count(table), count);
		for (uint32_t i = 0; i < session_table_end(table); i++) {
			cr_assert_eq(session_table_at(table, i), in[i]);
			walked += session_table_at(table, i) != NULL;
		}
		cr_assert_eq(walked, count);
	}
	for (unsigned slot = 0; slot < MODEL_SLOTS; slot++)
		if (in[slot])
			session_table_give(table, in[slot]);
	session_table_destroy(table);
}

/* A table for all the sessions that there can be is reserved, not resident. */
Test(session_table, a_big_table_costs_nothing_before_it_is_used)
{
	struct session_table *table;
	struct session *session;

	if (session_table_create(&table, 8000000))
		cr_skip_test("this host does not let a process reserve 4 GiB of addresses");
	session = take(table);
	cr_expect_eq(session->slot, 0);
	session_table_give(table, session);
	session_table_destroy(table);
}

enum misuse { GIVE_FREE, GIVE_IN_FLIGHT, GIVE_QUEUED, DESTROY_IN_USE };

struct misused {
	struct session_table *table;
	struct session *session;
	enum misuse misuse;
};

static void misuse_table(void *argument)
{
	struct misused *misused = argument;

	if (misused->misuse == GIVE_FREE)
		misused->session->state = SESSION_FREE;
	misused->session->in_flight = misused->misuse == GIVE_IN_FLIGHT;
	misused->session->queued = misused->misuse == GIVE_QUEUED;
	if (misused->misuse == DESTROY_IN_USE)
		session_table_destroy(misused->table);
	else
		session_table_give(misused->table, misused->session);
}

Test(session_table, misuse_is_a_programming_error)
{
	for (unsigned misuse = GIVE_FREE; misuse <= DESTROY_IN_USE; misuse++) {
		struct misused misused = {.misuse = misuse};

		cr_assert_eq(session_table_create(&misused.table, 2), 0);
		misused.session = take(misused.table);
		cr_expect(support_aborts(misuse_table, &misused), "misuse %u", misuse);
		session_table_give(misused.table, misused.session);
		session_table_destroy(misused.table);
	}
}
