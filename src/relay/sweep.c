/* SPDX-License-Identifier: MIT */
#include "relay/sweep.h"

void sweep_wake(struct sweep *sweep)
{
	*sweep = (struct sweep){.running = true, .wakes = true};
}

bool sweep_begin(struct sweep *sweep, const struct sessions *sessions)
{
	uint32_t count =
		atomic_load_explicit(&sessions->forwards->sweep_count, memory_order_acquire);

	if (count == sweep->count)
		return false;
	/* a sweep that runs begins again: it may have passed sessions that must end now */
	*sweep = (struct sweep){.count = count, .running = true, .wakes = sweep->wakes};
	return true;
}

bool sweep_work(struct sweep *sweep, struct sessions *sessions)
{
	unsigned steps = 0;
	bool woke = sweep->wakes;

	while (sweep->running && steps < SWEEP_TICK_STEPS) {
		struct session *session;
		enum close_reason reason;

		if (sweep->slot == sessions_slot_end(sessions)) {
			sweep->running = sweep->wakes = false;
			return woke;
		}
		session = sessions_at(sessions, sweep->slot++);
		steps++;
		if (!session)
			continue;
		if (sweep->count && session_must_end(session, &reason)) {
			session_end(sessions, session, reason);
			steps += SWEEP_END_STEPS;
		} else if (sweep->wakes && session_wake(sessions, session)) {
			steps += SWEEP_WAKE_STEPS;
		}
	}
	return false;
}
