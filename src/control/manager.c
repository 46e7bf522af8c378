/* SPDX-License-Identifier: MIT */
#include "control/manager.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "os/timer.h"

/* The least time between two STATUS= without a watchdog. */
#define STATUS_PERIOD_MS 10000

/* The same during the drain, where the words count the seconds. */
#define DRAIN_PERIOD_MS 1000

/* More than the start needs after it has waited. */
#define START_SPARE_MS 30000

/* Parts of a message. */
enum {
	PART_READY = 1,
	PART_STOPPING = 2,
	PART_EXTEND = 4,
	PART_ALIVE = 8,
	PART_STATUS = 16,
};

/* Words ---------------------------------------------------------------------------------------- */

const char *manager_print_count(uint64_t count, const char *noun, char text[MANAGER_COUNT_BYTES])
{
	if (!count)
		snprintf(text, MANAGER_COUNT_BYTES, "no %ss", noun);
	else
		snprintf(text, MANAGER_COUNT_BYTES, "%" PRIu64 " %s%s", count, noun,
			 count == 1 ? "" : "s");
	return text;
}

void manager_copy_words(char status[MANAGER_STATUS_BYTES], const char *words)
{
	size_t used = 0;

	while (*words) {
		size_t length = utf8_printable(words, strlen(words));
		size_t taken = MAX(length, 1U);

		if (used + taken >= MANAGER_STATUS_BYTES)
			break;
		memcpy(status + used, length ? words : "?", taken);
		used += taken;
		words += taken;
	}
	status[used] = '\0';
}

static void print_serving(const struct manager *manager, char *text, size_t bytes)
{
	const struct workers *workers = manager->workers;
	const struct forwards *forwards = workers_forwards(workers);
	uint64_t up = workers_metric(workers, METRIC_backends_up);
	uint64_t down = workers_metric(workers, METRIC_backends_down);
	int failed = workers_failed_listener(workers);
	char sessions[MANAGER_COUNT_BYTES], count[MANAGER_COUNT_BYTES];
	size_t length =
		(size_t)snprintf(text, bytes, "forwarding: %s, %s",
				 manager_print_count(workers_metric(workers, METRIC_sessions_open),
						     "session", sessions),
				 manager_print_count(forwards->count, "forward", count));

	if (down)
		length += (size_t)snprintf(
			text + length, bytes - length, "; %" PRIu64 " of %s %s down", down,
			manager_print_count(up + down, "backend", count), down == 1 ? "is" : "are");
	if (failed >= 0)
		snprintf(text + length, bytes - length, "; the listener of forward %s has failed",
			 forwards->list[failed].config->name);
}

static void print_ending(const struct manager *manager, uint64_t now_ms, char *text, size_t bytes)
{
	const struct manager_stage *stage = &manager->stage;
	char sessions[MANAGER_COUNT_BYTES];
	uint64_t left_ms = stage->due_ms > now_ms ? stage->due_ms - now_ms : 0;

	manager_print_count(workers_metric(manager->workers, METRIC_sessions_open), "session",
			    sessions);
	if (stage->due_ms == POLL_SET_NEVER)
		snprintf(text, bytes, "%s: %s left, without a time limit", stage->word, sessions);
	else
		snprintf(text, bytes, "%s: %s left, at most %" PRIu64 " s more", stage->word,
			 sessions, (left_ms + 999) / 1000);
}

/* Messages ------------------------------------------------------------------------------------- */

static void tell_failure(struct manager *manager, int error)
{
	struct log_line line;

	if (manager->failed || !log_begin(&line, LOG_EVENT_notify_failed))
		return;
	manager->failed = true;
	log_error(&line, "error", error);
	log_text(&line, "effect",
		 "the service manager does not know that sixpipe is ready, and may end it");
	log_text(&line, "remedy",
		 "set NOTIFY_SOCKET to the path of a socket, or to @NAME; or unset it, and use "
		 "Type=exec");
	log_end(&line);
}

/* Sends the parts that are to be sent. They stay if the manager's socket is full. */
static void send_parts(struct manager *manager)
{
	char text[NOTIFY_TEXT_BYTES], extend[64] = "";
	int result;

	if (!manager->unsent || manager->quiet || !manager_listens(manager))
		return;
	if (manager->unsent & PART_EXTEND)
		snprintf(extend, sizeof(extend), "EXTEND_TIMEOUT_USEC=%" PRIu64 "000\n",
			 manager->stage.extend_ms);
	snprintf(text, sizeof(text), "%s%s%s%s%s%s",
		 manager->unsent & PART_READY ? "READY=1\n" : "",
		 manager->unsent & PART_STOPPING ? "STOPPING=1\n" : "", extend,
		 manager->unsent & PART_ALIVE ? "WATCHDOG=1\n" : "",
		 manager->unsent & PART_STATUS ? "STATUS=" : "",
		 manager->unsent & PART_STATUS ? manager->status : "");
	result = notify_send(&manager->notify, text);
	if (result == -EAGAIN)
		return;
	if (result)
		tell_failure(manager, result);
	manager->unsent = 0;
}

/* Sends the words, with other parts. */
static void tell(struct manager *manager, const char *words, unsigned parts)
{
	manager_copy_words(manager->status, words);
	manager->unsent |= parts | PART_STATUS;
	send_parts(manager);
}

/* Start and end -------------------------------------------------------------------------------- */

void manager_open(struct manager *manager, bool quiet)
{
	int error;

	*manager = (struct manager){.look_due_ms = POLL_SET_NEVER, .quiet = quiet};
	error = notify_open(&manager->notify);
	if (error)
		tell_failure(manager, error);
}

void manager_close(struct manager *manager)
{
	notify_close(&manager->notify);
}

bool manager_listens(const struct manager *manager)
{
	return manager->notify.fd >= 0;
}

void manager_wait(struct manager *manager, const char *what, uint64_t limit_ms)
{
	char words[MANAGER_STATUS_BYTES];

	snprintf(words, sizeof(words), "starting: waiting for %s, at most %" PRIu64 " s", what,
		 (limit_ms + 999) / 1000);
	manager->stage.extend_ms = limit_ms + START_SPARE_MS;
	tell(manager, words, PART_EXTEND);
}

void manager_fail_words(struct manager *manager, const char *words)
{
	tell(manager, words, 0);
}

void manager_fail(struct manager *manager, const struct config_errors *errors)
{
	char words[FAULT_TEXT_BYTES + 64], text[FAULT_TEXT_BYTES];
	unsigned others = errors->count + errors->more - 1;

	if (!errors->count)
		return;
	fault_print_reason(&errors->list[0], text);
	if (others)
		snprintf(words, sizeof(words), "failed: %s (and %u more)", text, others);
	else
		snprintf(words, sizeof(words), "failed: %s", text);
	tell(manager, words, 0);
}

void manager_ready(struct manager *manager, struct workers *workers)
{
	char words[MANAGER_STATUS_BYTES];

	if (!manager_listens(manager))
		return;
	manager->workers = workers;
	manager->quiet = false;
	manager->unsent = 0;
	manager->look_due_ms = timer_now_ms();
	watchdog_init(&manager->watchdog, notify_watchdog_ms(), timer_now_ms());
	print_serving(manager, words, sizeof(words));
	tell(manager, words, PART_READY);
}

void manager_enter(struct manager *manager, const struct manager_stage *stage)
{
	char words[MANAGER_STATUS_BYTES];
	uint64_t now_ms = timer_now_ms();

	if (!manager->workers)
		return;
	manager->stage = *stage;
	manager->look_due_ms = now_ms + DRAIN_PERIOD_MS;
	print_ending(manager, now_ms, words, sizeof(words));
	tell(manager, words, PART_STOPPING | (stage->extend_ms ? PART_EXTEND : 0));
}

/* The loop ------------------------------------------------------------------------------------- */

void manager_prepare_poll(const struct manager *manager, struct poll_set *set)
{
	if (manager->unsent)
		poll_set_add(set, manager->notify.fd, POLLOUT);
	poll_set_due(set, manager->look_due_ms);
	poll_set_due(set, watchdog_due_ms(&manager->watchdog));
}

static void complain(const struct manager *manager, uint64_t now_ms)
{
	struct log_line line;

	if (!log_begin(&line, LOG_EVENT_worker_silent))
		return;
	log_number(&line, "workers", workers_silent_count(manager->workers));
	log_number(&line, "waited_ms", now_ms - manager->watchdog.asked_ms);
	log_text(&line, "effect", "the service manager gets no WATCHDOG=1, and may end sixpipe");
	log_text(&line, "remedy",
		 "give sixpipe CPU time (CPUWeight=, CPUQuota=); otherwise report this error");
	log_end(&line);
}

static void run_watchdog(struct manager *manager, uint64_t now_ms)
{
	struct workers *workers = manager->workers;
	enum watchdog_step step;

	while ((step = watchdog_next(&manager->watchdog, workers_silent_count(workers), now_ms)) !=
	       WATCHDOG_REST) {
		if (step == WATCHDOG_ASK) {
			workers_ask_pulse(workers);
			workers_wake(workers);
		} else if (step == WATCHDOG_TELL) {
			manager->unsent |= PART_ALIVE;
			manager->look_due_ms = MIN(manager->look_due_ms, now_ms);
		} else {
			complain(manager, now_ms);
		}
	}
}

/* Compares the words with those that were sent last, if it is time. */
static void look(struct manager *manager, uint64_t now_ms)
{
	char words[MANAGER_STATUS_BYTES], now[MANAGER_STATUS_BYTES];

	if (manager->watching &&
	    workers_silent_count(manager->workers) < workers_running_count(manager->workers)) {
		manager->watching = false;
		manager->look_due_ms = manager->told_ms + STATUS_PERIOD_MS;
	}
	if (now_ms < manager->look_due_ms)
		return;
	if (manager->stage.word)
		print_ending(manager, now_ms, words, sizeof(words));
	else
		print_serving(manager, words, sizeof(words));
	manager_copy_words(now, words);
	if (strcmp(now, manager->status) != 0) {
		manager->told_ms = now_ms;
		strcpy(manager->status, now);
		manager->unsent |= PART_STATUS;
	}
	manager->look_due_ms = POLL_SET_NEVER;
	if (manager->stage.word) {
		manager->look_due_ms = now_ms + DRAIN_PERIOD_MS;
	} else if (!manager->watchdog.period_ms) {
		manager->watching = true;
		workers_ask_pulse(manager->workers);
	}
}

void manager_run(struct manager *manager)
{
	uint64_t now_ms = timer_now_ms();

	if (!manager->workers)
		return;
	run_watchdog(manager, now_ms);
	look(manager, now_ms);
	send_parts(manager);
}
