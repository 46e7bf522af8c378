/* What each signal does to a process that serves: the table signals.def, put in force. See signal(7). */
#pragma once

/*
 * Ignores what the table ignores, and HUP until signals_take(), so that none of them ends a start. TERM and INT still
 * do, for there is nothing to drain yet.
 */
void signals_ignore(void);

enum signals_wish {
	SIGNALS_NONE,
	SIGNALS_DRAIN,	/* TERM, INT */
	SIGNALS_RELOAD, /* HUP */
};

/*
 * Blocks the signals that the control loop acts on in the calling thread, so that threads made afterwards
 * do not get them. Returns a signalfd(2) that signals_read() reads, the caller's, or -errno.
 */
int signals_take(void);

/* The next signal that has come, SIGNALS_NONE when there is none. Does not wait. */
enum signals_wish signals_read(int fd);
