/* SPDX-License-Identifier: MIT */
#include "os/reserve.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "support.h"

TestSuite(reserve, .fini = support_check_leaks);

/* Sets the limit on descriptors to those that are open. */
static struct rlimit forbid_more(void)
{
	struct rlimit before, few;
	rlim_t first_free = 0;

	while (fcntl((int)first_free, F_GETFD) >= 0)
		first_free++;
	cr_assert(!getrlimit(RLIMIT_NOFILE, &before));
	few = (struct rlimit){.rlim_cur = first_free, .rlim_max = before.rlim_max};
	cr_assert(!setrlimit(RLIMIT_NOFILE, &few));
	return before;
}

Test(reserve, gives_way_to_what_is_wanted)
{
	struct reserve reserve = {0};
	struct rlimit limit;
	int wanted;

	cr_expect_not(reserve_use(&reserve), "there is none yet");
	cr_assert(reserve_keep(&reserve));
	limit = forbid_more();
	cr_expect(reserve_keep(&reserve), "it is there already");
	cr_expect_eq(dup(STDERR_FILENO), -1);
	cr_expect(reserve_use(&reserve));
	wanted = dup(STDERR_FILENO);
	cr_expect_geq(wanted, 0);
	cr_expect_not(reserve_use(&reserve), "it is used up");
	cr_expect_not(reserve_keep(&reserve), "there is no other");
	close(wanted);
	cr_expect(reserve_keep(&reserve));
	cr_assert(!setrlimit(RLIMIT_NOFILE, &limit));
	cr_expect(reserve_use(&reserve));
}
