/* SPDX-License-Identifier: MIT */
/*
 * A second implementation of src/relay/lane.h, to compare lanes with. The model counts the bytes
 * that came in, went out and were lost; the lane must hold the difference. The model does not say
 * how much of the write side's room a lane uses, only that it is no more than was measured.
 * test_lane_walk.c walks the reachable states with the model, fuzz_lane.c makes long random runs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "relay/lane.h"

enum lane_event {
	EVENT_WRITABLE,
	EVENT_ARRIVAL,
	EVENT_QUIET,
	EVENT_ROOM,
	EVENT_FILLED,
	EVENT_COPIED,
	EVENT_READ_EMPTY,
	EVENT_READ_END,
	EVENT_READ_FAILED,
	EVENT_FLUSHED,
	EVENT_WRITE_FULL,
	EVENT_WRITE_FAILED,
	EVENT_SHUT,
	EVENT_ALLOWANCE,
	EVENT_ALLOWANCE_BACK, /* taken away from the lane */
	EVENT_COUNT
};

/* One call of lane_on_...(). Each event uses the members that its function has as arguments. */
struct lane_input {
	enum lane_event event;
	uint32_t bytes;
	bool drained; /* for EVENT_ARRIVAL: the end has arrived too; for EVENT_ROOM: not writable */
	int error;
};

enum lane_model_read_side { READ_SIDE_QUIET, READ_SIDE_MAY_HAVE, READ_SIDE_ENDED };
enum lane_model_write_side {
	WRITE_SIDE_TAKES,
	WRITE_SIDE_WRITABLE,
	WRITE_SIDE_FULL,
	WRITE_SIDE_OVER
};

struct lane_model {
	uint64_t filled_bytes; /* from the read side, copies included */
	uint64_t moved_bytes;  /* to the write side */
	uint64_t lost_bytes;   /* held when the write side failed */
	enum lane_model_read_side read_side;
	enum lane_model_write_side
		write_side; /* WRITABLE: as the kernel said; its room is not known yet */
	bool read_ended;    /* the end has arrived and was not read yet */
	bool read_woken;    /* the kernel called it readable, and no fill has been tried since */
	bool bulk;	    /* the last fill that decides between small and bulk was large */
	int read_error;
	int write_error;
	bool paced;		   /* set after lane_model_init(), as in the lane */
	uint64_t allowance_bytes;  /* granted, not taken back, and not filled yet */
	uint64_t room_limit_bytes; /* what the lane may take at most without measuring again */
};

void lane_model_init(struct lane_model *model, bool read_ready);

/* What lane_next() should return; LANE_FILL stands for LANE_MEASURE too. */
enum lane_step lane_model_next(const struct lane_model *model);

/* Whether lane.h allows the call now; a forbidden call fails a CHECK. */
bool lane_model_permits(const struct lane_model *model, const struct lane *lane,
			const struct lane_input *input);
void lane_model_apply(struct lane_model *model, const struct lane_input *input);

/* Makes the call that `input` describes. */
void lane_model_call(struct lane *lane, const struct lane_input *input);

/* NULL if lane and model agree and all invariants hold; otherwise the problem, a static string. */
const char *lane_model_problem(const struct lane_model *model, const struct lane *lane);

/* For messages. */
const char *lane_model_step_name(enum lane_step step);
const char *lane_model_event_name(enum lane_event event);
