/* SPDX-License-Identifier: MIT */
/*
 * When the service manager hears that the process works. The control thread asks the workers
 * (pulse.h) three times within the manager's limit, and tells the manager each time that all have
 * answered. So one worker that is stuck means silence, and the manager acts; and one late answer
 * does not.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct watchdog {
	uint64_t period_ms; /* between two questions; 0: no watchdog */
	uint64_t due_ms;    /* the next question, or the next look at the answers */
	uint64_t asked_ms;  /* when the question was asked that is not answered; 0: none */
	bool complained;    /* about the workers that have not answered */
};

/* What to do now. */
enum watchdog_step {
	WATCHDOG_REST,
	WATCHDOG_ASK,	   /* ask and wake the workers */
	WATCHDOG_TELL,	   /* all workers have answered: tell the manager, and call again */
	WATCHDOG_COMPLAIN, /* some have not answered for a whole period: log it, and call again */
};

/*
 * Begins with a question at once. `limit_ms` is the manager's, notify_watchdog_ms(); 0: every step
 * is WATCHDOG_REST.
 */
void watchdog_init(struct watchdog *watchdog, uint64_t limit_ms, uint64_t now_ms);

/* The next step, where `silent_count` workers have not answered. CLOCK_MONOTONIC. */
enum watchdog_step watchdog_next(struct watchdog *watchdog, unsigned silent_count, uint64_t now_ms);

/* When watchdog_next() has something to do without an answer; POLL_SET_NEVER: never. */
uint64_t watchdog_due_ms(const struct watchdog *watchdog);
