/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. A worker's loop runs ticks: run_tick(). A tick waits for events and takes
 * them, which marks sessions ready; then runs the ready sessions, and fires the timers that are
 * due. No handler of an event waits. Without work the wait has no time limit, so an idle worker
 * makes no system call.
 */
#include "relay/worker_parts.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"
#include "os/host.h"

/*
 * The most events of a tick: their sessions run when all events are taken. Scenario: small-512
 * (bench/).
 */
#define TICK_EVENT_LIMIT 256

void worker_wake_main(struct workers *workers)
{
	uint64_t one = 1;
	ssize_t written = write(workers->event_fd, &one, sizeof(one));

	(void)written; /* EAGAIN: the counter is full, so the main thread will wake anyway */
}

static void wake_waiting_workers(struct workers *workers, unsigned own)
{
	int waiting;

	while ((waiting = load_take_waiting(&workers->load)) >= 0)
		if ((unsigned)waiting != own)
			engine_wake(workers->engines[waiting]);
}

static void enter_phase(struct worker *worker)
{
	enum worker_phase phase = (enum worker_phase)atomic_load(&worker->workers->phase);

	if (phase == worker->phase)
		return;
	if (phase == WORKER_HOLD) {
		worker_hold(worker);
		return;
	}
	if (phase == WORKER_FREEZE)
		phase = worker_freeze(worker);
	if (phase == WORKER_SERVE) {
		listeners_release(&worker->listeners);
		worker->resume = true;
	} else if (worker->phase < WORKER_DRAIN) {
		listeners_close(&worker->listeners);
	}
	if (phase >= WORKER_EXPIRE)
		sessions_begin_end(&worker->sessions,
				   phase == WORKER_EXPIRE ? CLOSE_drain_timeout : CLOSE_stopped);
	worker->phase = phase;
	atomic_store(&worker->entered, (int)phase);
	worker_wake_main(worker->workers);
}

static bool is_over(struct worker *worker)
{
	return worker->phase >= WORKER_DRAIN && listeners_are_closed(&worker->listeners) &&
	       load_retire(&worker->workers->load, worker->sessions.worker);
}

static void dispatch(struct worker *worker, const struct engine_event *event)
{
	switch (engine_token_op(event->token)) {
	case ENGINE_OP_CONNECT:
	case ENGINE_OP_READY:
		sessions_on_event(&worker->sessions, event);
		break;
	case ENGINE_OP_WAKE:
		/* there may be a new phase, or room for a waiting connection */
		worker->resume = worker->phase == WORKER_SERVE;
		if (worker->phase == WORKER_SERVE)
			listeners_close_drained(&worker->listeners);
		break;
	default:
		listeners_on_event(&worker->listeners, event);
		break;
	}
}

static void fire_timers(struct worker *worker)
{
	struct timer *timer;

	while ((timer = timer_wheel_pop(&worker->wheel, worker->sessions.now_ms))) {
		if (timer->kind == LISTENER_TIMER)
			worker->resume = true;
		else
			sessions_on_timer(&worker->sessions, timer);
	}
}

/* Answers a part of the control thread's question, if there is one. */
void worker_work_on_query(struct worker *worker)
{
	enum query_progress progress = QUERY_NONE;

	if (worker->workers->queries)
		progress = queries_work(worker->workers->queries, &worker->sessions);
	worker->asked = progress == QUERY_MORE;
	if (progress == QUERY_ANSWERED)
		worker_wake_main(worker->workers);
}

/* Ends sessions that must not stay: sweep.h. The first worker that begins wakes the others. */
static void sweep(struct worker *worker)
{
	struct workers *workers = worker->workers;

	if (sweep_begin(&worker->sweep, &worker->sessions) &&
	    atomic_exchange(&workers->sweep_count, worker->sweep.count) != worker->sweep.count)
		for (unsigned i = 0; i < workers->count; i++)
			if (i != worker->sessions.worker)
				engine_wake(workers->engines[i]);
	if (!sweep_work(&worker->sweep, &worker->sessions))
		return;
	atomic_store(&worker->swept, true);
	worker_wake_main(workers);
}

/* Answers whether this worker turns, if the control thread asks. */
static void answer_pulse(struct worker *worker)
{
	struct pulse *pulse = worker->workers->pulse;

	if (pulse && pulse_answer(pulse, worker->sessions.worker))
		worker_wake_main(worker->workers);
}

/* Logs that the engine has paused because the kernel was short of memory. */
static void log_engine_pauses(struct worker *worker)
{
	uint64_t pauses = engine_take_pauses(worker->sessions.engine);
	struct log_line line;

	if (!pauses || !log_begin(&line, LOG_EVENT_kernel_short))
		return;
	log_number(&line, "pauses", pauses);
	log_text(&line, "remedy",
		 "give the host or the control group more memory (MemoryMax=), or lower --maxconn");
	log_end(&line);
}

int worker_take_events(struct worker *worker, int64_t timeout_ms)
{
	struct engine_event events[TICK_EVENT_LIMIT];
	struct sessions *sessions = &worker->sessions;
	int count = engine_wait(sessions->engine, timeout_ms, events, TICK_EVENT_LIMIT);

	if (count < 0)
		return count;
	log_engine_pauses(worker);
	sessions->now_ms = timer_now_ms();
	/* before the events: timers that they arm count from now, and those they cancel never fire */
	timer_wheel_advance(&worker->wheel, sessions->now_ms);
	for (int i = 0; i < count; i++)
		dispatch(worker, &events[i]);
	return 0;
}

static int run_tick(struct worker *worker)
{
	struct sessions *sessions = &worker->sessions;
	bool busy = sessions_are_ready(sessions) || sessions_are_ending(sessions) ||
		    worker->asked || worker->sweep.running;
	int error = worker_take_events(worker, busy ? 0 : timer_wheel_delay_ms(&worker->wheel));

	if (error)
		return error;
	enter_phase(worker);
	(void)sessions_end_some(sessions);
	sessions_run_ready(sessions);
	fire_timers(worker);
	worker_work_on_query(worker);
	sweep(worker);
	answer_pulse(worker);
	return 0;
}

/*
 * Tells the listeners of all workers what this tick means for accepting. Repeats this while
 * sessions that listeners_resume() opens end at once, or find no descriptor.
 */
static void settle_accepting(struct worker *worker)
{
	struct sessions *sessions = &worker->sessions;

	while (sessions->starved || sessions->released || worker->resume) {
		bool starved = sessions->starved, released = sessions->released;
		bool resume = worker->resume || released;

		sessions->starved = sessions->released = worker->resume = false;
		if (starved)
			listeners_pause(&worker->listeners);
		if (released)
			wake_waiting_workers(worker->workers, sessions->worker);
		if (resume)
			listeners_resume(&worker->listeners);
	}
}

static int serve(struct worker *worker)
{
	while (!is_over(worker)) {
		int error = run_tick(worker);

		if (error)
			return error;
		settle_accepting(worker);
	}
	return 0;
}

static void *run_worker(void *argument)
{
	struct worker *worker = argument;
	char name[16];
	int error;

	snprintf(name, sizeof(name), "sixpipe/%u", worker->sessions.worker);
	pthread_setname_np(pthread_self(), name);
	log_attach(worker->sessions.worker);
	/* if this is refused, the kernel chooses the CPU */
	if (worker->sessions.config->pin == CONFIG_PIN_ON)
		(void)host_pin_thread(worker->sessions.worker);
	error = engine_enable(worker->sessions.engine);
	if (!error) {
		worker->sessions.now_ms = timer_now_ms();
		/* sessions of another process have armed timers before */
		timer_wheel_advance(&worker->wheel, worker->sessions.now_ms);
		atomic_fetch_add(&worker->workers->up_count, 1);
		worker_wake_main(worker->workers);
		worker_begin_still(worker);
		error = serve(worker);
	}
	if (error) {
		struct log_line line;

		atomic_store(&worker->error, error);
		if (log_begin(&line, LOG_EVENT_engine_failed)) {
			log_error(&line, "error", error);
			log_end(&line);
		}
	}
	if (worker->workers->queries)
		queries_leave(worker->workers->queries, worker->sessions.worker);
	if (worker->workers->pulse)
		pulse_leave(worker->workers->pulse, worker->sessions.worker);
	atomic_fetch_add(&worker->workers->ended_count, 1);
	worker_wake_main(worker->workers);
	return NULL;
}

/* Running -------------------------------------------------------------------------------------- */

static void await_workers(struct workers *workers)
{
	while (atomic_load(&workers->up_count) + atomic_load(&workers->ended_count) <
	       workers->started_count)
		usleep(200);
}

/* Returns 0 with all threads up, or -errno with some of them. */
static int start_threads(struct workers *workers)
{
	int error = 0;

	for (unsigned i = 0; i < workers->count && !error; i++) {
		error = thread_start(&workers->list[i].thread, run_worker, &workers->list[i]);
		workers->started_count += !error;
	}
	await_workers(workers);
	return error ? error : workers_error(workers);
}

int workers_start(struct workers *workers)
{
	int error = workers->incomplete ? workers_complete(workers) : 0;

	error = error ? error : start_threads(workers);
	if (!error) {
		workers_serve(workers);
		return 0;
	}
	workers_enter(workers, WORKER_STOP);
	workers_join(workers);
	return error;
}

int workers_start_still(struct workers *workers)
{
	atomic_store(&workers->phase, WORKER_FREEZE);
	return start_threads(workers);
}

void workers_serve(struct workers *workers)
{
	for (unsigned i = 0; i < workers->count; i++)
		listeners_tune(&workers->list[i].listeners);
	workers_enter(workers, WORKER_SERVE);
}

void workers_enter(struct workers *workers, enum worker_phase phase)
{
	pthread_mutex_lock(&workers->still);
	atomic_store(&workers->phase, phase);
	pthread_cond_broadcast(&workers->thaw);
	pthread_mutex_unlock(&workers->still);
	workers_wake(workers);
}

void workers_wake(struct workers *workers)
{
	for (unsigned i = 0; i < workers->count; i++)
		engine_wake(workers->engines[i]);
}

void workers_ask_pulse(struct workers *workers)
{
	pulse_ask(workers->pulse);
}

unsigned workers_silent_count(const struct workers *workers)
{
	return atomic_load(&workers->phase) == WORKER_FREEZE ? 0
							     : pulse_silent_count(workers->pulse);
}

int workers_end_fd(const struct workers *workers)
{
	return workers->event_fd;
}

unsigned workers_running_count(const struct workers *workers)
{
	return workers->started_count - atomic_load(&workers->ended_count);
}

int workers_error(const struct workers *workers)
{
	for (unsigned i = 0; i < workers->started_count; i++)
		if (atomic_load(&workers->list[i].error))
			return atomic_load(&workers->list[i].error);
	return 0;
}

void workers_join(struct workers *workers)
{
	for (unsigned i = 0; i < workers->started_count; i++)
		pthread_join(workers->list[i].thread, NULL);
	workers->started_count = 0;
}
