/* What each signal does to a process that serves: the table signals.def, put in force. See signal(7). */
#pragma once

/*
 * Ignores what the table ignores, and HUP until signals_take(), so that none of them ends a start. TERM and INT still
 * do, for there is nothing to drain yet.
 */
void signals_ignore(void);

/*
 * A signalfd(2) that is readable once an end is wanted (TERM, INT), for whoever waits for something else at the start; the
 * signal stays for signals_read(). After signals_take(). The caller's, or -1 where there is no descriptor: then the
 * wait cannot be cut short.
 */
int signals_open_stop(void);

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
