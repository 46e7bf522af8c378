/* SPDX-License-Identifier: MIT */
/* Puts signals.def in force: what each signal does to a process that serves. signal(7). */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <sys/signalfd.h>

/*
 * Ignores the signals that the table ignores, and HUP, USR1 and USR2 until signals_take(). TERM and
 * INT still end a start.
 */
void signals_ignore(void);

/*
 * Opens a signalfd(2) that is readable once TERM or INT has come, to end a wait of the start. The
 * signal stays for signals_read(). After signals_take(). The descriptor is the caller's; -1: there
 * is none.
 */
int signals_open_stop(void);

enum signals_wish {
	SIGNALS_NONE,
	SIGNALS_DRAIN,	 /* TERM, INT */
	SIGNALS_RELOAD,	 /* HUP */
	SIGNALS_UPGRADE, /* USR2 */
	SIGNALS_REOPEN,	 /* USR1 */
};

/*
 * How often TERM and INT have come. One signal to the whole process group, such as Ctrl-C, comes
 * twice: directly, and from the parent. So the parent sends how many it got so far, as the value of
 * sigqueue(3), and the larger of the two numbers counts. All zeros: none.
 */
struct signals_count {
	unsigned own;	 /* came directly */
	unsigned passed; /* as the parent says */
	unsigned told;	 /* read by signals_read() */
};

/* Counts one TERM or INT. */
void signals_count(struct signals_count *count, const struct signalfd_siginfo *info);

/*
 * Blocks the signals of the control loop in this thread and the threads that it makes later.
 * Returns a signalfd(2) for signals_read(), the caller's, or -errno.
 */
int signals_take(void);

/* The next signal that has come, SIGNALS_NONE when there is none. Does not wait. */
enum signals_wish signals_read(int fd, struct signals_count *count);

/* The signals that the parent passes on to the processes that serve. */
sigset_t signals_passed_on(void);

/* Whether the parent passes the signal on to every process that serves, not to the current alone. */
bool signals_is_for_all(int number);

/* Whether the signal is TERM or INT. */
bool signals_is_end(int number);
