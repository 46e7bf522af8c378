/* SPDX-License-Identifier: MIT */
/* Puts signals.def in force: what each signal does to a process that serves. signal(7). */
#pragma once

/*
 * Ignores the signals that the table ignores, and HUP and USR1 until signals_take(). TERM and INT
 * still end a start.
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
	SIGNALS_DRAIN,	/* TERM, INT */
	SIGNALS_RELOAD, /* HUP */
	SIGNALS_REOPEN, /* USR1 */
};

/*
 * Blocks the signals of the control loop in this thread and the threads that it makes later.
 * Returns a signalfd(2) for signals_read(), the caller's, or -errno.
 */
int signals_take(void);

/* The next signal that has come, SIGNALS_NONE when there is none. Does not wait. */
enum signals_wish signals_read(int fd);
