#include "control/control.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include "base/log.h"
#include "control/signals.h"
#include "os/host.h"
#include "os/timer.h"

/* Signals, and workers that end or answer; then those of http.h and admin.h. */
#define OWN_POLL_FDS	 2
#define CHECKER_FDS_AT	 (OWN_POLL_FDS + HTTP_POLL_FDS + ADMIN_POLL_FDS)
#define NAMES_FDS_AT	 (CHECKER_FDS_AT + CHECKER_POLL_FDS)
#define SAVER_FDS_AT	 (NAMES_FDS_AT + NAMES_POLL_FDS)
#define CONTROL_POLL_FDS (SAVER_FDS_AT + SAVER_POLL_FDS)

struct control {
	const struct control_task *task;
	enum worker_phase phase;
	bool draining;	 /* since the first TERM, the delay included */
	uint64_t due_ms; /* when the delay or the drain is over; 0: never */
	bool given_up;	 /* a worker has not ended in WORKERS_END_LIMIT_MS */
};

/* How long workers may take to end once every session is being reset; a worker that takes longer hangs. */
#define WORKERS_END_LIMIT_MS 30000

static void log_stage(const struct control *control, enum log_event event)
{
	struct log_line line;

	if (!log_begin(&line, event))
		return;
	log_number(&line, "sessions", workers_metric(control->task->workers, METRIC_sessions_open));
	if (event == LOG_EVENT_drain_delayed)
		log_number(&line, "drain_delay_ms", control->task->drain_delay_ms);
	else
		log_number(&line, "drain_timeout_ms", control->task->drain_timeout_ms);
	log_end(&line);
}

static void enter(struct control *control, enum worker_phase phase, enum log_event event)
{
	control->phase = phase;
	control->due_ms = phase >= WORKER_EXPIRE ? timer_now_ms() + WORKERS_END_LIMIT_MS : 0;
	workers_enter(control->task->workers, phase);
	log_stage(control, event);
}

static void begin_drain(struct control *control)
{
	enter(control, WORKER_DRAIN, LOG_EVENT_draining);
	if (control->task->drain_timeout_ms)
		control->due_ms = timer_now_ms() + control->task->drain_timeout_ms;
}

static void on_terminate(struct control *control)
{
	if (control->draining) {
		if (control->phase != WORKER_STOP)
			enter(control, WORKER_STOP, LOG_EVENT_stopping);
		return;
	}
	control->draining = true;
	/* now, for a service manager that loses patience ends the process before the drain is over */
	if (control->task->saver)
		saver_ask(control->task->saver);
	if (control->task->drain_delay_ms) {
		control->due_ms = timer_now_ms() + control->task->drain_delay_ms;
		log_stage(control, LOG_EVENT_drain_delayed);
	} else {
		begin_drain(control);
	}
}

/* Goes on where what the first TERM began has lasted long enough. */
static void end_stage(struct control *control)
{
	if (!control->due_ms || timer_now_ms() < control->due_ms)
		return;
	if (control->phase == WORKER_SERVE)
		begin_drain(control);
	else if (control->phase == WORKER_DRAIN)
		enter(control, WORKER_EXPIRE, LOG_EVENT_stopping);
	else
		control->given_up = true;
}

/* What the workers ended with, or that one of them has not ended in time. */
static int outcome(const struct control *control)
{
	struct log_line line;

	if (!control->given_up || !workers_running_count(control->task->workers))
		return workers_error(control->task->workers);
	if (log_begin(&line, LOG_EVENT_worker_hangs)) {
		log_number(&line, "workers", workers_running_count(control->task->workers));
		log_number(&line, "waited_ms", WORKERS_END_LIMIT_MS);
		log_end(&line);
	}
	return -ETIMEDOUT;
}

static void on_signals(struct control *control)
{
	enum signals_wish wish;
	struct log_line line;

	while ((wish = signals_read(control->task->signal_fd)) != SIGNALS_NONE) {
		if (wish == SIGNALS_DRAIN)
			on_terminate(control);
		else if (log_begin(&line, LOG_EVENT_reload_ignored))
			log_end(&line);
	}
}

/* How long poll(2) may wait for what is due at `due_ms`, 0 for never; -1: for ever. */
static int wait_until(uint64_t due_ms)
{
	uint64_t now_ms = timer_now_ms();

	if (!due_ms)
		return -1;
	return due_ms <= now_ms ? 0 : (int)MIN(due_ms - now_ms, (uint64_t)INT_MAX);
}

/* The shorter of two waits for poll(2); -1 is no end. */
static int shorter(int a_ms, int b_ms)
{
	return a_ms < 0 ? b_ms : b_ms < 0 ? a_ms : MIN(a_ms, b_ms);
}

/* How long poll(2) may wait, until something is due here or there, and what it waits for. */
static int prepare_poll(const struct control *control, struct pollfd fds[CONTROL_POLL_FDS])
{
	const struct control_task *task = control->task;
	int wait_ms = wait_until(control->due_ms);

	fds[0] = (struct pollfd){.fd = task->signal_fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = workers_end_fd(task->workers), .events = POLLIN};
	for (unsigned i = OWN_POLL_FDS; i < CONTROL_POLL_FDS; i++)
		fds[i].fd = -1;
	if (task->http)
		wait_ms = shorter(wait_ms, http_prepare_poll(task->http, fds + OWN_POLL_FDS));
	if (task->admin)
		wait_ms = shorter(wait_ms, admin_prepare_poll(task->admin,
							      fds + OWN_POLL_FDS + HTTP_POLL_FDS));
	if (task->checker)
		wait_ms =
			shorter(wait_ms, checker_prepare_poll(task->checker, fds + CHECKER_FDS_AT));
	if (task->names)
		wait_ms = shorter(wait_ms, names_prepare_poll(task->names, fds + NAMES_FDS_AT));
	if (task->saver)
		wait_ms = shorter(wait_ms, saver_prepare_poll(task->saver, fds + SAVER_FDS_AT));
	return wait_ms;
}

/*
 * poll(2) for those that are open: it refuses more entries than the process may have descriptors, those
 * that it would pass over included.
 */
static void poll_open(struct pollfd fds[CONTROL_POLL_FDS], int wait_ms)
{
	struct pollfd open[CONTROL_POLL_FDS];
	unsigned places[CONTROL_POLL_FDS];
	unsigned count = 0;

	for (unsigned i = 0; i < CONTROL_POLL_FDS; i++) {
		fds[i].revents = 0;
		if (fds[i].fd < 0)
			continue;
		places[count] = i;
		open[count++] = fds[i];
	}
	host_poll(open, count, wait_ms);
	for (unsigned i = 0; i < count; i++)
		fds[places[i]].revents = open[i].revents;
}

int control_run(const struct control_task *task)
{
	struct control control = {.task = task, .phase = WORKER_SERVE};
	struct pollfd fds[CONTROL_POLL_FDS];

	while (workers_running_count(task->workers) && !workers_error(task->workers) &&
	       !control.given_up) {
		int wait_ms = prepare_poll(&control, fds);
		uint64_t ended;

		poll_open(fds, wait_ms);
		on_signals(&control);
		end_stage(&control);
		/* so that poll(2) waits for the next end; the loop itself asks which workers run */
		if (read(fds[1].fd, &ended, sizeof(ended)) < 0)
			ended = 0;
		if (task->http)
			http_run(task->http, control.draining);
		if (task->admin)
			admin_run(task->admin);
		if (task->checker)
			checker_run(task->checker, fds + CHECKER_FDS_AT);
		if (task->names)
			names_run(task->names, fds + NAMES_FDS_AT);
		if (task->saver)
			saver_run(task->saver);
	}
	/* whoever asked has an answer by now: the workers have gone */
	if (task->admin)
		admin_run(task->admin);
	return outcome(&control);
}
