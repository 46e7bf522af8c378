#include "control/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/check.h"

enum action { IGNORE, DEFAULT, DRAIN, RELOAD };

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

/* The signals with either action. */
static sigset_t set_of(enum action one, enum action other)
{
	sigset_t set;

	sigemptyset(&set);
	for (int number = 1; number <= SIGRTMAX; number++)
		if (action_of(number) == one || action_of(number) == other)
			sigaddset(&set, number);
	return set;
}

void signals_ignore(void)
{
	for (int number = 1; number <= SIGRTMAX; number++)
		if (action_of(number) == IGNORE || action_of(number) == RELOAD) {
			bool failed = signal(number, SIG_IGN) == SIG_ERR;

			CHECK(!failed);
		}
}

int signals_take(void)
{
	sigset_t taken = set_of(DRAIN, RELOAD);
	int fd, error;

	/* a blocked signal is kept for the signalfd even where it is ignored */
	error = pthread_sigmask(SIG_BLOCK, &taken, NULL);
	CHECK(!error);
	fd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int signals_open_stop(void)
{
	sigset_t stops = set_of(DRAIN, DRAIN);

	return signalfd(-1, &stops, SFD_NONBLOCK | SFD_CLOEXEC);
}

enum signals_wish signals_read(int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return SIGNALS_NONE;
	return action_of((int)info.ssi_signo) == RELOAD ? SIGNALS_RELOAD : SIGNALS_DRAIN;
}
