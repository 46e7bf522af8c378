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
	bool asked_again;  /* during a save or a pause */
	bool paused;	   /* no save may begin */
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
	saver->asked_again = saver->busy || saver->paused;
	if (saver->asked_again)
		return;
	saver->began_ms = timer_now_ms();
	saver->busy = true;
	atomic_store(&saver->saved, false);
	eventfd_write(saver->ask_fd, 1);
}

/* A wait for the end of saves. */
struct waiting {
	uint64_t end_ms;
	int stop_fd; /* readable: wait no longer; -1: none */
};

/*
 * Waits until everything asked for is saved. Returns 0, and stores in `*result` 0 or -errno with
 * `fault`; -ETIMEDOUT or -EINTR as `waiting` says.
 */
static int await_end(struct saver *saver, const struct waiting *waiting, int *result,
		     struct fault *fault)
{
	struct poll_set set;

	while (!take_end(saver, result, fault) || saver->busy) {
		if (timer_now_ms() >= waiting->end_ms)
			return -ETIMEDOUT;
		poll_set_begin(&set);
		poll_set_add(&set, saver->done_fd, POLLIN);
		poll_set_add(&set, waiting->stop_fd, POLLIN);
		poll_set_due(&set, waiting->end_ms);
		poll_set_wait(&set);
		if (poll_set_events(&set, waiting->stop_fd))
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

int saver_save_first(struct saver *saver, struct fault *fault)
{
	struct waiting waiting = {.stop_fd = signals_open_stop()};
	int result = 0, awaited;

	saver_ask(saver);
	do {
		waiting.end_ms = timer_now_ms() + SAVER_END_LIMIT_MS;
		awaited = await_end(saver, &waiting, &result, fault);
		if (awaited == -ETIMEDOUT)
			log_hang(saver);
	} while (awaited == -ETIMEDOUT);
	if (waiting.stop_fd >= 0)
		close(waiting.stop_fd);
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
		return 0;
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
	else if (saver->paused)
		return;
	else if (source_addresses_are_unsaved(saver->sources)) /* an idle process writes nothing */
		saver_ask(saver);
}

void saver_save_last(struct saver *saver)
{
	const struct waiting waiting = {timer_now_ms() + SAVER_END_LIMIT_MS, -1};
	struct fault fault;
	int result;

	if (saver->paused)
		return;
	saver_ask(saver);
	if (await_end(saver, &waiting, &result, &fault))
		log_hang(saver);
	else if (result)
		log_failure(&fault);
}

/* Takeover ------------------------------------------------------------------------------------- */

int saver_pause(struct saver *saver, uint64_t due_ms)
{
	const struct waiting waiting = {due_ms, -1};
	struct fault fault;
	int result = 0, awaited;

	if (!saver)
		return 0;
	saver->paused = true;
	awaited = saver->busy ? await_end(saver, &waiting, &result, &fault) : 0;
	if (result)
		log_failure(&fault);
	if (awaited)
		saver_resume(saver);
	return awaited;
}

void saver_resume(struct saver *saver)
{
	if (!saver)
		return;
	saver->paused = false;
	if (saver->asked_again && !saver->busy)
		saver_ask(saver);
}
