/* SPDX-License-Identifier: MIT */
/* What a loop of the main thread waits for: descriptors, and the time when something is due. */
#pragma once

#include <poll.h>
#include <stdint.h>

/* More than all that the control loop waits for. */
#define POLL_SET_LIMIT 128

#define POLL_SET_NEVER UINT64_MAX

struct poll_set {
	unsigned count;
	uint64_t due_ms; /* CLOCK_MONOTONIC; POLL_SET_NEVER: only an event ends the wait */
	struct pollfd fds[POLL_SET_LIMIT];
};

/* Empties the set: no descriptor, and nothing is due. */
void poll_set_begin(struct poll_set *set);

/* Adds a descriptor, and the events to wait for: poll(2). A negative one is left out. */
void poll_set_add(struct poll_set *set, int fd, short events);

/* The wait ends at this time, or earlier. */
void poll_set_due(struct poll_set *set, uint64_t due_ms);

/*
 * Waits for an event or the due time: poll(2). Returns without either after a signal, or, after a
 * pause, if the kernel has no memory.
 */
void poll_set_wait(struct poll_set *set);

/* What has come on a descriptor since poll_set_wait(); 0: nothing, or the set does not have it. */
short poll_set_events(const struct poll_set *set, int fd);
