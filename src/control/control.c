/* SPDX-License-Identifier: MIT */
#include "control/control.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "control/lookup.h"
#include "control/signals.h"
#include "os/timer.h"

/* Two each for signals and workers, and for HTTP; one each for saver and service manager. */
_Static_assert(2 + 2 + CAPACITY_ADMIN_DESCRIPTORS + CHECKER_PARALLEL_LIMIT + LOOKUP_POLL_FDS + 2 <=
		       POLL_SET_LIMIT,
	       "the control loop never waits for more than a set holds");

/* The time for workers to end once every session is being reset. */
#define WORKERS_END_LIMIT_MS 30000

/* The time for the answers to those who asked before a takeover. */
#define LAST_ANSWERS_LIMIT_MS 1000

/* The time for the last save and the last log lines. */
#define LAST_WORK_LIMIT_MS (SAVER_END_LIMIT_MS + 2 * LOG_FLUSH_LIMIT_S * 1000)

/* The order of the end ------------------------------------------------------------------------- */

static void enter(struct control_end *end, enum control_stage stage, uint64_t now_ms)
{
	/* 0: the stage does not end by itself */
	const uint64_t limits_ms[] = {
		[CONTROL_LEFT] = end->drain_timeout_ms,
		[CONTROL_DELAYED] = end->drain_delay_ms,
		[CONTROL_DRAINING] = end->drain_timeout_ms,
		[CONTROL_EXPIRED] = WORKERS_END_LIMIT_MS,
		[CONTROL_STOPPING] = WORKERS_END_LIMIT_MS,
		[CONTROL_HANGING] = 0,
	};

	end->stage = stage;
	end->due_ms = limits_ms[stage] ? now_ms + limits_ms[stage] : POLL_SET_NEVER;
}

bool control_terminate(struct control_end *end, uint64_t now_ms)
{
	if (end->stage >= CONTROL_STOPPING)
		return false;
	if (end->stage == CONTROL_SERVING)
		enter(end, end->drain_delay_ms ? CONTROL_DELAYED : CONTROL_DRAINING, now_ms);
	else if (end->stage == CONTROL_LEFT)
		enter(end, CONTROL_DRAINING, now_ms);
	else
		enter(end, CONTROL_STOPPING, now_ms);
	return true;
}

bool control_expire(struct control_end *end, uint64_t now_ms)
{
	static const enum control_stage next[] = {
		[CONTROL_SERVING] = CONTROL_SERVING,  [CONTROL_LEFT] = CONTROL_EXPIRED,
		[CONTROL_DELAYED] = CONTROL_DRAINING, [CONTROL_DRAINING] = CONTROL_EXPIRED,
		[CONTROL_EXPIRED] = CONTROL_HANGING,  [CONTROL_STOPPING] = CONTROL_HANGING,
		[CONTROL_HANGING] = CONTROL_HANGING,
	};

	if (now_ms < end->due_ms)
		return false;
	enter(end, next[end->stage], now_ms);
	return true;
}

void control_leave(struct control_end *end, uint64_t now_ms)
{
	end->left = true;
	enter(end, CONTROL_LEFT, now_ms);
}

uint64_t control_time_left_ms(const struct control_end *end)
{
	uint64_t stage_ms[] = {
		[CONTROL_SERVING] = 0,
		[CONTROL_LEFT] = 0,
		[CONTROL_DELAYED] = end->drain_delay_ms + end->drain_timeout_ms,
		[CONTROL_DRAINING] = end->drain_timeout_ms,
		[CONTROL_EXPIRED] = 0,
		[CONTROL_STOPPING] = 0,
		[CONTROL_HANGING] = 0,
	};

	if (end->stage == CONTROL_SERVING ||
	    (end->stage == CONTROL_DRAINING && !end->drain_timeout_ms))
		return 0;
	return stage_ms[end->stage] + WORKERS_END_LIMIT_MS + LAST_WORK_LIMIT_MS;
}

/* Stages --------------------------------------------------------------------------------------- */

static void log_stage(const struct control_task *task, enum log_event event)
{
	struct log_line line;

	if (!log_begin(&line, event))
		return;
	log_number(&line, "sessions",
		   event == LOG_EVENT_takeover_left
			   ? takeover_give_outcome(task->takeover).left_count
			   : workers_metric(task->workers, METRIC_sessions_open));
	if (event == LOG_EVENT_takeover_left)
		log_text(&line, "cause", takeover_give_cause(task->takeover));
	if (event == LOG_EVENT_drain_delayed)
		log_number(&line, "drain_delay_ms", task->drain_delay_ms);
	else
		log_number(&line, "drain_timeout_ms", task->drain_timeout_ms);
	log_end(&line);
}

/* Tells the workers and the service manager which stage has begun, and logs it. */
static void begin_stage(const struct control_task *task, const struct control_end *end)
{
	static const struct {
		enum worker_phase phase;
		enum log_event event;
		const char *word; /* for the service manager */
	} stages[] = {
		[CONTROL_LEFT] = {.event = LOG_EVENT_takeover_left},
		[CONTROL_DELAYED] = {WORKER_SERVE, LOG_EVENT_drain_delayed,
				     "accepting until the drain begins"},
		[CONTROL_DRAINING] = {WORKER_DRAIN, LOG_EVENT_draining, "draining"},
		[CONTROL_EXPIRED] = {WORKER_EXPIRE, LOG_EVENT_stopping, "resetting"},
		[CONTROL_STOPPING] = {WORKER_STOP, LOG_EVENT_stopping, "resetting"},
	};
	enum control_stage stage = end->stage;

	if (stage == CONTROL_HANGING)
		return;
	/* the new process tells the service manager */
	if (task->manager && !end->left)
		manager_enter(task->manager, &(struct manager_stage){
						     .word = stages[stage].word,
						     .due_ms = end->due_ms,
						     .extend_ms = control_time_left_ms(end),
					     });
	/* workers_leave() has told them already */
	if (stage > CONTROL_DELAYED)
		workers_enter(task->workers, stages[stage].phase);
	log_stage(task, stages[stage].event);
}

static void on_terminate(const struct control_task *task, struct control_end *end)
{
	/* now: a service manager that loses patience ends the process before the drain is over */
	if (end->stage == CONTROL_SERVING && task->saver)
		saver_ask(task->saver);
	/* the new process was not told to drain, and workers that drain cannot stand still */
	if (end->stage == CONTROL_SERVING && task->takeover)
		takeover_give_cancel(task->takeover);
	if (control_terminate(end, timer_now_ms()))
		begin_stage(task, end);
}

static void on_signals(const struct control_task *task, struct control_end *end,
		       struct signals_count *count)
{
	enum signals_wish wish;
	struct log_line line;

	while ((wish = signals_read(task->signal_fd, count)) != SIGNALS_NONE) {
		if (wish == SIGNALS_DRAIN)
			on_terminate(task, end);
		else if (wish == SIGNALS_REOPEN)
			log_reopen();
		else if (task->takeover && end->stage == CONTROL_SERVING)
			takeover_give_ask(task->takeover, wish == SIGNALS_UPGRADE
								  ? TAKEOVER_UPGRADE
								  : TAKEOVER_RELOAD);
		else if (log_begin(&line, LOG_EVENT_takeover_refused))
			log_end(&line);
	}
}

/* The first error of a worker, or -ETIMEDOUT if a worker has not ended in time. */
static int outcome(const struct control_task *task, const struct control_end *end)
{
	struct log_line line;

	if (end->stage != CONTROL_HANGING || !workers_running_count(task->workers))
		return workers_error(task->workers);
	if (log_begin(&line, LOG_EVENT_worker_hangs)) {
		log_number(&line, "workers", workers_running_count(task->workers));
		log_number(&line, "waited_ms", WORKERS_END_LIMIT_MS);
		log_end(&line);
	}
	return -ETIMEDOUT;
}

/* The loop ------------------------------------------------------------------------------------- */

/* What a process does only until another one has taken over. */
static void prepare_serving(const struct control_task *task, struct poll_set *set)
{
	if (task->checker)
		checker_prepare_poll(task->checker, set);
	if (task->names)
		names_prepare_poll(task->names, set);
	if (task->saver)
		saver_prepare_poll(task->saver, set);
	if (task->manager)
		manager_prepare_poll(task->manager, set);
	if (task->takeover)
		takeover_give_prepare_poll(task->takeover, set);
}

static void wait_for_something(const struct control_task *task, const struct control_end *end,
			       struct poll_set *set)
{
	poll_set_begin(set);
	poll_set_add(set, task->signal_fd, POLLIN);
	poll_set_add(set, workers_end_fd(task->workers), POLLIN);
	poll_set_due(set, end->due_ms);
	if (task->http)
		http_prepare_poll(task->http, set);
	if (task->admin)
		admin_prepare_poll(task->admin, set);
	if (!end->left)
		prepare_serving(task, set);
	poll_set_wait(set);
}

static void run_serving(const struct control_task *task, struct control_end *end,
			const struct poll_set *set)
{
	if (task->checker)
		checker_run(task->checker, set);
	if (task->names)
		names_run(task->names, set);
	if (task->saver)
		saver_run(task->saver);
	if (task->manager)
		manager_run(task->manager);
	if (task->takeover && takeover_give_run(task->takeover)) {
		control_leave(end, timer_now_ms());
		begin_stage(task, end);
	}
}

/* Asks for what `sixpipe reload` and `sixpipe upgrade` wish, and answers them when it has ended. */
static void run_wishes(const struct control_task *task, const struct control_end *end)
{
	const bool serves = task->takeover && end->stage == CONTROL_SERVING;
	enum admin_wish wish = admin_take_wish(
		task->admin, serves ? takeover_give_next(task->takeover) : UINT_MAX);
	struct admin_outcome answer = {.number = UINT_MAX, .code = EXIT_FAILURE};
	struct takeover_outcome outcome;

	if (wish && serves)
		takeover_give_ask(task->takeover, wish == ADMIN_WISHES_UPGRADE ? TAKEOVER_UPGRADE
									       : TAKEOVER_RELOAD);
	if (!serves && !end->left) {
		answer.text =
			"sixpipe drains and then ends; start it again to use the new configuration";
	} else {
		outcome = takeover_give_outcome(task->takeover);
		answer = (struct admin_outcome){
			.number = end->left ? UINT_MAX : outcome.count,
			.code = outcome.code,
			.text = outcome.text,
			.moved_count = outcome.moved_count,
			.left_count = outcome.left_count,
		};
	}
	admin_answer_wishes(task->admin, &answer);
}

static void run_admin(const struct control_task *task, struct control_end *end)
{
	admin_run(task->admin, end->stage != CONTROL_SERVING);
	if (admin_take_drain(task->admin) && end->stage == CONTROL_SERVING)
		on_terminate(task, end);
}

/* Answers those who have asked before another process took over, for a second at most. */
static void answer_last(const struct control_task *task)
{
	const uint64_t due_ms = timer_now_ms() + LAST_ANSWERS_LIMIT_MS;
	struct poll_set set;

	while (timer_now_ms() < due_ms && ((task->http && http_is_busy(task->http)) ||
					   (task->admin && admin_is_busy(task->admin)))) {
		poll_set_begin(&set);
		poll_set_due(&set, due_ms);
		if (task->http)
			http_prepare_poll(task->http, &set);
		if (task->admin)
			admin_prepare_poll(task->admin, &set);
		poll_set_wait(&set);
		if (task->http)
			http_run(task->http, true);
		if (task->admin)
			admin_run(task->admin, true);
	}
}

int control_run(const struct control_task *task, bool *left)
{
	struct control_end end = {
		.due_ms = POLL_SET_NEVER,
		.drain_delay_ms = task->drain_delay_ms,
		.drain_timeout_ms = task->drain_timeout_ms,
	};
	struct signals_count count = {0};
	struct poll_set set;

	while (workers_running_count(task->workers) && !workers_error(task->workers) &&
	       end.stage != CONTROL_HANGING) {
		uint64_t ended;

		wait_for_something(task, &end, &set);
		on_signals(task, &end, &count);
		if (control_expire(&end, timer_now_ms()))
			begin_stage(task, &end);
		/* so that poll(2) waits for the next end; the loop asks which workers run */
		if (read(workers_end_fd(task->workers), &ended, sizeof(ended)) < 0)
			ended = 0;
		if (task->http)
			http_run(task->http, end.stage != CONTROL_SERVING);
		if (task->admin)
			run_admin(task, &end);
		if (!end.left)
			run_serving(task, &end, &set);
		if (task->admin)
			run_wishes(task, &end);
	}
	/* the workers have gone, so every query has its answer */
	if (task->admin) {
		admin_run(task->admin, true);
		run_wishes(task, &end);
	}
	if (end.left)
		answer_last(task);
	*left = end.left;
	return outcome(task, &end);
}
