/* SPDX-License-Identifier: MIT */
/*
 * A sweep walks through a worker's sessions, a bounded part in each tick, and ends those that
 * tenancy_must_end() names: their backend is down (--on-down reset), or their forward's time to
 * drain is over. forwards->sweep_count says how many sweeps were asked for. The worker that notes a
 * new number first tells the others, so any thread can ask.
 *
 * After a takeover, the first sweep also wakes the sessions that session_read() has left asleep.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "relay/session.h"

/* The slots that are inspected in one tick. Ending or waking a session counts as so many slots. */
#define SWEEP_TICK_STEPS 1024
#define SWEEP_END_STEPS	 16
#define SWEEP_WAKE_STEPS 64

/* A worker's sweep. All zeros: no sweep was asked for yet. */
struct sweep {
	uint32_t count; /* of the sweeps begun: as forwards->sweep_count */
	uint32_t slot;	/* the next to inspect */
	bool running;
	bool wakes; /* sessions that sleep */
};

/* Begins the sweep that wakes sessions. For the main thread, before the worker's first tick. */
void sweep_wake(struct sweep *sweep);

/* Begins a sweep if a new one was asked for. Returns whether it has begun. */
bool sweep_begin(struct sweep *sweep, const struct sessions *sessions);

/*
 * Goes on with the sweep for one tick. Sessions may be over when this returns. Returns whether a
 * sweep that wakes sessions has ended: none sleeps any more.
 */
bool sweep_work(struct sweep *sweep, struct sessions *sessions);
