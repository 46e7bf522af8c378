/* SPDX-License-Identifier: MIT */
#include "forward_fixture.h"

#include <criterion/criterion.h>

struct forwards *fixture_forwards(const struct config *config, uint32_t maxconn)
{
	struct config_errors errors = {0};
	struct forwards *forwards;

	cr_assert_eq(forwards_create(&forwards, config, &errors), 0);
	cr_assert_eq(forwards_make_upstreams(forwards), 0);
	cr_assert_eq(forwards_make_sources(forwards, &errors), 0);
	cr_assert_eq(forwards_make_admission(forwards, maxconn, &errors), 0);
	return forwards;
}
