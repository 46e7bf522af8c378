/* SPDX-License-Identifier: MIT */
#include "lane_model.h"

#include <string.h>

#include "base/check.h"

static uint64_t held_bytes(const struct lane_model *model)
{
	return model->filled_bytes - model->moved_bytes - model->lost_bytes;
}

void lane_model_init(struct lane_model *model, bool read_ready)
{
	memset(model, 0, sizeof(*model));
	model->read_side = read_ready ? READ_SIDE_MAY_HAVE : READ_SIDE_QUIET;
	model->write_side = WRITE_SIDE_TAKES;
	model->room_limit_bytes = LANE_ROOM_FLOOR_BYTES;
}

enum lane_step lane_model_next(const struct lane_model *model)
{
	if (model->write_side == WRITE_SIDE_OVER)
		return LANE_REST;
	if (model->read_side == READ_SIDE_ENDED)
		return model->read_error ? LANE_RESET_WRITE_SIDE : LANE_SHUT_WRITE_SIDE;
	if (model->write_side == WRITE_SIDE_FULL)
		return LANE_WAIT_WRITABLE;
	if (held_bytes(model))
		return LANE_FLUSH;
	if (model->read_side == READ_SIDE_QUIET)
		return LANE_WAIT_READABLE;
	return model->paced && !model->allowance_bytes ? LANE_WAIT_ALLOWANCE : LANE_FILL;
}

static bool affords(const struct lane_model *model, uint32_t bytes)
{
	return !model->paced || bytes <= model->allowance_bytes;
}

bool lane_model_permits(const struct lane_model *model, const struct lane *lane,
			const struct lane_input *input)
{
	/* lane_model_problem() has checked that the model has the same step */
	enum lane_step step = lane_next(lane);
	bool over = model->write_side == WRITE_SIDE_OVER;

	switch (input->event) {
	case EVENT_WRITABLE: /* these four may come late */
	case EVENT_ARRIVAL:
	case EVENT_QUIET:
	case EVENT_ALLOWANCE_BACK:
		return true;
	case EVENT_ALLOWANCE:
		return step == LANE_WAIT_ALLOWANCE && input->bytes;
	case EVENT_ROOM:
		return step == LANE_MEASURE;
	case EVENT_FILLED:
		return step == LANE_FILL && input->bytes && input->bytes <= lane->room_bytes &&
		       affords(model, input->bytes);
	case EVENT_COPIED:
		return step == LANE_FILL && input->bytes && affords(model, input->bytes);
	case EVENT_READ_EMPTY:
	case EVENT_READ_END:
		return step == LANE_FILL;
	case EVENT_READ_FAILED: /* the other lane may find out at any time */
		return input->error > 0;
	case EVENT_FLUSHED:
		return step == LANE_FLUSH && input->bytes && input->bytes <= held_bytes(model);
	case EVENT_WRITE_FULL:
		return !over && model->read_side != READ_SIDE_ENDED;
	case EVENT_WRITE_FAILED:
		return !over && input->error > 0;
	case EVENT_SHUT:
		return step == LANE_SHUT_WRITE_SIDE;
	default:
		return false;
	}
}

/* After a failure or an end, `drained` does not make the read side quiet: the end must be read. */
static void after_taking(struct lane_model *model, uint32_t bytes, bool drained)
{
	bool over = drained && !model->read_error && !model->read_ended;

	model->read_side = over ? READ_SIDE_QUIET : READ_SIDE_MAY_HAVE;
	model->read_woken = false;
	if (bytes >= LANE_SMALL_BYTES)
		model->bulk = true;
	else if (drained)
		model->bulk = false;
	model->filled_bytes += bytes;
	if (model->paced)
		model->allowance_bytes -= bytes;
}

static void pay(struct lane_model *model, uint32_t bytes)
{
	model->moved_bytes += bytes;
	model->room_limit_bytes -= MIN(model->room_limit_bytes, bytes);
}

static void on_arrival(struct lane_model *model, bool ended)
{
	if (model->read_side == READ_SIDE_ENDED || model->write_side == WRITE_SIDE_OVER)
		return;
	model->read_side = READ_SIDE_MAY_HAVE;
	model->read_woken = true;
	model->read_ended |= ended;
}

static void on_writable(struct lane_model *model)
{
	if (lane_model_next(model) != LANE_WAIT_WRITABLE)
		return;
	model->write_side = WRITE_SIDE_WRITABLE;
	model->room_limit_bytes = 0;
}

static void on_room(struct lane_model *model, uint32_t bytes, bool writable)
{
	bool worth = bytes >= LANE_ROOM_WORTH_BYTES && (writable || !model->bulk);

	/* too little room: waits, unless the kernel has just called the write side writable */
	if (model->write_side == WRITE_SIDE_TAKES && !worth) {
		model->write_side = WRITE_SIDE_FULL;
		return;
	}
	model->write_side = WRITE_SIDE_TAKES;
	model->room_limit_bytes = MAX(bytes, LANE_ROOM_FLOOR_BYTES);
}

void lane_model_apply(struct lane_model *model, const struct lane_input *input)
{
	switch (input->event) {
	case EVENT_WRITABLE:
		on_writable(model);
		break;
	case EVENT_ARRIVAL:
		on_arrival(model, input->drained);
		break;
	case EVENT_QUIET:
		break;
	case EVENT_ROOM:
		on_room(model, input->bytes, !input->drained);
		break;
	case EVENT_FILLED:
		after_taking(model, input->bytes, input->drained);
		break;
	case EVENT_COPIED:
		after_taking(model, input->bytes, input->drained);
		pay(model, input->bytes);
		break;
	case EVENT_READ_EMPTY:
		model->read_side = model->read_error ? READ_SIDE_ENDED : READ_SIDE_QUIET;
		model->read_ended = false;
		model->read_woken = false;
		break;
	case EVENT_READ_END:
		model->read_side = READ_SIDE_ENDED;
		model->read_woken = false;
		break;
	case EVENT_READ_FAILED:
		if (!model->read_error)
			model->read_error = input->error;
		if (model->read_side == READ_SIDE_QUIET && model->write_side != WRITE_SIDE_OVER)
			model->read_side = READ_SIDE_MAY_HAVE;
		break;
	case EVENT_FLUSHED:
		pay(model, input->bytes);
		if (held_bytes(model))
			model->write_side = WRITE_SIDE_FULL;
		break;
	case EVENT_WRITE_FULL:
		model->write_side = WRITE_SIDE_FULL;
		break;
	case EVENT_WRITE_FAILED:
		model->lost_bytes += held_bytes(model);
		model->write_error = input->error;
		model->write_side = WRITE_SIDE_OVER;
		break;
	case EVENT_SHUT:
		model->write_side = WRITE_SIDE_OVER;
		break;
	case EVENT_ALLOWANCE:
		model->allowance_bytes = input->bytes;
		break;
	case EVENT_ALLOWANCE_BACK:
		model->allowance_bytes = 0;
		break;
	default:
		CHECK(!"no such event");
	}
}

void lane_model_call(struct lane *lane, const struct lane_input *input)
{
	switch (input->event) {
	case EVENT_WRITABLE:
		lane_on_writable(lane);
		break;
	case EVENT_ARRIVAL:
		lane_on_arrival(lane, input->drained);
		break;
	case EVENT_QUIET:
		lane_on_quiet(lane);
		break;
	case EVENT_ROOM:
		lane_on_room(lane, input->bytes, !input->drained);
		break;
	case EVENT_FILLED:
		lane_on_filled(lane, input->bytes, input->drained);
		break;
	case EVENT_COPIED:
		lane_on_copied(lane, input->bytes, input->drained);
		break;
	case EVENT_READ_EMPTY:
		lane_on_read_empty(lane);
		break;
	case EVENT_READ_END:
		lane_on_read_end(lane);
		break;
	case EVENT_READ_FAILED:
		lane_on_read_failed(lane, input->error);
		break;
	case EVENT_FLUSHED:
		lane_on_flushed(lane, input->bytes);
		break;
	case EVENT_WRITE_FULL:
		lane_on_write_full(lane);
		break;
	case EVENT_WRITE_FAILED:
		lane_on_write_failed(lane, input->error);
		break;
	case EVENT_SHUT:
		lane_on_shut(lane);
		break;
	case EVENT_ALLOWANCE:
		lane_on_allowance(lane, input->bytes);
		break;
	case EVENT_ALLOWANCE_BACK:
		lane_take_allowance(lane);
		break;
	default:
		CHECK(!"no such event");
	}
}

static const char *step_problem(const struct lane_model *model, const struct lane *lane,
				enum lane_step step)
{
	bool ended = model->read_side == READ_SIDE_ENDED && !lane->held_bytes;

	if (lane->held_bytes && step != LANE_FLUSH && step != LANE_WAIT_WRITABLE)
		return "bytes are held and neither flushed nor waited for";
	if (step == LANE_FILL && !lane->room_bytes)
		return "fills without room";
	if (step == LANE_FLUSH && !lane->held_bytes)
		return "flushes nothing";
	if (step == LANE_SHUT_WRITE_SIDE && (!ended || lane->read_error))
		return "passes on a clean end although there was none";
	if (step == LANE_SHUT_WRITE_SIDE && model->moved_bytes != model->filled_bytes)
		return "passes the end on before the last byte";
	if (step == LANE_RESET_WRITE_SIDE && (!ended || !lane->read_error))
		return "resets a write side whose read side did not fail";
	if (step == LANE_RESET_WRITE_SIDE && model->moved_bytes != model->filled_bytes)
		return "resets before the received bytes are delivered";
	return NULL;
}

const char *lane_model_problem(const struct lane_model *model, const struct lane *lane)
{
	struct lane before = *lane;
	enum lane_step step = lane_next(lane);
	enum lane_step wanted = lane_model_next(model);

	if (memcmp(&before, lane, sizeof(before)))
		return "lane_next() changed the lane";
	if (step != wanted && !(step == LANE_MEASURE && wanted == LANE_FILL))
		return "the step is another than the model's";
	if (step == LANE_FILL && lane->room_bytes > model->room_limit_bytes)
		return "would take more than was measured";
	if (lane->paced != model->paced || lane->allowance_bytes != model->allowance_bytes)
		return "the allowance is not granted - taken back - filled";
	if (lane_affords(lane, UINT32_MAX) != (lane->paced ? lane->allowance_bytes : UINT32_MAX))
		return "affords something else than its allowance";
	if (lane->held_bytes != held_bytes(model))
		return "held is not filled - moved - lost";
	if (lane->moved_bytes != model->moved_bytes)
		return "moved differs";
	if (lane->read_error != model->read_error || lane->write_error != model->write_error)
		return "an error differs";
	if (lane_is_chatty(lane) && lane->bulk)
		return "a bulk lane is called chatty";
	if (lane->read_woken != model->read_woken)
		return "read_woken differs";
	return step_problem(model, lane, step);
}

const char *lane_model_step_name(enum lane_step step)
{
	static const char *const names[] = {
		"MEASURE",	 "FILL",	   "FLUSH",	      "WAIT_READABLE",
		"WAIT_WRITABLE", "WAIT_ALLOWANCE", "SHUT_WRITE_SIDE", "RESET_WRITE_SIDE",
		"REST"};

	CHECK((unsigned)step < ARRAY_COUNT(names));
	return names[step];
}

const char *lane_model_event_name(enum lane_event event)
{
	static const char *const names[EVENT_COUNT] = {
		"writable",   "arrival",      "quiet",	  "room",	 "filled",
		"copied",     "read_empty",   "read_end", "read_failed", "flushed",
		"write_full", "write_failed", "shut",	  "allowance",	 "allowance_back"};

	CHECK((unsigned)event < EVENT_COUNT);
	return names[event];
}
