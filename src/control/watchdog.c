/* SPDX-License-Identifier: MIT */
#include "control/watchdog.h"

#include "base/util.h"
#include "os/poll_set.h"

/* The questions within the manager's limit. */
#define QUESTIONS 3

void watchdog_init(struct watchdog *watchdog, uint64_t limit_ms, uint64_t now_ms)
{
	*watchdog = (struct watchdog){
		.period_ms = limit_ms ? MAX(limit_ms / QUESTIONS, 1) : 0,
		.due_ms = now_ms,
	};
}

enum watchdog_step watchdog_next(struct watchdog *watchdog, unsigned silent_count, uint64_t now_ms)
{
	if (!watchdog->period_ms)
		return WATCHDOG_REST;
	if (watchdog->asked_ms && !silent_count) {
		watchdog->asked_ms = 0;
		watchdog->complained = false;
		return WATCHDOG_TELL;
	}
	if (now_ms < watchdog->due_ms)
		return WATCHDOG_REST;
	watchdog->due_ms = now_ms + watchdog->period_ms;
	if (!watchdog->asked_ms) {
		watchdog->asked_ms = now_ms;
		return WATCHDOG_ASK;
	}
	if (watchdog->complained)
		return WATCHDOG_REST;
	watchdog->complained = true;
	return WATCHDOG_COMPLAIN;
}

uint64_t watchdog_due_ms(const struct watchdog *watchdog)
{
	return watchdog->period_ms ? watchdog->due_ms : POLL_SET_NEVER;
}
