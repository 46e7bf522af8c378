/* SPDX-License-Identifier: MIT */
/*
 * The thread that saves the state of the lease pools (--pseudo-state). A filesystem that hangs
 * holds up only this thread. At most one save runs and one more is wanted. Nothing is copied: a
 * save reads the pools while workers use them (lease_state.h). All functions are for the control
 * thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "forward/source_address.h"
#include "os/poll_set.h"

struct saver;

/* How long the end of the process waits for the last save. */
#define SAVER_END_LIMIT_MS 5000

/*
 * Starts the thread, after the privilege drop (privs.h). `sources` must outlive the saver. Returns
 * 0, or -errno with `fault`.
 */
int saver_create(struct saver **saver, struct source_addresses *sources, struct fault *fault);

/*
 * For the start: saves once, to know whether the files can be written. Waits for this save until it
 * ends, or until TERM or INT comes (signals_take()). Returns 0, or -errno with `fault`. A process
 * that takes over calls saver_ask() instead, when the files are its own.
 */
int saver_save_first(struct saver *saver, struct fault *fault);

/*
 * Ends the thread. Returns false, and does nothing, while a save runs: sources and saver must stay,
 * and the process can only exit. NULL is allowed.
 */
bool saver_destroy(struct saver *saver);

/* Asks for a save, whether or not anything has changed. Does not wait. */
void saver_ask(struct saver *saver);

/* Saves once more, and waits for SAVER_END_LIMIT_MS at most. Logs a failure. */
void saver_save_last(struct saver *saver);

/*
 * For a takeover: saver_pause() waits until no save runs, and from then on none begins, because
 * another process is about to save the files. Returns 0, or -ETIMEDOUT if a save still runs at
 * `due_ms` (CLOCK_MONOTONIC); then saves go on. saver_resume() lets saves go on, and begins one that
 * was asked for during the pause. After the other process has taken over, the pause stays until the
 * end. NULL is allowed.
 */
int saver_pause(struct saver *saver, uint64_t due_ms);
void saver_resume(struct saver *saver);

/* Adds what to wait for, and when saver_run() is due without an event. */
void saver_prepare_poll(const struct saver *saver, struct poll_set *set);

/*
 * Logs the failure of a save and, every minute, a save that does not end. Asks for a save every
 * minute if the state has changed.
 */
void saver_run(struct saver *saver);
