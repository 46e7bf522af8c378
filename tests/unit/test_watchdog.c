/* SPDX-License-Identifier: MIT */
#include "control/watchdog.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"
#include "os/poll_set.h"
#include "support.h"

TestSuite(watchdog, .fini = support_check_leaks);

#define LIMIT_MS  3000
#define PERIOD_MS 1000

/* A letter per step: "A!c" is asked, told, complained. */
static void step_on(struct watchdog *watchdog, unsigned silent, uint64_t now_ms, char *steps)
{
	enum watchdog_step step;

	while ((step = watchdog_next(watchdog, silent, now_ms)) != WATCHDOG_REST) {
		steps += strlen(steps);
		steps[0] = "-A!c"[step];
		steps[1] = '\0';
		/* the workers that were just asked have not answered yet */
		silent = step == WATCHDOG_ASK ? 1 : silent;
	}
}

/*
 * What happens: '.' the next period begins, ',' a moment before it, 'y' all workers have answered, 'n'
 * the loop woke up for something else. The steps: 'A' ask, '!' tell the manager, 'c' complain.
 */
Test(watchdog, only_answers_reach_the_manager)
{
	static const struct {
		const char *events, *steps;
	} rows[] = {
		{".", "A"},
		{".y", "A!"},
		{".y.y.y", "A!A!A!"},
		/* woken more often, it does not ask more often */
		{".ynyn,", "A!"},
		/* no answer: no message, one complaint, and no further question */
		{"....", "Ac"},
		{".nnn", "A"},
		/* late answers are good, also after a complaint, and the next silence is new */
		{"...y.y", "Ac!A!"},
		{"...y...", "Ac!Ac"},
		/* an answer when the period ends: told, then asked again */
		{".y.", "A!A"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct watchdog watchdog;
		uint64_t now_ms = 5000;
		char steps[64] = "";

		watchdog_init(&watchdog, LIMIT_MS, now_ms);
		for (const char *event = rows[i].events; *event; event++) {
			if (*event == '.' || *event == ',')
				now_ms = watchdog_due_ms(&watchdog) - (*event == ',');
			step_on(&watchdog, *event != 'y' && watchdog.asked_ms, now_ms, steps);
		}
		cr_expect_str_eq(steps, rows[i].steps, "%s: %s", rows[i].events, steps);
	}
}

Test(watchdog, three_questions_within_the_limit)
{
	struct watchdog watchdog;

	watchdog_init(&watchdog, LIMIT_MS, 1);
	cr_expect_eq(watchdog_due_ms(&watchdog), 1);
	cr_expect_eq(watchdog_next(&watchdog, 0, 1), WATCHDOG_ASK);
	cr_expect_eq(watchdog_due_ms(&watchdog), 1 + PERIOD_MS);
	/* a limit that is too small to divide */
	watchdog_init(&watchdog, 1, 1);
	cr_expect_eq(watchdog_next(&watchdog, 0, 1), WATCHDOG_ASK);
	cr_expect_eq(watchdog_due_ms(&watchdog), 2);
}

Test(watchdog, without_a_limit_nothing_is_ever_due)
{
	struct watchdog watchdog;

	watchdog_init(&watchdog, 0, 1000);
	cr_expect_eq(watchdog_next(&watchdog, 0, 1000000), WATCHDOG_REST);
	cr_expect_eq(watchdog_due_ms(&watchdog), POLL_SET_NEVER);
}
