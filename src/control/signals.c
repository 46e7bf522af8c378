/* SPDX-License-Identifier: MIT */
#include "control/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/check.h"

enum action { IGNORE, DEFAULT, DRAIN, RELOAD, REOPEN };

/* SIGRTMIN is not a constant: the C library takes the first of the real-time signals for itself. */
static enum action action_of(int number)
{
#define SIGNAL(name, action, meaning) SIGNAL_RANGE(name, name, action, meaning)
#define SIGNAL_RANGE(first, last, action, meaning)                                                 \
	if (number >= first && number <= last)                                                     \
		return action;
#include "control/signals.def"
#undef SIGNAL
#undef SIGNAL_RANGE
	return DEFAULT;
}

/* The signals with this action. */
static sigset_t set_of(enum action action)
{
	sigset_t set;

	sigemptyset(&set);
	for (int number = 1; number <= SIGRTMAX; number++)
		if (action_of(number) == action)
			sigaddset(&set, number);
	return set;
}

void signals_ignore(void)
{
	for (int number = 1; number <= SIGRTMAX; number++) {
		enum action action = action_of(number);

		if (action == IGNORE || action == RELOAD || action == REOPEN) {
			bool failed = signal(number, SIG_IGN) == SIG_ERR;

			CHECK(!failed);
		}
	}
}

int signals_take(void)
{
	sigset_t taken = set_of(DRAIN), reload = set_of(RELOAD), reopen = set_of(REOPEN);
	int fd, error;

	sigorset(&taken, &taken, &reload);
	sigorset(&taken, &taken, &reopen);
	/* a blocked signal is kept for the signalfd even where it is ignored */
	error = pthread_sigmask(SIG_BLOCK, &taken, NULL);
	CHECK(!error);
	fd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int signals_open_stop(void)
{
	sigset_t stops = set_of(DRAIN);

	return signalfd(-1, &stops, SFD_NONBLOCK | SFD_CLOEXEC);
}

enum signals_wish signals_read(int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return SIGNALS_NONE;
	switch (action_of((int)info.ssi_signo)) {
	case RELOAD:
		return SIGNALS_RELOAD;
	case REOPEN:
		return SIGNALS_REOPEN;
	default:
		return SIGNALS_DRAIN;
	}
}
