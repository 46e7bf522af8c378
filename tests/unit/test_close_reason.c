/* SPDX-License-Identifier: MIT */
#include "stats/close_reason.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "base/util.h"
#include "support.h"

TestSuite(close_reason, .fini = support_check_leaks);

struct rule_row {
	enum close_reason reason;
	const char *word;
	enum close_side side;
	enum close_how how;
};

Test(close_reason, rules)
{
	static const struct rule_row rows[] = {
		{CLOSE_done, "done", CLOSE_SIDE_NONE, CLOSE_HOW_FIN},
		{CLOSE_client_reset, "client_reset", CLOSE_SIDE_CLIENT, CLOSE_HOW_RELAY},
		{CLOSE_backend_reset, "backend_reset", CLOSE_SIDE_BACKEND, CLOSE_HOW_RELAY},
		{CLOSE_connect_failed, "connect_failed", CLOSE_SIDE_NONE, CLOSE_HOW_RST},
		{CLOSE_idle_timeout, "idle_timeout", CLOSE_SIDE_NONE, CLOSE_HOW_RST},
		{CLOSE_stopped, "stopped", CLOSE_SIDE_NONE, CLOSE_HOW_RST},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct close_rule *rule = close_reason_rule(rows[i].reason);

		cr_expect_str_eq(rule->word, rows[i].word, "row %zu: %s", i, rule->word);
		cr_expect_eq(rule->failed_side, rows[i].side, "%s", rule->word);
		cr_expect_eq(rule->how, rows[i].how, "%s", rule->word);
	}
}

/* A reason that names a side passes its failure on; the others concern both sides alike. */
Test(close_reason, every_rule_is_consistent)
{
	for (unsigned reason = 0; reason < CLOSE_REASON_COUNT; reason++) {
		const struct close_rule *rule = close_reason_rule(reason);

		cr_expect_eq(rule->failed_side != CLOSE_SIDE_NONE, rule->how == CLOSE_HOW_RELAY,
			     "%s", rule->word);
		for (unsigned other = 0; other < reason; other++)
			cr_expect_str_neq(rule->word, close_reason_rule(other)->word);
	}
}

struct error_row {
	int error;
	enum close_reason of_client, of_backend;
};

Test(close_reason, of_error)
{
	static const struct error_row rows[] = {
		{ECONNRESET, CLOSE_client_reset, CLOSE_backend_reset},
		{EPIPE, CLOSE_client_reset, CLOSE_backend_reset},
		{ENOTCONN, CLOSE_client_reset, CLOSE_backend_reset},
		{ETIMEDOUT, CLOSE_client_lost, CLOSE_backend_lost},
		{EHOSTUNREACH, CLOSE_client_lost, CLOSE_backend_lost},
		{ENETUNREACH, CLOSE_client_lost, CLOSE_backend_lost},
		{EIO, CLOSE_client_error, CLOSE_backend_error},
		{ENOMEM, CLOSE_client_error, CLOSE_backend_error},
		{0, CLOSE_client_error, CLOSE_backend_error},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		for (int sign = -1; sign <= 1; sign += 2) {
			int error = sign * rows[i].error;

			cr_expect_eq(close_reason_of_error(0, error), rows[i].of_client, "%d",
				     error);
			cr_expect_eq(close_reason_of_error(1, error), rows[i].of_backend, "%d",
				     error);
		}
}

static void ask_for_a_third_side(void *unused)
{
	(void)unused;
	close_reason_of_error(2, EIO);
}

static void ask_beyond_the_list(void *unused)
{
	(void)unused;
	close_reason_rule(CLOSE_REASON_COUNT);
}

Test(close_reason, what_there_is_not_is_a_programming_error)
{
	cr_expect(support_aborts(ask_for_a_third_side, NULL));
	cr_expect(support_aborts(ask_beyond_the_list, NULL));
}
