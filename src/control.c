#include "control.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "check.h"
#include "log.h"
#include "timer.h"

struct control {
	struct workers *workers;
	uint64_t drain_timeout_ms;
	enum worker_phase phase;
	uint64_t drain_ends_ms; /* 0: it has no end */
};

int control_take_signals(void)
{
	sigset_t taken;
	int fd;

	sigemptyset(&taken);
	sigaddset(&taken, SIGTERM);
	sigaddset(&taken, SIGINT);
	sigaddset(&taken, SIGHUP);
	CHECK(!pthread_sigmask(SIG_BLOCK, &taken, NULL));
	CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	CHECK(signal(SIGUSR2, SIG_IGN) != SIG_ERR);
	/* as PID 1 of a container it inherits orphans: ignored, the kernel reaps them */
	CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
	fd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static void enter(struct control *control, enum worker_phase phase, enum log_event event)
{
	struct log_line line;

	control->phase = phase;
	workers_enter(control->workers, phase);
	if (!log_begin(&line, event))
		return;
	log_number(&line, "sessions", workers_metric(control->workers, METRIC_sessions_open));
	log_number(&line, "drain_timeout_ms", control->drain_timeout_ms);
	log_end(&line);
}

static void on_terminate(struct control *control)
{
	if (control->phase == WORKER_SERVE) {
		if (control->drain_timeout_ms)
			control->drain_ends_ms = timer_now_ms() + control->drain_timeout_ms;
		enter(control, WORKER_DRAIN, LOG_EVENT_draining);
	} else if (control->phase != WORKER_STOP) {
		enter(control, WORKER_STOP, LOG_EVENT_stopping);
	}
}

static void on_signals(struct control *control, int signal_fd)
{
	struct signalfd_siginfo info;
	struct log_line line;

	while (read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo != SIGHUP)
			on_terminate(control);
		else if (log_begin(&line, LOG_EVENT_reload_ignored))
			log_end(&line);
	}
}

/* How long poll(2) may wait: to the end of the drain, where it has one. */
static int wait_ms(const struct control *control)
{
	uint64_t now_ms = timer_now_ms();

	if (control->phase != WORKER_DRAIN || !control->drain_ends_ms)
		return -1;
	if (now_ms >= control->drain_ends_ms)
		return 0;
	return (int)MIN(control->drain_ends_ms - now_ms, (uint64_t)INT_MAX);
}

int control_run(struct workers *workers, int signal_fd, uint64_t drain_timeout_ms)
{
	struct control control = {
		.workers = workers,
		.drain_timeout_ms = drain_timeout_ms,
		.phase = WORKER_SERVE,
	};
	struct pollfd fds[] = {
		{.fd = signal_fd, .events = POLLIN},
		{.fd = workers_end_fd(workers), .events = POLLIN},
	};

	while (workers_running_count(workers) && !workers_error(workers)) {
		int timeout_ms = wait_ms(&control);
		uint64_t ended;

		if (timeout_ms == 0)
			enter(&control, WORKER_EXPIRE, LOG_EVENT_stopping);
		else if (poll(fds, ARRAY_COUNT(fds), timeout_ms) < 0)
			CHECK(errno == EINTR);
		if (fds[0].revents)
			on_signals(&control, signal_fd);
		if (fds[1].revents && read(fds[1].fd, &ended, sizeof(ended)) < 0)
			CHECK(errno == EAGAIN);
	}
	return workers_error(workers);
}
