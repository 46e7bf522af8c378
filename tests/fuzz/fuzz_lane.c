/* SPDX-License-Identifier: MIT */
/*
 * Compares lane.h with the model that counts bytes (tests/unit/lane_model.h). Each five bytes of
 * the input are one event: the first byte chooses the event, the others its size or error. Events
 * that are not allowed now are skipped.
 */
#include <string.h>

#include "base/check.h"
#include "fuzz.h"
#include "lane_model.h"

static uint32_t scale(uint32_t random, uint32_t limit)
{
	/* all of `limit` half of the time: most changes of a lane happen there */
	return random & 1 ? limit : 1 + random / 2 % (limit ? limit : 1);
}

/* Fills in arguments that the function of the event allows in some state. */
static void complete(struct lane_input *input, const struct lane *lane, uint32_t random)
{
	input->drained = random >> 31;
	switch (input->event) {
	case EVENT_ROOM: /* of every magnitude */
		input->bytes = random >> random % 32;
		break;
	case EVENT_FILLED:
		input->bytes = scale(random, lane_affords(lane, lane->room_bytes));
		break;
	case EVENT_COPIED: /* may be more than the room */
		input->bytes =
			scale(random, lane_affords(lane, lane->room_bytes)) + (random % 64 == 2);
		break;
	case EVENT_FLUSHED:
		input->bytes = scale(random, lane->held_bytes);
		break;
	case EVENT_ALLOWANCE: /* of every magnitude */
		input->bytes = 1 + (random >> 1 >> random % 31);
		break;
	case EVENT_ARRIVAL: /* mostly without an end */
		input->drained = random % 8 == 0;
		break;
	default:
		input->error = 1 + (int)(random % 133);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct lane_model model;
	struct lane lane;

	lane_init(&lane, count % 2);
	lane_model_init(&model, count % 2);
	lane.paced = model.paced = count / 2 % 2;
	CHECK(!lane_model_problem(&model, &lane));
	for (; count >= 5; bytes += 5, count -= 5) {
		struct lane_input input = {.event = bytes[0] % EVENT_COUNT};
		uint32_t random;

		memcpy(&random, bytes + 1, sizeof(random));
		complete(&input, &lane, random);
		/* failures end a lane, so most of them are skipped */
		if ((input.event == EVENT_WRITE_FAILED || input.event == EVENT_READ_FAILED) &&
		    bytes[0] / EVENT_COUNT)
			continue;
		if (!lane_model_permits(&model, &lane, &input))
			continue;
		lane_model_call(&lane, &input);
		lane_model_apply(&model, &input);
		CHECK(!lane_model_problem(&model, &lane));
	}
	return 0;
}
