/* SPDX-License-Identifier: MIT */
#include "os/engine_ops.h"

#include <criterion/criterion.h>

#include "support.h"

TestSuite(engine_answers, .fini = support_check_leaks);

#define LIMIT 10

/* However they are taken, the answers come once and in the order in which they were added. */
Test(engine_answers, come_out_as_they_went_in)
{
	struct engine_answers answers;
	struct engine_event events[LIMIT];
	uint64_t added = 0, taken = 0, random = 4711;

	cr_assert_eq(engine_answers_init(&answers, LIMIT), 0);
	for (unsigned round = 0; round < 10000; round++) {
		unsigned more = support_random(&random) % (LIMIT + 1 - (unsigned)(added - taken));
		unsigned count;

		for (unsigned i = 0; i < more; i++, added++)
			engine_answers_add(&answers, added, (int32_t)added, added % 2);
		cr_assert_eq(engine_answers_count(&answers), added - taken);
		count = engine_answers_take(&answers, events, support_random(&random) % LIMIT + 1);
		for (unsigned i = 0; i < count; i++, taken++) {
			cr_assert_eq(events[i].token, taken);
			cr_assert_eq(events[i].result, (int32_t)taken);
			cr_assert_eq(events[i].more, taken % 2);
		}
		cr_assert_eq(engine_answers_count(&answers), added - taken);
	}
	engine_answers_finish(&answers);
}

static void add_too_many(void *argument)
{
	for (unsigned i = 0; i <= LIMIT; i++)
		engine_answers_add(argument, i, 0, false);
}

Test(engine_answers, more_than_there_is_room_for_is_a_programming_error)
{
	struct engine_answers answers;

	cr_assert_eq(engine_answers_init(&answers, LIMIT), 0);
	cr_expect(support_aborts(add_too_many, &answers));
	engine_answers_finish(&answers);
	engine_answers_finish(&answers);
}
