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
	} rows[] = {{SIGTERM, SIGNALS_DRAIN}, {SIGINT, SIGNALS_DRAIN}, {SIGHUP, SIGNALS_RELOAD}};
	int fd;

	signals_ignore();
	fd = signals_take();
	cr_assert_geq(fd, 0);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		cr_expect_eq(signals_read(fd), SIGNALS_NONE);
		cr_assert(!kill(getpid(), rows[i].number));
		support_poll(fd, POLLIN);
		cr_expect_eq(signals_read(fd), rows[i].wish, "%s", strsignal(rows[i].number));
	}
	cr_expect_eq(signals_read(fd), SIGNALS_NONE);
	close(fd);
}
