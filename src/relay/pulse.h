/* SPDX-License-Identifier: MIT */
/*
 * Whether the workers turn. The control thread asks, and each worker answers in its next tick. A
 * worker that is stuck does not answer. A question costs a worker one read of a shared number in
 * each tick; an idle worker has no ticks unless it is woken (engine_wake()).
 */
#pragma once

#include <stdbool.h>

struct pulse;

/* Makes the answers of `worker_count` workers. Returns 0 or -ENOMEM. */
int pulse_create(struct pulse **pulse, unsigned worker_count);

/* NULL is allowed. */
void pulse_destroy(struct pulse *pulse);

/* For the control thread ----------------------------------------------------------------------- */

/* Asks all workers. Answers to earlier questions do not count any more. */
void pulse_ask(struct pulse *pulse);

/* The number of workers that have neither answered the last question nor left. */
unsigned pulse_silent_count(const struct pulse *pulse);

/* For a worker --------------------------------------------------------------------------------- */

/*
 * Answers the last question. Returns whether there was one to answer: the caller then wakes the
 * control thread.
 */
bool pulse_answer(struct pulse *pulse, unsigned worker);

/* The worker ends and answers no more questions. */
void pulse_leave(struct pulse *pulse, unsigned worker);
