/*
 * The thread that writes files while the process runs: the state of the address pools (--pseudo-state). A filesystem that
 * hangs holds up this thread alone.
 *
 * One save is under way at most, and one more asked for: asking again changes nothing, for a save writes what there is
 * when it begins. Nothing is copied for it; a pool may be read while workers use it (lease_state.h).
 *
 * All functions are for the control thread. In the control loop it is run as checker.h is.
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
 * Starts the thread, for sources with state files, after the privilege drop (privs.h), and saves for the first time, to
 * know whether the files may be written. Waits for that save without a limit, until TERM or INT comes
 * (signals_take()). `sources` must outlive the saver. Returns 0, or -errno with `fault`; a saver that was made
 * is the caller's then too.
 */
int saver_create(struct saver **saver, struct source_addresses *sources, struct fault *fault);

/*
 * Ends the thread. Returns false, and leaves all as it is, while a save is under way: then sources and saver must stay,
 * and the process can only exit. Takes NULL too, and returns true.
 */
bool saver_destroy(struct saver *saver);

/* Asks for a save, whether or not anything has changed. Does not wait. */
void saver_ask(struct saver *saver);

/* The last save, asked for and awaited for SAVER_END_LIMIT_MS. Logs what is wrong with it. */
void saver_save_last(struct saver *saver);

/* Adds what to wait for, and when saver_run() is due without an event. */
void saver_prepare_poll(const struct saver *saver, struct poll_set *set);

/*
 * After poll(2): logs what a save came to, and every minute one that does not come to an end; asks for another every
 * minute if there is anything new.
 */
void saver_run(struct saver *saver);
