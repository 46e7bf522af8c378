/* SPDX-License-Identifier: MIT */
#include "forward_fixture.h"

#include <criterion/criterion.h>

#include "support.h"

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

void fixture_side_make(struct fixture_side *side, const struct fixture_setting *settings,
		       size_t count)
{
	struct fault fault;

	config_init(&side->config);
	for (size_t i = 0; i < count; i++)
		support_must_set(&side->config, settings[i].name, settings[i].value);
	cr_assert_eq(support_check(&side->config, &fault), 0, "%s", support_text(&fault));
	side->forwards = fixture_forwards(&side->config, FIXTURE_SIDE_MAXCONN);
}

void fixture_side_finish(struct fixture_side *side)
{
	forwards_destroy(side->forwards);
	config_finish(&side->config);
}
