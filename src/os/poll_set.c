/* SPDX-License-Identifier: MIT */
#include "os/poll_set.h"

#include <errno.h>
#include <limits.h>
#include <time.h>

#include "base/check.h"
#include "base/util.h"
#include "os/timer.h"

/* How long a loop pauses after poll(2) found no memory. */
#define SHORTAGE_PAUSE_MS 10

void poll_set_begin(struct poll_set *set)
{
	set->count = 0;
	set->due_ms = POLL_SET_NEVER;
}

void poll_set_add(struct poll_set *set, int fd, short events)
{
	if (fd < 0)
		return;
	CHECK(set->count < POLL_SET_LIMIT);
	set->fds[set->count++] = (struct pollfd){.fd = fd, .events = events};
}

void poll_set_due(struct poll_set *set, uint64_t due_ms)
{
	set->due_ms = MIN(set->due_ms, due_ms);
}

void poll_set_wait(struct poll_set *set)
{
	const struct timespec pause = {.tv_nsec = SHORTAGE_PAUSE_MS * 1000000};
	uint64_t now_ms = timer_now_ms();
	uint64_t left_ms = set->due_ms > now_ms ? set->due_ms - now_ms : 0;

	if (poll(set->fds, set->count,
		 set->due_ms == POLL_SET_NEVER ? -1 : (int)MIN(left_ms, (uint64_t)INT_MAX)) >= 0)
		return;
	for (unsigned i = 0; i < set->count; i++)
		set->fds[i].revents = 0;
	if (errno != EINTR)
		nanosleep(&pause, NULL);
}

short poll_set_events(const struct poll_set *set, int fd)
{
	for (unsigned i = 0; i < set->count; i++)
		if (set->fds[i].fd == fd)
			return set->fds[i].revents;
	return 0;
}
