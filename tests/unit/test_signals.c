/* SPDX-License-Identifier: MIT */
#include "control/signals.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "support.h"

TestSuite(signals, .fini = support_check_leaks);

/* What signal(7) has, apart from the table: how a process that serves is to take each. */
static const int kept_default[] = {
	SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGURG,  SIGWINCH,
	SIGABRT, SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,  SIGSYS,  SIGTRAP,
};

static bool is_ordinary(int number)
{
	return number < 32 || (number >= SIGRTMIN && number <= SIGRTMAX);
}

static bool keeps_default(int number)
{
	for (size_t i = 0; i < ARRAY_COUNT(kept_default); i++)
		if (kept_default[i] == number)
			return true;
	/* two of the real-time signals are the C library's own */
	return !is_ordinary(number);
}

Test(signals, each_is_in_the_table_once)
{
	unsigned rows[65] = {0};

#define SIGNAL(name, action, meaning) rows[name]++;
#define SIGNAL_RANGE(first, last, action, meaning)                                                 \
	for (int number = first; number <= last; number++)                                         \
		rows[number]++;
#include "control/signals.def"
#undef SIGNAL
#undef SIGNAL_RANGE
	for (int number = 1; number <= SIGRTMAX; number++)
		cr_expect_eq(rows[number], is_ordinary(number), "%d: %u rows", number,
			     rows[number]);
}

Test(signals, none_but_term_and_int_ends_a_start)
{
	signals_ignore();
	for (int number = 1; number <= SIGRTMAX; number++) {
		struct sigaction now;
		bool kept = keeps_default(number) || number == SIGTERM || number == SIGINT;

		if (sigaction(number, NULL, &now)) /* the C library hides its own */
			continue;
		/* Criterion has handlers of its own for faults */
		cr_expect(kept ? now.sa_handler != SIG_IGN : now.sa_handler == SIG_IGN, "%d",
			  number);
	}
}

Test(signals, those_that_are_taken_are_read)
{
	static const struct {
		int number;
		enum signals_wish wish;
	} rows[] = {{SIGTERM, SIGNALS_DRAIN},
		    {SIGINT, SIGNALS_DRAIN},
		    {SIGHUP, SIGNALS_RELOAD},
		    {SIGUSR2, SIGNALS_UPGRADE}};
	struct signals_count count = {0};
	int fd;

	signals_ignore();
	fd = signals_take();
	cr_assert_geq(fd, 0);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		cr_expect_eq(signals_read(fd, &count), SIGNALS_NONE);
		cr_assert(!kill(getpid(), rows[i].number));
		support_poll(fd, POLLIN);
		cr_expect_eq(signals_read(fd, &count), rows[i].wish, "%s",
			     strsignal(rows[i].number));
	}
	cr_expect_eq(signals_read(fd, &count), SIGNALS_NONE);
	close(fd);
}

/* From the parent with the number of signals, or directly: `number` 0. */
static struct signalfd_siginfo make_info(int number)
{
	if (!number)
		return (struct signalfd_siginfo){.ssi_code = SI_USER, .ssi_pid = 1};
	return (struct signalfd_siginfo){
		.ssi_code = SI_QUEUE, .ssi_pid = (uint32_t)getppid(), .ssi_int = number};
}

Test(signals, one_that_comes_directly_and_from_the_parent_counts_once)
{
	static const struct {
		const char *name;
		int numbers[4];
		unsigned length, sum;
	} rows[] = {
		{"direct", {0}, 1, 1},
		{"to the parent", {1}, 1, 1},
		{"to both", {0, 1}, 2, 1},
		{"to both, the parent's first", {1, 0}, 2, 1},
		{"twice to both", {0, 1, 0, 2}, 4, 2},
		{"twice to the parent, the second read first", {2, 1}, 2, 2},
		{"twice direct", {0, 0}, 2, 2},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct signals_count count = {0};

		for (unsigned j = 0; j < rows[i].length; j++) {
			struct signalfd_siginfo info = make_info(rows[i].numbers[j]);

			signals_count(&count, &info);
		}
		cr_expect_eq(MAX(count.own, count.passed), rows[i].sum, "%s", rows[i].name);
	}
}

Test(signals, each_that_was_counted_is_told)
{
	struct signals_count count = {.passed = 2};
	int fd;

	signals_ignore();
	fd = signals_take();
	cr_expect_eq(signals_read(fd, &count), SIGNALS_DRAIN);
	cr_expect_eq(signals_read(fd, &count), SIGNALS_DRAIN);
	cr_expect_eq(signals_read(fd, &count), SIGNALS_NONE);
	close(fd);
}

Test(signals, the_parent_passes_on_what_is_read_and_two_more)
{
	sigset_t set = signals_passed_on();

	for (int number = 1; number <= SIGRTMAX; number++) {
		bool passed = number == SIGTERM || number == SIGINT || number == SIGHUP ||
			      number == SIGUSR1 || number == SIGUSR2 || number == SIGABRT ||
			      number == SIGCONT;

		cr_expect_eq(sigismember(&set, number) == 1, passed, "%d", number);
		if (passed)
			cr_expect_eq(signals_is_for_all(number),
				     number != SIGHUP && number != SIGUSR2);
	}
}
