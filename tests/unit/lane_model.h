/*
 * A second opinion on src/relay/lane.h: what a lane should do, told from the bytes' point of view. It
 * never holds bytes: it counts what came in, what went out and what was lost, and the lane must
 * hold the difference. How much of the target's room a lane makes use of is its own affair, as long
 * as it is no more than was measured. test_lane_walk.c walks the reachable states with it,
 * fuzz_lane.c makes long random runs.
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
	EVENT_SOURCE_EMPTY,
	EVENT_SOURCE_EOF,
	EVENT_SOURCE_FAILED,
	EVENT_FLUSHED,
	EVENT_TARGET_FULL,
	EVENT_TARGET_FAILED,
	EVENT_SHUT,
	EVENT_CREDIT,
	EVENT_CREDIT_BACK, /* taken from the lane */
	EVENT_COUNT
};

/* One call of lane_on_...(); each event uses the members that its function has. */
struct lane_input {
	enum lane_event event;
	uint32_t bytes;
	bool drained; /* of EVENT_ARRIVAL: the end has arrived too; of EVENT_ROOM: not writable */
	int error;
};

enum lane_model_source { LEASE_QUIET, LEASE_MAY_HAVE, LEASE_ENDED };
enum lane_model_target { TARGET_TAKES, TARGET_WRITABLE, TARGET_FULL, TARGET_OVER };

struct lane_model {
	uint64_t filled_bytes; /* from the source, copies included */
	uint64_t moved_bytes;  /* to the target */
	uint64_t lost_bytes;   /* held when the target failed */
	enum lane_model_source source;
	enum lane_model_target target; /* WRITABLE: the kernel said so; its room is not known yet */
	bool read_ended;	       /* its end has arrived and was not read yet */
	bool read_woken; /* the kernel called it readable, and no fill has been tried since */
	bool bulk;	 /* the last fill that decides between small and bulk was large */
	int read_error;
	int write_error;
	bool paced;		   /* set after lane_model_init(), as in the lane */
	uint64_t allowance_bytes;  /* granted, not taken back, and not filled yet */
	uint64_t room_limit_bytes; /* what the lane may take at most without measuring again */
};

void lane_model_init(struct lane_model *model, bool read_ready);

/* What lane_next() should answer; LANE_FILL stands for LANE_MEASURE too. */
enum lane_step lane_model_next(const struct lane_model *model);

/* Whether the header allows the call now; what it forbids is a CHECK failure. */
bool lane_model_permits(const struct lane_model *model, const struct lane *lane,
			const struct lane_input *input);
void lane_model_apply(struct lane_model *model, const struct lane_input *input);

/* Makes the call that `input` describes. */
void lane_model_call(struct lane *lane, const struct lane_input *input);

/* NULL when lane and model agree and all invariants hold, otherwise what does not; static. */
const char *lane_model_problem(const struct lane_model *model, const struct lane *lane);

/* For messages. */
const char *lane_model_step_name(enum lane_step step);
const char *lane_model_event_name(enum lane_event event);
