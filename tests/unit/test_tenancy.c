/* SPDX-License-Identifier: MIT */
#include "forward/tenancy.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "base/util.h"
#include "forward_fixture.h"
#include "support.h"

TestSuite(tenancy, .fini = support_check_leaks);

#define MAXCONN 10
#define NOW_MS	1000000

static struct config config;
static struct forwards *forwards;
static struct addr client;

/* A forward with each kind of limit, all set to 1. */
static void begin(void)
{
	struct fault fault;

	config_init(&config);
	support_must_set(&config, "maxconn-forward", "1");
	support_must_set(&config, "per-source-maxconn", "1");
	support_must_set(&config, "source", "loopback");
	support_must_set(&config, "listen", "[::1]:2000");
	support_must_set(&config, "backend", "127.0.0.1:1 maxconn=1");
	cr_assert_eq(support_check(&config, &fault), 0, "%s", support_text(&fault));
	forwards = fixture_forwards(&config, MAXCONN);
	cr_assert_null(addr_parse("[2001:db8::1]:5", &client));
}

static void end(void)
{
	cr_expect_eq(forwards_metric(forwards, METRIC_source_leases_live), 0);
	forwards_destroy(forwards); /* aborts if a claim is left */
	config_finish(&config);
}

static int choose(struct tenancy *tenancy)
{
	struct pool_tried tried = {0};

	return tenancy_choose_backend(tenancy, &tried, &client, NOW_MS);
}

/* After any step, tenancy_end() gives everything back: the next session can take every step. */
Test(tenancy, one_end_gives_back_every_step)
{
	begin();
	for (unsigned steps = 0; steps <= 4; steps++) {
		struct tenancy tenancy, refused;

		cr_assert(tenancy_begin(&tenancy, forwards->list));
		cr_expect_not(tenancy_begin(&refused, forwards->list));
		if (steps > 0)
			cr_assert_eq(tenancy_enter(&tenancy, &client, NOW_MS), ADMISSION_OK);
		if (steps > 1)
			cr_assert_eq(tenancy_choose_source(&tenancy, &client, true, NOW_MS), 0);
		if (steps > 2)
			cr_assert_eq(choose(&tenancy), 0);
		if (steps > 3)
			upstream_answered(forwards->list->upstream, &tenancy.claim, 0, NOW_MS);
		cr_expect_eq(tenancy.leased, steps > 1);
		cr_expect_eq(forwards_metric(forwards, METRIC_source_leases_live), steps > 1);
		cr_expect_eq(tenancy_backend(&tenancy) != NULL, steps > 2);
		tenancy_end(&tenancy, NOW_MS);
		tenancy_end(&tenancy, NOW_MS);
		cr_expect_null(tenancy_backend_address(&tenancy));
		cr_expect_eq(admission_room(forwards->list->admission), 1);
	}
	end();
}

/* Accept counts a connection, and another worker may open its session. */
Test(tenancy, a_count_travels_without_its_tenancy)
{
	struct tenancy accepted, of_session = {0};

	begin();
	cr_assert(tenancy_begin(&accepted, forwards->list));
	tenancy_resume(&of_session, forwards->list);
	cr_expect_eq(admission_room(forwards->list->admission), 0, "counted once");
	tenancy_end(&of_session, NOW_MS);
	cr_expect_eq(admission_room(forwards->list->admission), 1);
	end();
}

/* The port of the latest connect is removed, and the chosen address stays. */
Test(tenancy, a_source_is_restored_as_chosen)
{
	struct tenancy tenancy;
	struct in_addr leased;

	begin();
	cr_assert(tenancy_begin(&tenancy, forwards->list));
	cr_assert_eq(tenancy_choose_source(&tenancy, &client, true, NOW_MS), 0);
	leased = tenancy.source.v4.sin_addr;
	addr_set_port(&tenancy.source, 4000);
	tenancy_restore_source(&tenancy);
	cr_expect_eq(addr_port(&tenancy.source), 0);
	cr_expect_eq(tenancy.source.v4.sin_addr.s_addr, leased.s_addr);
	tenancy_end(&tenancy, NOW_MS);
	end();
}
