/* SPDX-License-Identifier: MIT */
/* Changes of a pool's members by an administrator. */
#include <criterion/criterion.h>

#include "base/util.h"
#include "pool/pool.h"
#include "pool_fixture.h"
#include "support.h"

TestSuite(pool_orders, .fini = support_check_leaks);

#define NOW POOL_FIXTURE_MS

static const struct pool_settings plain = {.max_fails = 1, .fail_timeout_ms = 1000};
static const struct pool_settings checked = {
	.max_fails = 1, .fail_timeout_ms = 1000, .rise = 2, .fall = 3};

static uint32_t generation_of(const struct pool *pool, unsigned member)
{
	struct pool_snapshot now;

	pool_snapshot(pool, member, NOW, &now);
	return now.generation;
}

Test(pool_orders, a_member_with_an_order_gets_no_sessions)
{
	static const enum pool_order orders[] = {POOL_ORDER_DRAIN, POOL_ORDER_DOWN};

	for (size_t i = 0; i < ARRAY_COUNT(orders); i++) {
		struct pool *pool = pool_fixture_make(plain, "1 1");
		struct pool_claim claim = {0};
		char text[8];

		cr_assert_eq(pool_fixture_choose(pool, NOW, &claim), 0);
		cr_expect_not(pool_is_out(pool, &claim));
		pool_set_order(pool, 0, orders[i], NOW);
		cr_expect_eq(pool_fixture_state(pool, 0, NOW), POOL_OFF);
		cr_expect_str_eq(pool_fixture_choices(pool, 3, NOW, text), "bbb");
		cr_expect_eq(pool_is_out(pool, &claim), orders[i] == POOL_ORDER_DOWN);
		/* a failure of a session that had chosen the member before changes nothing */
		cr_expect_eq(pool_failed(pool, &claim, NOW), POOL_UNCHANGED);
		pool_set_order(pool, 0, POOL_ORDER_NONE, NOW);
		cr_expect_not(pool_is_out(pool, &claim));
		cr_expect_eq(pool_fixture_state(pool, 0, NOW), POOL_UP);
		cr_expect_str_eq(pool_fixture_choices(pool, 4, NOW, text), "abab", "%s", text);
		pool_end(pool, &claim);
		pool_destroy(pool);
	}
}

/* Changes of health still alternate: nothing is told while the member is off. */
Test(pool_orders, the_health_is_kept)
{
	struct pool *pool = pool_fixture_make(checked, "1 1");
	uint32_t generation = generation_of(pool, 0);

	cr_expect_eq(pool_check_result(pool, 0, generation, false, NOW), POOL_WENT_DOWN);
	pool_set_order(pool, 0, POOL_ORDER_DOWN, NOW);
	cr_expect_eq(pool_check_result(pool, 0, generation, true, NOW), POOL_UNCHANGED);
	cr_expect_eq(pool_check_result(pool, 0, generation, true, NOW), POOL_UNCHANGED);
	pool_set_order(pool, 0, POOL_ORDER_NONE, NOW);
	cr_expect_eq(pool_fixture_state(pool, 0, NOW), POOL_DOWN);
	cr_expect_eq(pool_check_result(pool, 0, generation, true, NOW), POOL_UNCHANGED);
	cr_expect_eq(pool_check_result(pool, 0, generation, true, NOW), POOL_CAME_UP);
	/* up again: the first failed check decides, as after a start */
	pool_set_order(pool, 0, POOL_ORDER_DRAIN, NOW);
	pool_set_order(pool, 0, POOL_ORDER_NONE, NOW);
	cr_expect_eq(pool_check_result(pool, 0, generation, false, NOW), POOL_WENT_DOWN);
	pool_destroy(pool);
}

Test(pool_orders, a_probe_of_a_member_that_is_off)
{
	struct pool *pool = pool_fixture_make(plain, "1");
	struct pool_claim claim = {0};

	cr_assert_eq(pool_fixture_fail(pool, 0, 1, NOW), POOL_WENT_DOWN);
	cr_assert_eq(pool_fixture_choose(pool, NOW + 1000, &claim), 0);
	cr_assert(claim.probe);
	cr_expect_not(pool_is_out(pool, &claim));
	pool_set_order(pool, 0, POOL_ORDER_DRAIN, NOW + 1000);
	cr_expect_eq(pool_succeeded(pool, &claim, NOW + 1000), POOL_UNCHANGED);
	pool_end(pool, &claim);
	pool_set_order(pool, 0, POOL_ORDER_NONE, NOW + 1000);
	cr_assert_eq(pool_fixture_choose(pool, NOW + 1000, &claim), 0);
	cr_expect_eq(pool_succeeded(pool, &claim, NOW + 1000), POOL_CAME_UP);
	pool_end(pool, &claim);
	pool_destroy(pool);
}

Test(pool_orders, the_sessions_of_a_member_that_went_down_are_out)
{
	struct pool *pool = pool_fixture_make(checked, "1 1");
	struct pool_claim claim = {0};

	cr_assert_eq(pool_fixture_choose(pool, NOW, &claim), 0);
	cr_assert_eq(pool_check_result(pool, 0, generation_of(pool, 0), false, NOW),
		     POOL_WENT_DOWN);
	cr_expect(pool_is_out(pool, &claim));
	pool_remove(pool, 0);
	cr_expect_not(pool_is_out(pool, &claim), "a removed member lets its sessions end");
	pool_end(pool, &claim);
	pool_destroy(pool);
}

Test(pool_orders, weight_maxconn_and_removal)
{
	struct pool *pool = pool_fixture_make(plain, "1 1");
	struct pool_claim claims[2] = {{0}};
	struct pool_snapshot now;
	char text[8];

	pool_set_weight(pool, 0, 3);
	pool_snapshot(pool, 0, NOW, &now);
	cr_expect_eq(now.weight, 3);
	cr_expect_eq(now.maxconn, 0);
	cr_expect_str_eq(pool_fixture_choices(pool, 4, NOW, text), "aaba", "%s", text);
	pool_set_weight(pool, 0, 0);
	cr_expect_str_eq(pool_fixture_choices(pool, 2, NOW, text), "bb");
	pool_set_maxconn(pool, 1, 1);
	cr_assert_eq(pool_fixture_choose(pool, NOW, &claims[0]), 1);
	cr_expect_eq(pool_fixture_choose(pool, NOW, &claims[1]), POOL_ALL_FULL);
	pool_set_maxconn(pool, 1, 0);
	cr_expect_eq(pool_fixture_choose(pool, NOW, &claims[1]), 1);
	pool_remove(pool, 1);
	cr_expect_eq(pool_fixture_state(pool, 1, NOW), POOL_DRAINING);
	cr_expect_str_eq(pool_fixture_choices(pool, 1, NOW, text), "-");
	for (size_t i = 0; i < ARRAY_COUNT(claims); i++)
		pool_end(pool, &claims[i]);
	cr_expect_eq(pool_fixture_state(pool, 1, NOW), POOL_EMPTY);
	pool_destroy(pool);
}
