/* SPDX-License-Identifier: MIT */
#include "relay/lane.h"

#include <criterion/criterion.h>

#include "base/util.h"
#include "lane_model.h"
#include "support.h"

TestSuite(lane, .fini = support_check_leaks);

/* Single stories of a lane; test_lane_walk.c tries all states ---------------------------------- */

struct story_row {
	struct lane_input input;
	enum lane_step next;
};

static void tell(const char *name, bool read_ready, const struct story_row *rows, size_t count,
		 uint64_t moved_bytes)
{
	struct lane lane;

	lane_init(&lane, read_ready);
	for (size_t i = 0; i < count; i++) {
		lane_model_call(&lane, &rows[i].input);
		cr_assert_eq(lane_next(&lane), rows[i].next, "%s, line %zu: %s", name, i,
			     lane_model_step_name(lane_next(&lane)));
	}
	cr_expect_eq(lane.moved_bytes, moved_bytes, "%s", name);
}

Test(lane, request_then_fin)
{
	static const struct story_row rows[] = {
		{{.event = EVENT_ARRIVAL}, LANE_FILL}, /* no measurement before the first message */
		{{EVENT_FILLED, 500, true, 0}, LANE_FLUSH},
		{{EVENT_FLUSHED, 500, false, 0}, LANE_WAIT_READABLE},
		{{.event = EVENT_ARRIVAL}, LANE_FILL}, /* still none: there is room left */
		{{.event = EVENT_READ_END}, LANE_SHUT_WRITE_SIDE},
		{{.event = EVENT_SHUT}, LANE_REST},
	};

	tell("request_then_fin", false, rows, ARRAY_COUNT(rows), 500);
}

Test(lane, reset_is_delivered_after_the_data_before_it)
{
	static const struct story_row rows[] = {
		{{EVENT_FILLED, 1000, true, 0}, LANE_FLUSH},
		{{.event = EVENT_READ_FAILED, .error = 104}, LANE_FLUSH},
		{{EVENT_FLUSHED, 400, false, 0}, LANE_WAIT_WRITABLE},
		{{.event = EVENT_WRITABLE}, LANE_FLUSH},
		{{EVENT_FLUSHED, 600, false, 0}, LANE_MEASURE},
		{{EVENT_ROOM, 65536, false, 0}, LANE_FILL},
		{{EVENT_FILLED, 5, true, 0}, LANE_FLUSH},
		{{EVENT_FLUSHED, 5, false, 0}, LANE_FILL},
		{{.event = EVENT_READ_EMPTY}, LANE_RESET_WRITE_SIDE},
	};

	tell("reset", true, rows, ARRAY_COUNT(rows), 1005);
}

Test(lane, an_end_that_has_arrived_is_read_without_a_wait)
{
	static const struct story_row rows[] = {
		{{EVENT_ARRIVAL, 0, true, 0}, LANE_FILL},
		{{EVENT_FILLED, 500, true, 0}, LANE_FLUSH},
		{{EVENT_FLUSHED, 500, false, 0}, LANE_FILL},
		{{.event = EVENT_READ_END}, LANE_SHUT_WRITE_SIDE},
	};

	tell("end", false, rows, ARRAY_COUNT(rows), 500);
}

Test(lane, an_end_that_is_not_there_is_waited_for)
{
	static const struct story_row rows[] = {
		{{EVENT_ARRIVAL, 0, true, 0}, LANE_FILL},
		{{.event = EVENT_READ_EMPTY}, LANE_WAIT_READABLE},
		{{EVENT_ARRIVAL, 0, false, 0}, LANE_FILL},
		{{EVENT_FILLED, 500, true, 0}, LANE_FLUSH},
		{{EVENT_FLUSHED, 500, false, 0}, LANE_WAIT_READABLE},
	};

	tell("no end", false, rows, ARRAY_COUNT(rows), 500);
}

/* Paced ---------------------------------------------------------------------------------------- */

Test(lane, takes_no_more_than_its_allowance)
{
	struct lane lane;

	lane_init(&lane, true);
	lane.paced = true;
	cr_expect_eq(lane_next(&lane), LANE_WAIT_ALLOWANCE);
	lane_on_allowance(&lane, 700);
	cr_expect_eq(lane_affords(&lane, 4096), 700);
	cr_expect_eq(lane_affords(&lane, 500), 500);
	lane_on_filled(&lane, 500, false);
	cr_expect_eq(lane_next(&lane), LANE_FLUSH);
	lane_on_flushed(&lane, 500);
	lane_on_copied(&lane, 200, false);
	cr_expect_eq(lane_next(&lane), LANE_WAIT_ALLOWANCE);
}

/* A wait for the read side comes before a wait for an allowance. Reading the end needs one too. */
Test(lane, an_allowance_is_wanted_when_the_read_side_is_ready)
{
	struct lane lane;

	lane_init(&lane, false);
	lane.paced = true;
	cr_expect_eq(lane_next(&lane), LANE_WAIT_READABLE);
	lane_on_arrival(&lane, true);
	cr_expect_eq(lane_next(&lane), LANE_WAIT_ALLOWANCE);
	lane_on_allowance(&lane, 100);
	cr_expect_eq(lane_take_allowance(&lane), 100);
	cr_expect_eq(lane_next(&lane), LANE_WAIT_ALLOWANCE);
	lane_on_allowance(&lane, 1);
	lane_on_read_end(&lane);
	cr_expect_eq(lane_next(&lane), LANE_SHUT_WRITE_SIDE);
	cr_expect_eq(lane_take_allowance(&lane), 1);
}

/* Small, chatty, bulk -------------------------------------------------------------------------- */

/* Gives the lane room, and one fill and flush of `bytes`. */
static void pass(struct lane *lane, uint32_t bytes, bool drained)
{
	lane_on_arrival(lane, false);
	if (lane_next(lane) == LANE_MEASURE)
		lane_on_room(lane, 1 << 20, true);
	lane_on_filled(lane, bytes, drained);
	lane_on_flushed(lane, bytes);
}

Test(lane, early_bytes_are_counted)
{
	struct lane lane;

	lane_init(&lane, true);
	lane_on_early(&lane, 700);
	cr_expect_eq(lane.moved_bytes, 700);
	cr_expect(lane_take_stirred(&lane));
	cr_expect_eq(lane_next(&lane), LANE_FILL, "there may be more");
}

Test(lane, is_chatty_after_some_small_messages_until_quiet)
{
	struct lane lane;

	lane_init(&lane, false);
	for (unsigned i = 0; i < LANE_CHATTY_FILLS; i++) {
		cr_expect(!lane_is_chatty(&lane), "after %u", i);
		pass(&lane, 100, true);
	}
	cr_expect(lane_is_chatty(&lane));
	pass(&lane, 100, true);
	cr_expect(lane_is_chatty(&lane));
	lane_on_quiet(&lane);
	cr_expect(!lane_is_chatty(&lane));
}

Test(lane, tells_whether_it_was_filled_since_asked)
{
	struct lane lane;

	lane_init(&lane, true);
	cr_expect(!lane_take_stirred(&lane));
	pass(&lane, 100, true);
	cr_expect(lane_take_stirred(&lane));
	cr_expect(!lane_take_stirred(&lane));
	lane_on_arrival(&lane, false);
	lane_on_read_empty(&lane);
	cr_expect(!lane_take_stirred(&lane));
}

Test(lane, becomes_bulk_with_a_full_fill_and_small_with_a_small_one)
{
	struct lane lane;

	lane_init(&lane, false);
	for (unsigned i = 0; i < LANE_CHATTY_FILLS; i++)
		pass(&lane, 100, true);
	cr_expect(!lane.bulk);
	pass(&lane, LANE_SMALL_BYTES, false);
	cr_expect(lane.bulk);
	cr_expect(!lane_is_chatty(&lane));
	pass(&lane, 2 * LANE_SMALL_BYTES, true);
	cr_expect(lane.bulk);
	pass(&lane, LANE_SMALL_BYTES - 1, true);
	cr_expect(!lane.bulk);
}

/* Room ----------------------------------------------------------------------------------------- */

/* A lane that has used up the room it begins with. */
static void init_spent(struct lane *lane)
{
	lane_init(lane, true);
	lane_on_copied(lane, LANE_ROOM_FLOOR_BYTES, false);
}

/* Measures `room_bytes` and sends until the lane measures again, in messages of `message_bytes`. */
static uint32_t spend(struct lane *lane, uint32_t room_bytes, uint32_t message_bytes)
{
	uint32_t sent = 0;

	lane_on_room(lane, room_bytes, true);
	cr_assert_eq(lane_next(lane), LANE_FILL);
	while (lane_next(lane) == LANE_FILL) {
		uint32_t bytes = MIN(message_bytes, lane->room_bytes);

		lane_on_copied(lane, bytes, false);
		sent += bytes;
	}
	cr_assert_eq(lane_next(lane), LANE_MEASURE);
	return sent;
}

Test(lane, room_is_measured_again_when_half_is_used)
{
	static const uint32_t rows[] = {1, 100, 1448, 16384, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct lane lane;
		uint32_t sent;

		init_spent(&lane);
		sent = spend(&lane, 1 << 20, rows[i]);
		cr_expect_gt(sent, 0, "messages of %u", rows[i]);
		cr_expect_leq(sent, 1 << 20, "messages of %u: %u", rows[i], sent);
	}
}

/* The kernel counts a whole packet even for one byte. */
Test(lane, small_messages_use_up_more_than_their_bytes)
{
	struct lane lane;

	init_spent(&lane);
	cr_expect_leq(spend(&lane, 1 << 20, 1), (1 << 20) / LANE_MESSAGE_COST_BYTES);
}

/* Fills a write side where each byte takes `cost` bytes of room, until the lane finds it full. */
static void fill_write_side(struct lane *lane, uint32_t whole, uint32_t cost, bool settled)
{
	uint32_t room = whole;

	for (;;) {
		uint32_t usable;
		uint64_t used = 0;

		lane_on_room(lane, room, true);
		if (lane_next(lane) == LANE_WAIT_WRITABLE)
			break;
		usable = lane->room_bytes;
		cr_assert(!settled || usable <= LANE_ROOM_FLOOR_BYTES ||
				  (uint64_t)usable * cost <= 2ULL * room,
			  "cost %u: takes %u for a room of %u", cost, usable, room);
		for (; lane_next(lane) == LANE_FILL; used += (uint64_t)cost * 1448)
			lane_on_copied(lane, 1448, false);
		room -= (uint32_t)MIN(used, room);
	}
	lane_on_writable(lane); /* the peer has read it all */
}

/* The room of the next fills follows the measured cost of a byte, within a factor of two. */
Test(lane, what_a_byte_costs_is_learned)
{
	static const uint32_t costs[] = {1, 3, 10, 2, 20, 1};
	struct lane lane;

	init_spent(&lane);
	for (size_t i = 0; i < ARRAY_COUNT(costs); i++)
		for (unsigned round = 0; round < 60; round++)
			fill_write_side(&lane, 1 << 20, costs[i], round > 30);
	/* once a byte costs no more than one byte, most of the room is used again */
	lane_on_room(&lane, 1 << 20, true);
	cr_expect_gt(lane.room_bytes, (1 << 20) / 4 * 3, "%u", lane.room_bytes);
}

/* A bulk lane waits until the kernel says writable; a small lane fills if there is room. */
Test(lane, bulk_waits_until_the_write_side_is_writable)
{
	static const struct story_row rows[] = {
		{{EVENT_COPIED, LANE_ROOM_FLOOR_BYTES, false, 0}, LANE_MEASURE},
		{{EVENT_ROOM, 1 << 20, true, 0}, LANE_FILL}, /* small */
		{{EVENT_COPIED, 1 << 19, false, 0}, LANE_MEASURE},
		{{EVENT_ROOM, 1 << 20, true, 0}, LANE_WAIT_WRITABLE},
		{{.event = EVENT_WRITABLE}, LANE_MEASURE},
		{{EVENT_ROOM, 1 << 20, true, 0},
		 LANE_FILL}, /* the kernel has just called it writable */
		{{EVENT_COPIED, 1 << 19, false, 0}, LANE_MEASURE},
		{{EVENT_ROOM, 1 << 20, false, 0}, LANE_FILL},
	};

	tell("bulk", true, rows, ARRAY_COUNT(rows), LANE_ROOM_FLOOR_BYTES + (1 << 20));
}

Test(lane, a_writable_write_side_is_tried_however_small_its_room)
{
	static const struct story_row rows[] = {
		{{EVENT_COPIED, LANE_ROOM_FLOOR_BYTES, false, 0}, LANE_MEASURE},
		{{EVENT_ROOM, LANE_ROOM_WORTH_BYTES - 1, false, 0}, LANE_WAIT_WRITABLE},
		{{.event = EVENT_WRITABLE}, LANE_MEASURE},
		{{EVENT_ROOM, 0, false, 0},
		 LANE_FILL}, /* the kernel called it writable: try the floor */
		{{EVENT_COPIED, LANE_ROOM_FLOOR_BYTES, false, 0}, LANE_MEASURE},
		{{EVENT_ROOM, LANE_ROOM_WORTH_BYTES, false, 0}, LANE_FILL},
	};

	tell("writable", true, rows, ARRAY_COUNT(rows), 2 * LANE_ROOM_FLOOR_BYTES);
}
