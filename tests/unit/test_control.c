/* SPDX-License-Identifier: MIT */
#include "control/control.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(control, .fini = support_check_leaks);

/* A letter per stage. */
static char letter_of(enum control_stage stage)
{
	return "sldDexh"[stage];
}

/*
 * What happens: 't' is TERM, '.' the end of the stage's time, ',' a moment before it, '-' a wait of a
 * year, 'o' another process takes over. The stages after each: s serving, l left, d delayed, D draining, e expired, x stopping, h hanging.
 */
struct order_row {
	uint64_t drain_delay_ms, drain_timeout_ms;
	const char *events, *stages;
};

static void play(const struct order_row *row, char *stages)
{
	struct control_end end = {.due_ms = POLL_SET_NEVER,
				  .drain_delay_ms = row->drain_delay_ms,
				  .drain_timeout_ms = row->drain_timeout_ms};
	uint64_t now_ms = 1000;

	for (const char *event = row->events; *event; event++) {
		enum control_stage before = end.stage;
		bool begins;

		if (*event == '-')
			now_ms += 365ULL * 86400 * 1000;
		else if (*event == '.' || *event == ',')
			now_ms = end.due_ms - (*event == ',');
		begins = *event == 'o' || (*event == 't' ? control_terminate(&end, now_ms)
							 : control_expire(&end, now_ms));
		if (*event == 'o')
			control_leave(&end, now_ms);
		cr_expect_eq(begins, end.stage != before, "%s: %c", row->events, *event);
		*stages++ = letter_of(end.stage);
	}
	*stages = '\0';
}

Test(control, order_of_the_end)
{
	static const struct order_row rows[] = {
		{0, 0, "-", "s"},
		/* after a takeover, what did not move drains; a first TERM does not reset it */
		{0, 0, "o-", "ll"},
		{2000, 5000, "o,.", "lle"},
		{2000, 5000, "ot,.", "lDDe"},
		{2000, 5000, "ott", "lDx"},
		/* one TERM: sessions have as long as they like, or until the drain's time is over */
		{0, 0, "t-", "DD"},
		{0, 5000, "t,.", "DDe"},
		{2000, 5000, "t,.,.", "ddDDe"},
		{2000, 0, "t.-", "dDD"},
		/* a second TERM resets all sessions, whatever the first has come to; a third changes nothing */
		{0, 0, "ttt", "Dxx"},
		{2000, 5000, "tt", "dx"},
		{2000, 5000, "t.t", "dDx"},
		{0, 5000, "t.tt", "Dexx"},
		/* a worker that does not end after the reset hangs */
		{0, 5000, "t.,.", "Deeh"},
		{0, 0, "tt,.", "Dxxh"},
		/* a reset of all sessions at once begins its own time */
		{0, 5000, "t.,t,.", "Deexxh"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char stages[16];

		play(&rows[i], stages);
		cr_expect_str_eq(stages, rows[i].stages, "row %zu: %s: %s", i, rows[i].events,
				 stages);
	}
}

/* The time for which the service manager is asked: what is left, and 39 s for workers, disk and log. */
Test(control, time_left)
{
	static const struct {
		enum control_stage stage;
		uint64_t drain_delay_ms, drain_timeout_ms, left_ms;
	} rows[] = {
		{CONTROL_SERVING, 2000, 5000, 0},
		{CONTROL_DELAYED, 2000, 5000, 46000},
		{CONTROL_DELAYED, 2000, 0, 41000},
		{CONTROL_DRAINING, 2000, 5000, 44000},
		/* sessions may last for ever: the manager decides */
		{CONTROL_DRAINING, 2000, 0, 0},
		{CONTROL_EXPIRED, 2000, 5000, 39000},
		{CONTROL_STOPPING, 2000, 0, 39000},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct control_end end = {.stage = rows[i].stage,
					  .drain_delay_ms = rows[i].drain_delay_ms,
					  .drain_timeout_ms = rows[i].drain_timeout_ms};

		cr_expect_eq(control_time_left_ms(&end), rows[i].left_ms, "row %zu", i);
	}
}
