/* SPDX-License-Identifier: MIT */
#include "os/poll_set.h"

#include <criterion/criterion.h>
#include <unistd.h>

#include "os/timer.h"
#include "support.h"

TestSuite(poll_set, .fini = support_check_leaks);

Test(poll_set, events)
{
	struct poll_set set;
	int fds[2];

	cr_assert(!pipe(fds));
	poll_set_begin(&set);
	poll_set_add(&set, -1, POLLIN);
	cr_expect_eq(set.count, 0, "a negative descriptor is left out");
	poll_set_add(&set, fds[0], POLLIN);
	poll_set_add(&set, fds[1], POLLOUT);
	poll_set_wait(&set);
	cr_expect_eq(poll_set_events(&set, fds[0]), 0);
	cr_expect_eq(poll_set_events(&set, fds[1]), POLLOUT);
	cr_expect_eq(poll_set_events(&set, -1), 0);
	close(fds[0]);
	close(fds[1]);
}

/* The earliest due time ends the wait. */
Test(poll_set, due)
{
	uint64_t begin_ms = timer_now_ms();
	struct poll_set set;

	poll_set_begin(&set);
	cr_expect_eq(set.due_ms, POLL_SET_NEVER);
	poll_set_due(&set, begin_ms + 3600000);
	poll_set_due(&set, begin_ms + 30);
	poll_set_due(&set, POLL_SET_NEVER);
	poll_set_wait(&set);
	cr_expect_geq(timer_now_ms(), begin_ms + 30);
	poll_set_due(&set, 0);
	poll_set_wait(&set);
}
