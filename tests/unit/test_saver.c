/* SPDX-License-Identifier: MIT */
#include "control/saver.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "os/timer.h"
#include "support.h"

TestSuite(saver, .fini = support_check_leaks);

static char directory[] = "/tmp/test_saver.XXXXXX";
static char path[64];
static struct config config;
static struct source_addresses *sources;
static struct saver *saver;

/* The filesystem: a save begins, and hangs while `hangs`. */
static atomic_bool hangs;
static sem_t began, may_go_on;

int __real_fsync(int fd);
int __wrap_fsync(int fd);

int __wrap_fsync(int fd)
{
	if (atomic_load(&hangs)) {
		sem_post(&began);
		while (sem_wait(&may_go_on))
			;
	}
	return __real_fsync(fd);
}

static void begin(void)
{
	struct config_errors errors = {0};
	struct fault fault;

	sem_init(&began, 0, 0);
	sem_init(&may_go_on, 0, 0);
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/state", directory);
	config_init(&config);
	support_must_set(&config, "source", "loopback");
	support_must_set(&config, "pseudo-state", path);
	support_must_set(&config, "listen", "[::1]:0");
	support_must_set(&config, "backend", "127.0.0.1:80");
	cr_assert_eq(support_check(&config, &fault), 0, "%s", support_text(&fault));
	cr_assert_eq(source_addresses_create(&sources, &config, &errors), 0);
	cr_assert_eq(saver_create(&saver, sources, &fault), 0, "%s", support_text(&fault));
}

static void end(void)
{
	cr_expect(saver_destroy(saver));
	source_addresses_destroy(sources);
	config_finish(&config);
	support_remove_tree(directory);
}

static bool is_saved(void)
{
	return !access(path, F_OK);
}

/* Runs the saver as the control loop does, until it has saved. */
static void await_save(void)
{
	uint64_t end_ms = timer_now_ms() + SUPPORT_PATIENCE_MS;
	struct poll_set set;

	while (!is_saved()) {
		cr_assert_lt(timer_now_ms(), end_ms, "no save");
		poll_set_begin(&set);
		saver_prepare_poll(saver, &set);
		support_wait(&set, 1000);
		saver_run(saver);
	}
	/* the file is there a little before the save has ended */
	cr_assert_eq(saver_pause(saver, end_ms), 0);
	saver_resume(saver);
}

/* A process that takes over must not write before it has the state. */
Test(saver, the_start_saves_once)
{
	struct fault fault;

	begin();
	cr_expect_not(is_saved());
	cr_expect_eq(saver_save_first(saver, &fault), 0);
	cr_expect(is_saved());
	end();
}

Test(saver, nothing_is_saved_in_a_pause)
{
	begin();
	cr_assert_eq(saver_pause(saver, timer_now_ms()), 0, "no save runs, so nothing is awaited");
	saver_ask(saver);
	saver_save_last(saver);
	saver_run(saver);
	cr_expect_not(is_saved());
	saver_resume(saver);
	await_save();
	unlink(path);
	/* nothing was asked for */
	cr_assert_eq(saver_pause(saver, timer_now_ms()), 0);
	saver_resume(saver);
	cr_expect_eq(saver_pause(NULL, 0), 0);
	saver_resume(NULL);
	saver_save_last(saver);
	cr_expect(is_saved());
	end();
}

/* After a pause that failed, saves go on; a later one succeeds. */
Test(saver, a_pause_waits_for_the_save_that_runs)
{
	begin();
	atomic_store(&hangs, true);
	saver_ask(saver);
	while (sem_wait(&began))
		;
	cr_expect_eq(saver_pause(saver, timer_now_ms() + 20), -ETIMEDOUT);
	atomic_store(&hangs, false);
	saver_ask(saver); /* as if there had been no pause: after the save that runs */
	sem_post(&may_go_on);
	cr_expect_eq(saver_pause(saver, timer_now_ms() + SUPPORT_PATIENCE_MS), 0);
	cr_expect(is_saved());
	unlink(path);
	saver_resume(saver);
	await_save();
	end();
}
