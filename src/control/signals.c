/* SPDX-License-Identifier: MIT */
#include "control/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/check.h"
#include "base/util.h"

enum action { IGNORE, DEFAULT, DRAIN, RELOAD, UPGRADE, REOPEN };

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

/* The signals that the control loop reads. */
static sigset_t set_of_taken(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (int number = 1; number <= SIGRTMAX; number++)
		if (action_of(number) != IGNORE && action_of(number) != DEFAULT)
			sigaddset(&set, number);
	return set;
}

void signals_ignore(void)
{
	for (int number = 1; number <= SIGRTMAX; number++) {
		enum action action = action_of(number);

		if (action != DEFAULT && action != DRAIN) {
			bool failed = signal(number, SIG_IGN) == SIG_ERR;

			CHECK(!failed);
		}
	}
}

int signals_take(void)
{
	sigset_t taken = set_of_taken();
	int fd, error;

	/* a blocked signal is kept for the signalfd even where it is ignored */
	error = pthread_sigmask(SIG_BLOCK, &taken, NULL);
	CHECK(!error);
	fd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int signals_open_stop(void)
{
	sigset_t stops;

	sigemptyset(&stops);
	for (int number = 1; number <= SIGRTMAX; number++)
		if (signals_is_end(number))
			sigaddset(&stops, number);
	return signalfd(-1, &stops, SFD_NONBLOCK | SFD_CLOEXEC);
}

void signals_count(struct signals_count *count, const struct signalfd_siginfo *info)
{
	if (info->ssi_code == SI_QUEUE && (pid_t)info->ssi_pid == getppid())
		count->passed = MAX(count->passed, (unsigned)info->ssi_int);
	else
		count->own++;
}

enum signals_wish signals_read(int fd, struct signals_count *count)
{
	struct signalfd_siginfo info;

	while (count->told == MAX(count->own, count->passed)) {
		if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
			return SIGNALS_NONE;
		switch (action_of((int)info.ssi_signo)) {
		case RELOAD:
			return SIGNALS_RELOAD;
		case UPGRADE:
			return SIGNALS_UPGRADE;
		case REOPEN:
			return SIGNALS_REOPEN;
		default:
			signals_count(count, &info);
		}
	}
	count->told++;
	return SIGNALS_DRAIN;
}

/* The parent ------------------------------------------------------------------------------------ */

sigset_t signals_passed_on(void)
{
	sigset_t set = set_of_taken();

	/* a core dump is wanted of the process that serves */
	sigaddset(&set, SIGABRT);
	/* systemd sends it after a signal that ends a process, which may be stopped */
	sigaddset(&set, SIGCONT);
	return set;
}

bool signals_is_for_all(int number)
{
	return action_of(number) != RELOAD && action_of(number) != UPGRADE;
}

bool signals_is_end(int number)
{
	return action_of(number) == DRAIN;
}
