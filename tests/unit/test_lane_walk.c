/* SPDX-License-Identifier: MIT */
/* Compares lane.h with lane_model.h in all reachable states. test_lane.c has single stories. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "lane_model.h"
#include "relay/lane.h"
#include "support.h"

TestSuite(lane_walk, .fini = support_check_leaks);

/*
 * A walk through the reachable states, breadth first. Byte counts make the number of states
 * endless. So states that differ only in byte counts are one kind: the key counts held bytes, the
 * room and the allowance as none or some, and the room also as below its mark. The walk follows the
 * first KIND_LIMIT states of each kind. From each state it tries every event with the byte counts
 * that matter there. Afterwards lane and model must agree.
 */
#define STATE_LIMIT (1U << 18)
#define KIND_LIMIT  32
#define KEY_WORDS   18
#define INPUT_LIMIT 96

struct node {
	struct lane lane;
	struct lane_model model;
};

struct walk {
	struct node *nodes; /* in the order of discovery */
	unsigned count;
	unsigned kind_count;
	unsigned *slots; /* hash table of 1 + index into nodes */
};

/* The totals only grow. States that differ only in their totals are the same state. */
static void forget_totals(struct node *node)
{
	struct lane_model *model = &node->model;

	model->filled_bytes -= model->moved_bytes + model->lost_bytes;
	model->moved_bytes = 0;
	model->lost_bytes = 0;
	node->lane.moved_bytes = 0;
}

static void make_key(const struct node *node, uint64_t key[KEY_WORDS])
{
	const struct lane *lane = &node->lane;
	const uint64_t words[KEY_WORDS] = {
		lane->state,
		lane->read_ready,
		lane->read_woken,
		lane->read_ended,
		lane->bulk,
		lane->small_fills,
		lane->write_ready,
		lane->write_woken,
		(uint64_t)lane->read_error,
		(uint64_t)lane->write_error,
		lane->held_bytes > 0,
		lane->room_bytes > 0,
		lane->room_bytes<lane->room_low_bytes, node->model.filled_bytes> 0,
		node->model.read_side,
		node->model.write_side,
		lane->paced,
		lane->allowance_bytes > 0,
	};

	memcpy(key, words, sizeof(words));
}

static uint64_t hash_key(const uint64_t key[KEY_WORDS])
{
	uint64_t hash = 0;

	for (unsigned i = 0; i < KEY_WORDS; i++) {
		hash += key[i];
		hash = support_random(&hash);
	}
	return hash;
}

static void discover(struct walk *walk, const struct node *found)
{
	struct node node = *found;
	uint64_t key[KEY_WORDS], other[KEY_WORDS];
	unsigned members = 0;
	size_t at;

	forget_totals(&node);
	make_key(&node, key);
	for (at = hash_key(key) % (2 * STATE_LIMIT); walk->slots[at]; at++, at %= 2 * STATE_LIMIT) {
		const struct node *known = &walk->nodes[walk->slots[at] - 1];

		make_key(known, other);
		if (memcmp(key, other, sizeof(key)))
			continue;
		if (!memcmp(&known->lane, &node.lane, sizeof(node.lane)) || ++members == KIND_LIMIT)
			return;
	}
	cr_assert_lt(walk->count, STATE_LIMIT);
	walk->kind_count += !members;
	walk->nodes[walk->count++] = node;
	walk->slots[at] = walk->count;
}

/* Lists what to try in a state; lane_model_permits() says which of these calls are allowed. */
static unsigned list_inputs(const struct lane *lane, struct lane_input inputs[INPUT_LIMIT])
{
	const uint32_t rooms[] = {0,
				  1,
				  LANE_ROOM_FLOOR_BYTES,
				  LANE_ROOM_WORTH_BYTES - 1,
				  LANE_ROOM_WORTH_BYTES,
				  65536,
				  UINT32_MAX};
	uint32_t room = lane->room_bytes, held = lane->held_bytes;
	const uint32_t taken[] = {room, room / 2 + room % 2, room / 4 + 1,
				  lane_affords(lane, room)};
	const uint32_t granted[] = {1, LANE_SMALL_BYTES, UINT32_MAX};
	const uint32_t given[] = {held, held / 2 + held % 2};
	unsigned count = 0;

	for (unsigned event = 0; event < EVENT_COUNT; event++)
		for (int error = 0; error < 3; error++)
			inputs[count++] = (struct lane_input){.event = event, .error = error};
	for (unsigned i = 0; i < ARRAY_COUNT(rooms); i++)
		for (int unwritable = 0; unwritable < 2; unwritable++)
			inputs[count++] = (struct lane_input){EVENT_ROOM, rooms[i], unwritable, 0};
	for (unsigned i = 0; i < ARRAY_COUNT(taken); i++)
		for (int drained = 0; drained < 2; drained++) {
			inputs[count++] = (struct lane_input){EVENT_FILLED, taken[i], drained, 0};
			inputs[count++] = (struct lane_input){EVENT_COPIED, taken[i], drained, 0};
		}
	/* a copy may take more than the room */
	inputs[count++] = (struct lane_input){EVENT_COPIED, room + 1, false, 0};
	for (unsigned i = 0; i < ARRAY_COUNT(given); i++)
		inputs[count++] = (struct lane_input){.event = EVENT_FLUSHED, .bytes = given[i]};
	for (unsigned i = 0; i < ARRAY_COUNT(granted); i++)
		inputs[count++] =
			(struct lane_input){.event = EVENT_ALLOWANCE, .bytes = granted[i]};
	return count;
}

/* An event that moves no byte must change the step, or the pump would loop for ever. */
static const char *progress_problem(const struct lane *before, const struct lane_input *input,
				    const struct lane *after)
{
	enum lane_step step = lane_next(before), next = lane_next(after);
	bool moves = input->event == EVENT_FILLED || input->event == EVENT_COPIED ||
		     input->event == EVENT_FLUSHED;

	if (input->event == EVENT_ROOM && next != LANE_FILL && next != LANE_WAIT_WRITABLE)
		return "a measurement leads neither to a fill nor to a wait";
	if (input->event == EVENT_ROOM && before->write_woken && next != LANE_FILL)
		return "a writable write side is measured and not tried";
	if (input->event == EVENT_READ_END && !before->read_error && next != LANE_SHUT_WRITE_SIDE)
		return "a FIN is not passed on";
	if (before->read_error && after->read_error != before->read_error)
		return "the first error is forgotten";
	if (input->event == EVENT_READ_FAILED || moves || input->event == EVENT_WRITABLE ||
	    input->event == EVENT_ARRIVAL || input->event == EVENT_QUIET ||
	    input->event == EVENT_ALLOWANCE_BACK)
		return NULL;
	if (step == LANE_FILL && (next == LANE_FILL || next == LANE_MEASURE))
		return "a fill that moves nothing is tried again at once";
	if (step == LANE_FLUSH && next == LANE_FLUSH)
		return "a flush that moves nothing is tried again at once";
	return NULL;
}

static void try_input(struct walk *walk, const struct node *from, const struct lane_input *input)
{
	struct node node = *from;
	const char *problem;

	if (!lane_model_permits(&node.model, &node.lane, input))
		return;
	lane_model_call(&node.lane, input);
	lane_model_apply(&node.model, input);
	problem = lane_model_problem(&node.model, &node.lane);
	if (!problem)
		problem = progress_problem(&from->lane, input, &node.lane);
	cr_assert_null(problem, "in %s (held %u, room %u), %s(%u, %d, %d) to %s: %s",
		       lane_model_step_name(lane_next(&from->lane)), from->lane.held_bytes,
		       from->lane.room_bytes, lane_model_event_name(input->event), input->bytes,
		       input->drained, input->error, lane_model_step_name(lane_next(&node.lane)),
		       problem);
	discover(walk, &node);
}

static void start_walk(struct walk *walk)
{
	walk->nodes = calloc(STATE_LIMIT, sizeof(*walk->nodes));
	walk->slots = calloc(2 * STATE_LIMIT, sizeof(*walk->slots));
	walk->count = 0;
	cr_assert(walk->nodes && walk->slots);
	for (int i = 0; i < 4; i++) {
		struct node node = {0};

		lane_init(&node.lane, i % 2);
		lane_model_init(&node.model, i % 2);
		node.lane.paced = node.model.paced = i / 2;
		cr_assert_null(lane_model_problem(&node.model, &node.lane));
		discover(walk, &node);
	}
}

Test(lane_walk, every_reachable_state_with_every_event)
{
	struct lane_input inputs[INPUT_LIMIT];
	bool seen[LANE_REST + 1] = {false};
	struct walk walk;

	start_walk(&walk);
	for (unsigned i = 0; i < walk.count; i++) {
		struct node node = walk.nodes[i];
		unsigned input_count = list_inputs(&node.lane, inputs);

		seen[lane_next(&node.lane)] = true;
		for (unsigned j = 0; j < input_count; j++)
			try_input(&walk, &node, &inputs[j]);
	}
	for (unsigned step = 0; step <= LANE_REST; step++)
		cr_expect(seen[step], "%s was never reached", lane_model_step_name(step));
	cr_log_info("%u kinds of states, %u of them tried", walk.kind_count, walk.count);
	free(walk.nodes);
	free(walk.slots);
}

/* Forbidden calls ------------------------------------------------------------------------------ */

/* Brings a new lane to a step by the shortest way. */
static void bring_to(struct lane *lane, struct lane_model *model, enum lane_step step)
{
	static const struct lane_input ways[LANE_REST + 1][4] = {
		[LANE_MEASURE] = {{EVENT_COPIED, LANE_ROOM_FLOOR_BYTES, false, 0}},
		[LANE_FILL] = {{EVENT_COPIED, LANE_ROOM_FLOOR_BYTES, false, 0},
			       {EVENT_ROOM, 65536, false, 0}},
		[LANE_FLUSH] = {{EVENT_FILLED, 100, false, 0}},
		[LANE_WAIT_READABLE] = {{.event = EVENT_READ_EMPTY}},
		[LANE_WAIT_WRITABLE] = {{.event = EVENT_WRITE_FULL}},
		[LANE_SHUT_WRITE_SIDE] = {{.event = EVENT_READ_END}},
		[LANE_RESET_WRITE_SIDE] = {{.event = EVENT_READ_FAILED, .error = 104},
					   {.event = EVENT_READ_END}},
		[LANE_REST] = {{.event = EVENT_WRITE_FAILED, .error = 104}},
	}; /* none for LANE_WAIT_ALLOWANCE: a paced lane begins there */

	lane_init(lane, true);
	lane_model_init(model, true);
	lane->paced = model->paced = step == LANE_WAIT_ALLOWANCE;
	for (const struct lane_input *input = ways[step]; input->event != EVENT_WRITABLE; input++) {
		lane_model_call(lane, input);
		lane_model_apply(model, input);
	}
	cr_assert_eq(lane_next(lane), step, "%s", lane_model_step_name(step));
}

struct call {
	struct lane lane;
	struct lane_input input;
};

static void make_call(void *argument)
{
	struct call *call = argument;

	lane_model_call(&call->lane, &call->input);
}

Test(lane_walk, what_the_model_forbids_is_a_programming_error)
{
	static const struct lane_input inputs[] = {
		{.event = EVENT_WRITABLE},
		{.event = EVENT_ARRIVAL},
		{.event = EVENT_QUIET},
		{EVENT_ROOM, 65536, false, 0},
		{EVENT_FILLED, 1, false, 0},
		{EVENT_FILLED, 0, false, 0},
		{EVENT_FILLED, 65537, false, 0}, /* more than the room was */
		{EVENT_COPIED, 1, false, 0},
		{EVENT_COPIED, 0, false, 0},
		{.event = EVENT_READ_EMPTY},
		{.event = EVENT_READ_END},
		{.event = EVENT_READ_FAILED, .error = 104},
		{.event = EVENT_READ_FAILED, .error = 0},
		{.event = EVENT_READ_FAILED, .error = -104},
		{EVENT_FLUSHED, 100, false, 0},
		{EVENT_FLUSHED, 101, false, 0},
		{EVENT_FLUSHED, 0, false, 0},
		{.event = EVENT_WRITE_FULL},
		{.event = EVENT_WRITE_FAILED, .error = 104},
		{.event = EVENT_WRITE_FAILED, .error = 0},
		{.event = EVENT_WRITE_FAILED, .error = -104},
		{.event = EVENT_SHUT},
		{.event = EVENT_ALLOWANCE, .bytes = 1},
		{.event = EVENT_ALLOWANCE},
		{.event = EVENT_ALLOWANCE_BACK},
	};

	for (unsigned step = 0; step <= LANE_REST; step++)
		for (size_t i = 0; i < ARRAY_COUNT(inputs); i++) {
			struct call call = {.input = inputs[i]};
			struct lane_model model;
			bool permitted;

			bring_to(&call.lane, &model, step);
			permitted = lane_model_permits(&model, &call.lane, &inputs[i]);
			cr_expect_neq(support_aborts(make_call, &call), permitted,
				      "in %s, %s(%u, error %d)", lane_model_step_name(step),
				      lane_model_event_name(inputs[i].event), inputs[i].bytes,
				      inputs[i].error);
		}
}
