/* SPDX-License-Identifier: MIT */
#include "carry_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "os/timer.h"
#include "support.h"

void fixture_carry_open(struct carry *carry)
{
	int fds[2];

	cr_assert_eq(carrier_pair(fds), 0);
	cr_assert_eq(carrier_create(&carry->out, fds[0]), 0);
	cr_assert_eq(carrier_create(&carry->in, fds[1]), 0);
	carrier_set_due(carry->out, timer_now_ms() + SUPPORT_PATIENCE_MS);
	carrier_set_due(carry->in, timer_now_ms() + SUPPORT_PATIENCE_MS);
}

void fixture_carry_close(struct carry *carry)
{
	carrier_destroy(carry->out);
	carrier_destroy(carry->in);
}

void fixture_carry_flush(struct carry *carry)
{
	cr_assert_eq(carrier_flush(carry->out), 0);
}

bool fixture_carry_next(struct carry *carry, enum carrier_kind *kind)
{
	int result;

	carrier_set_due(carry->in, timer_now_ms()); /* what was sent is there */
	result = carrier_next(carry->in, kind);
	cr_assert(!result || result == -ETIMEDOUT, "%d", result);
	return !result;
}

void fixture_carry_expect(struct carry *carry, enum carrier_kind expected)
{
	enum carrier_kind kind = CARRIER_KIND_COUNT;

	cr_assert(fixture_carry_next(carry, &kind));
	cr_assert_eq(kind, expected, "%d", kind);
}
