/* SPDX-License-Identifier: MIT */
#include "relay/pulse.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <stdatomic.h>

#include "support.h"

TestSuite(pulse, .fini = support_check_leaks);

#define WORKERS 3

/* Each letter is a worker that answers ('a', 'b', 'c') or leaves ('A', 'B', 'C'); '?' asks. */
static unsigned play(const char *events)
{
	struct pulse *pulse;
	unsigned silent;

	cr_assert_eq(pulse_create(&pulse, WORKERS), 0);
	for (const char *event = events; *event; event++) {
		if (*event == '?')
			pulse_ask(pulse);
		else if (*event >= 'a')
			(void)pulse_answer(pulse, (unsigned)(*event - 'a'));
		else
			pulse_leave(pulse, (unsigned)(*event - 'A'));
	}
	silent = pulse_silent_count(pulse);
	pulse_destroy(pulse);
	return silent;
}

Test(pulse, silent_workers_are_counted)
{
	static const struct {
		const char *events;
		unsigned silent;
	} rows[] = {
		{"", 0}, /* nobody was asked */
		{"?", 3},     {"?a", 2},
		{"?abc", 0},  {"abc?", 3}, /* an answer before the question is none */
		{"?abc?", 3}, {"?abc?b", 2},
		{"?aaa", 2}, /* more answers of one worker do not stand for others */
		{"?aBC", 0}, /* a worker that has ended need not answer */
		{"C?ab", 0},  {"C?a", 1},
		{"?a?b", 2}, /* only the last question counts */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect_eq(play(rows[i].events), rows[i].silent, "%s: %u", rows[i].events,
			     play(rows[i].events));
}

Test(pulse, one_answer_for_each_question)
{
	struct pulse *pulse;

	cr_assert_eq(pulse_create(&pulse, WORKERS), 0);
	cr_expect(!pulse_answer(pulse, 0), "nobody has asked");
	pulse_ask(pulse);
	cr_expect(pulse_answer(pulse, 0));
	cr_expect(!pulse_answer(pulse, 0), "it was answered already");
	pulse_ask(pulse);
	pulse_ask(pulse);
	cr_expect(pulse_answer(pulse, 0));
	cr_expect(!pulse_answer(pulse, 0), "one answer is enough for all earlier questions");
	pulse_destroy(pulse);
}

/* Workers that turn until they are told to leave; one of them is stuck for a while. */
struct turning {
	struct pulse *pulse;
	_Atomic unsigned started;
	atomic_bool stuck, leave;
};

static void *turn(void *argument)
{
	struct turning *turning = argument;
	unsigned self = atomic_fetch_add(&turning->started, 1);

	while (!atomic_load(&turning->leave)) {
		if (self || !atomic_load(&turning->stuck))
			(void)pulse_answer(turning->pulse, self);
		poll(NULL, 0, 1);
	}
	pulse_leave(turning->pulse, self);
	return NULL;
}

/* Waits until exactly `count` workers are silent. */
static void expect_silent(const struct turning *turning, unsigned count)
{
	for (unsigned i = 0; pulse_silent_count(turning->pulse) != count; i++) {
		cr_assert_lt(i, SUPPORT_PATIENCE_MS, "%u silent, not %u",
			     pulse_silent_count(turning->pulse), count);
		poll(NULL, 0, 1);
	}
}

static void *ask(void *argument)
{
	struct turning *turning = argument;

	for (int i = 0; i < 20; i++) {
		pulse_ask(turning->pulse);
		expect_silent(turning, 0);
	}
	atomic_store(&turning->stuck, true);
	/* a tick of worker 0 that began earlier may answer this question, but not all of them */
	for (int i = 0; i < 20; i++) {
		pulse_ask(turning->pulse);
		poll(NULL, 0, 2);
	}
	expect_silent(turning, 1);
	atomic_store(&turning->stuck, false);
	expect_silent(turning, 0);
	atomic_store(&turning->leave, true);
	return NULL;
}

static void *ask_or_turn(void *argument)
{
	struct turning *turning = argument;
	static _Atomic unsigned asker;

	return atomic_fetch_add(&asker, 1) ? turn(turning) : ask(turning);
}

Test(pulse, a_stuck_thread_is_noticed_and_forgiven)
{
	struct turning turning = {0};

	cr_assert_eq(pulse_create(&turning.pulse, WORKERS), 0);
	support_run_threads(ask_or_turn, &turning, 0, WORKERS + 1);
	pulse_destroy(turning.pulse);
}
