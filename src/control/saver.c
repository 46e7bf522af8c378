/* SPDX-License-Identifier: MIT */
#include "control/saver.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"
#include "control/signals.h"
#include "os/timer.h"

/* A crash loses at most the leases of this time. */
#define SAVE_INTERVAL_MS 60000

struct saver {
	struct source_addresses *sources;
	pthread_t thread;
	int ask_fd;  /* eventfd(2): the thread waits for it */
	int done_fd; /* eventfd(2): the thread has saved */

	/* The control thread's alone. */
	bool busy;	   /* a save was begun, and its result not yet taken */
	bool asked_again;  /* during a save */
	uint64_t began_ms; /* when the save under way was asked for */
	uint64_t due_ms;   /* when to look for something new */

	/* The thread's while `busy`, otherwise the control thread's. */
	int result;
	/* Hands `result` over between the threads, together with the eventfds. */
	struct fault fault;
	atomic_bool saved;
	atomic_bool ends;
};

static void *run_saver(void *argument)
{
	struct saver *saver = argument;
	uint64_t count;

	pthread_setname_np(pthread_self(), "sixpipe/save");
	for (;;) {
		if (read(saver->ask_fd, &count, sizeof(count)) < 0)
			continue; /* EINTR: a debugger */
		if (atomic_load(&saver->ends))
			return NULL;
		if (atomic_load(&saver->saved))
			continue;
		saver->result = source_addresses_save(saver->sources, &saver->fault);
		atomic_store(&saver->saved, true);
		eventfd_write(saver->done_fd, 1);
	}
}

/* Whether a save has ended since the last call. Begins the save that was asked for meanwhile. */
static bool take_end(struct saver *saver, int *result, struct fault *fault)
{
	uint64_t count;

	if (read(saver->done_fd, &count, sizeof(count)) < 0 || !atomic_load(&saver->saved))
		return false;
	*result = saver->result;
	if (*result)
		*fault = saver->fault;
	saver->busy = false;
	if (saver->asked_again)
		saver_ask(saver);
	return true;
}

void saver_ask(struct saver *saver)
{
	saver->asked_again = saver->busy;
	if (saver->busy)
		return;
	saver->began_ms = timer_now_ms();
	saver->busy = true;
	atomic_store(&saver->saved, false);
	eventfd_write(saver->ask_fd, 1);
}

/*
 * Waits until everything asked for is saved. Returns 0, and stores in `*result` 0 or -errno with
 * `fault`; -ETIMEDOUT after SAVER_END_LIMIT_MS; -EINTR when `stop_fd` is readable (-1: none).
 */
static int await_end(struct saver *saver, int stop_fd, int *result, struct fault *fault)
{
	uint64_t end_ms = timer_now_ms() + SAVER_END_LIMIT_MS;
	struct poll_set set;

	while (!take_end(saver, result, fault) || saver->busy) {
		if (timer_now_ms() >= end_ms)
			return -ETIMEDOUT;
		poll_set_begin(&set);
		poll_set_add(&set, saver->done_fd, POLLIN);
		poll_set_add(&set, stop_fd, POLLIN);
		poll_set_due(&set, end_ms);
		poll_set_wait(&set);
		if (poll_set_events(&set, stop_fd))
			return -EINTR;
	}
	return 0;
}

static void log_failure(const struct fault *fault)
{
	struct log_line line;

	if (!log_begin(&line, LOG_EVENT_state_failed))
		return;
	log_text(&line, "file", fault->value);
	log_text(&line, "error", fault->reason);
	log_text(&line, "remedy", fault->remedy);
	log_end(&line);
}

static void log_hang(const struct saver *saver)
{
	struct fault fault;

	fault_set(&fault, "pseudo-state", source_addresses_first_file(saver->sources),
		  "the filesystem has not answered for %u s; look whether it is frozen (fsfreeze "
		  "-u), and whether its disk or server answers",
		  (unsigned)((timer_now_ms() - saver->began_ms) / 1000));
	log_failure(&fault);
}

/* Returns the result of the save, or 0 when TERM or INT came first. */
static int save_first(struct saver *saver, struct fault *fault)
{
	int stop_fd = signals_open_stop();
	int result = 0;

	saver_ask(saver);
	while (await_end(saver, stop_fd, &result, fault) == -ETIMEDOUT)
		log_hang(saver);
	if (stop_fd >= 0)
		close(stop_fd);
	return result;
}

int saver_create(struct saver **saver, struct source_addresses *sources, struct fault *fault)
{
	struct saver *made = calloc(1, sizeof(*made));
	int result = made ? 0 : -ENOMEM;

	if (made) {
		made->sources = sources;
		made->due_ms = timer_now_ms() + SAVE_INTERVAL_MS;
		made->ask_fd = eventfd(0, EFD_CLOEXEC);
		made->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		result = made->ask_fd < 0 || made->done_fd < 0
				 ? -errno
				 : thread_start(&made->thread, run_saver, made);
	}
	if (!result) {
		*saver = made;
		return save_first(made, fault);
	}
	fault_set(fault, NULL, NULL,
		  "cannot start the thread that saves --pseudo-state: %s; raise the limits on "
		  "memory, threads and descriptors (ulimit -n and -u, TasksMax=)",
		  strerror(-result));
	if (made) {
		close(made->ask_fd);
		close(made->done_fd);
	}
	free(made);
	return result;
}

bool saver_destroy(struct saver *saver)
{
	struct fault fault;
	int result;

	if (!saver)
		return true;
	saver->asked_again = false;
	(void)take_end(saver, &result, &fault);
	if (saver->busy)
		return false;
	atomic_store(&saver->ends, true);
	eventfd_write(saver->ask_fd, 1);
	pthread_join(saver->thread, NULL);
	close(saver->ask_fd);
	close(saver->done_fd);
	free(saver);
	return true;
}

void saver_prepare_poll(const struct saver *saver, struct poll_set *set)
{
	poll_set_add(set, saver->done_fd, POLLIN);
	poll_set_due(set, saver->due_ms);
}

void saver_run(struct saver *saver)
{
	struct fault fault;
	int result;

	if (take_end(saver, &result, &fault) && result)
		log_failure(&fault);
	if (timer_now_ms() < saver->due_ms)
		return;
	saver->due_ms = timer_now_ms() + SAVE_INTERVAL_MS;
	if (saver->busy)
		log_hang(saver);
	else if (source_addresses_are_unsaved(saver->sources)) /* an idle process writes nothing */
		saver_ask(saver);
}

void saver_save_last(struct saver *saver)
{
	struct fault fault;
	int result;

	saver_ask(saver);
	if (await_end(saver, -1, &result, &fault))
		log_hang(saver);
	else if (result)
		log_failure(&fault);
}
