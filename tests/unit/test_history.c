/* SPDX-License-Identifier: MIT */
#include "stats/history.h"

#include <criterion/criterion.h>

#include "base/util.h"
#include "support.h"

TestSuite(history, .fini = support_check_leaks);

/* The latest `limit` records are there under their numbers, and no others. */
Test(history, keeps_the_latest)
{
	static const struct {
		uint32_t limit;
		uint64_t added;
	} rows[] = {{1, 0}, {1, 1}, {1, 2}, {4, 3}, {4, 4}, {4, 5}, {4, 11}, {4096, 10000}};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		uint64_t limit = rows[i].limit, added = rows[i].added;
		struct history *history;

		cr_assert_eq(history_create(&history, rows[i].limit), 0);
		for (uint64_t number = 0; number < added; number++) {
			struct session_record record = {.opened_ms = 1000 + number};

			cr_assert_null(history_find(history, number), "it is yet to come");
			history_add(history, &record);
		}
		cr_expect_eq(history_end(history), added);
		for (uint64_t number = 0; number < added + 2; number++) {
			const struct session_record *record = history_find(history, number);
			bool kept = number < added && number + limit >= added;

			cr_assert_eq(record != NULL, kept, "row %zu, number %ju", i,
				     (uintmax_t)number);
			if (kept)
				cr_assert_eq(record->opened_ms, 1000 + number);
		}
		history_destroy(history);
	}
	history_destroy(NULL);
}
