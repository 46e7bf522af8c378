/* SPDX-License-Identifier: MIT */
#include "relay/lane.h"

#include <string.h>

#include "base/check.h"

void lane_init(struct lane *lane, bool read_ready)
{
	memset(lane, 0, sizeof(*lane));
	lane->state = LANE_OPEN;
	lane->read_ready = read_ready;
	lane->write_ready = true;
	lane->cost = LANE_COST_FIRST;
	lane->room_bytes = LANE_ROOM_FLOOR_BYTES;
	lane->room_low_bytes = LANE_ROOM_FLOOR_BYTES / 2;
}

static enum lane_step next_open(const struct lane *lane)
{
	/* a lane reads nothing that its write side cannot take */
	if (!lane->write_ready)
		return LANE_WAIT_WRITABLE;
	if (lane->held_bytes)
		return LANE_FLUSH;
	if (!lane->read_ready)
		return LANE_WAIT_READABLE;
	if (lane->paced && !lane->allowance_bytes)
		return LANE_WAIT_ALLOWANCE;
	if (!lane->room_bytes || lane->room_bytes < lane->room_low_bytes)
		return LANE_MEASURE;
	return LANE_FILL;
}

enum lane_step lane_next(const struct lane *lane)
{
	switch (lane->state) {
	case LANE_OPEN:
		return next_open(lane);
	case LANE_FLUSHED:
		return lane->read_error ? LANE_RESET_WRITE_SIDE : LANE_SHUT_WRITE_SIDE;
	default:
		return LANE_REST;
	}
}

void lane_on_writable(struct lane *lane)
{
	/* the lane may be over by now, because the other lane has reported a failure */
	if (lane_next(lane) != LANE_WAIT_WRITABLE)
		return;
	lane->write_ready = true;
	lane->write_woken = true;
	lane->room_bytes = 0;
}

void lane_on_arrival(struct lane *lane, bool ended)
{
	if (lane->state != LANE_OPEN)
		return;
	lane->read_ready = true;
	lane->read_woken = true;
	lane->read_ended |= ended;
}

void lane_on_allowance(struct lane *lane, uint32_t bytes)
{
	CHECK(lane_next(lane) == LANE_WAIT_ALLOWANCE && bytes > 0);
	lane->allowance_bytes = bytes;
}

void lane_stop_splicing(struct lane *lane)
{
	lane->copies = true;
}

uint32_t lane_take_allowance(struct lane *lane)
{
	uint32_t bytes = lane->allowance_bytes;

	lane->allowance_bytes = 0;
	return bytes;
}

uint32_t lane_affords(const struct lane *lane, uint32_t bytes)
{
	return lane->paced ? MIN(bytes, lane->allowance_bytes) : bytes;
}

bool lane_is_chatty(const struct lane *lane)
{
	return lane->small_fills == LANE_CHATTY_FILLS && !lane->restless;
}

void lane_on_quiet(struct lane *lane)
{
	lane->small_fills = 0;
}

bool lane_take_stirred(struct lane *lane)
{
	bool stirred = lane->stirred;

	lane->stirred = false;
	return stirred;
}

/* Notes a fill of `bytes`; `drained`: the read side has no more for now. */
static void after_fill(struct lane *lane, uint32_t bytes, bool drained)
{
	bool small = drained && bytes < LANE_SMALL_BYTES;

	lane->stirred = true;
	if (lane->paced) {
		CHECK(bytes <= lane->allowance_bytes);
		lane->allowance_bytes -= bytes;
	}
	lane->read_woken = false;
	/* a read side that has ended or failed is read until a read returns the end */
	lane->read_ready = !drained || lane->read_error || lane->read_ended;
	if (small)
		lane->bulk = false;
	else if (bytes >= LANE_SMALL_BYTES)
		lane->bulk = true;
	if (!small)
		lane->small_fills = 0;
	else if (lane->small_fills < LANE_CHATTY_FILLS)
		lane->small_fills++;
}

/* A higher cost counts at once, a lower cost by half: it is safer to assume too little room. */
static void learn_cost(struct lane *lane, uint32_t room_bytes)
{
	uint64_t used = lane->measured_bytes > room_bytes ? lane->measured_bytes - room_bytes : 0;
	uint64_t cost;

	if (!lane->sent_bytes || !lane->measured_bytes)
		return;
	cost = MAX(used * 16 / lane->sent_bytes, LANE_COST_LEAST);
	cost = MIN(cost, UINT16_MAX);
	lane->cost = (uint16_t)(cost > lane->cost ? cost : (lane->cost + cost) / 2);
}

void lane_on_room(struct lane *lane, uint32_t bytes, bool writable)
{
	bool worth = bytes >= LANE_ROOM_WORTH_BYTES && (writable || !lane->bulk);
	uint64_t room_bytes;

	CHECK(lane_next(lane) == LANE_MEASURE);
	learn_cost(lane, bytes);
	lane->measured_bytes = bytes;
	lane->sent_bytes = 0;
	if (!worth && !lane->write_woken) {
		lane->write_ready = false;
		return;
	}
	lane->write_woken = false;
	room_bytes = (uint64_t)bytes * 16 / lane->cost;
	lane->room_bytes = (uint32_t)MAX(room_bytes, LANE_ROOM_FLOOR_BYTES);
	lane->room_low_bytes = lane->room_bytes / 2;
}

void lane_on_filled(struct lane *lane, uint32_t bytes, bool drained)
{
	CHECK(lane_next(lane) == LANE_FILL && bytes > 0 && bytes <= lane->room_bytes);
	lane->held_bytes = bytes;
	after_fill(lane, bytes, drained);
}

void lane_on_begun(struct lane *lane, uint32_t preface_bytes, uint32_t bytes, bool drained)
{
	CHECK(lane->state == LANE_OPEN && !lane->held_bytes && !lane->moved_bytes);
	CHECK(preface_bytes > 0);
	lane->held_bytes = preface_bytes + bytes;
	lane->preface_bytes = preface_bytes;
	if (bytes)
		after_fill(lane, bytes, drained);
}

void lane_on_read_empty(struct lane *lane)
{
	CHECK(lane_next(lane) == LANE_FILL);
	/* nothing more arrives at a failed socket: an empty failed socket has ended */
	if (lane->read_error) {
		lane_on_read_end(lane);
		return;
	}
	lane->read_woken = false;
	lane->read_ready = false;
	if (lane->read_ended) {
		/* the announced end is not there yet: only a wait reports when it comes */
		lane->read_ended = false;
		lane->small_fills = 0;
	}
}

void lane_on_read_end(struct lane *lane)
{
	CHECK(lane_next(lane) == LANE_FILL);
	lane->read_ready = false;
	lane->read_woken = false;
	lane->state = LANE_FLUSHED;
}

void lane_on_read_failed(struct lane *lane, int error)
{
	CHECK(error > 0);
	if (!lane->read_error)
		lane->read_error = (int16_t)error;
	if (lane->state == LANE_OPEN)
		lane->read_ready = true;
}

static void take_room(struct lane *lane, uint32_t bytes)
{
	uint32_t cost_bytes = MAX(bytes, LANE_MESSAGE_COST_BYTES);
	uint32_t preface_bytes = MIN(bytes, lane->preface_bytes);

	lane->preface_bytes -= preface_bytes;
	lane->moved_bytes += bytes - preface_bytes;
	lane->sent_bytes += bytes;
	lane->room_bytes -= MIN(lane->room_bytes, cost_bytes);
}

bool lane_is_untouched(const struct lane *lane)
{
	/* lane_take_stirred() resets `stirred` only in chatty lanes, which have moved bytes */
	return !lane->stirred && !lane->small_fills && !lane->moved_bytes && !lane->held_bytes;
}

void lane_on_early(struct lane *lane, uint32_t bytes)
{
	CHECK(lane->state == LANE_OPEN && !lane->held_bytes && !lane->moved_bytes && bytes > 0);
	lane->stirred = true;
	take_room(lane, bytes);
}

void lane_on_flushed(struct lane *lane, uint32_t bytes)
{
	CHECK(lane_next(lane) == LANE_FLUSH && bytes > 0 && bytes <= lane->held_bytes);
	lane->held_bytes -= bytes;
	take_room(lane, bytes);
	if (lane->held_bytes)
		lane->write_ready = false;
}

void lane_on_copied(struct lane *lane, uint32_t bytes, bool drained)
{
	CHECK(lane_next(lane) == LANE_FILL && bytes > 0);
	take_room(lane, bytes);
	after_fill(lane, bytes, drained);
}

void lane_on_write_full(struct lane *lane)
{
	CHECK(lane->state == LANE_OPEN);
	lane->write_ready = false;
}

void lane_on_write_failed(struct lane *lane, int error)
{
	CHECK(error > 0 && lane->state != LANE_SHUT);
	lane->write_error = (int16_t)error;
	lane->held_bytes = 0;
	lane->state = LANE_SHUT;
}

void lane_on_shut(struct lane *lane)
{
	CHECK(lane_next(lane) == LANE_SHUT_WRITE_SIDE);
	lane->state = LANE_SHUT;
}
