/* SPDX-License-Identifier: MIT */
#include "pump_flow.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

void flow_open(struct flow *flow, const struct flow_setting *setting)
{
	memset(flow, 0, sizeof(*flow));
	/* as control_take_signals() does: splice(2) has no MSG_NOSIGNAL */
	signal(SIGPIPE, SIG_IGN);
	support_tcp_open(&flow->in, 0, 0);
	support_tcp_open(&flow->out, setting->write_side_sndbuf_bytes,
			 setting->reader_rcvbuf_bytes);
	lane_init(&flow->lane, true);
	flow->pipe_count = MAX(setting->pipes, 1);
	cr_assert_eq(pipe_pools_create(&flow->pump.pipes, 1, flow->pipe_count,
				       MAX(setting->pipe_bytes, 4096)),
		     0);
	if (!setting->pipes)
		flow->lent = pipe_pool_take(flow->pump.pipes);
	flow->pump.metrics = &flow->metrics;
	flow->pump.scratch = malloc(PUMP_SCRATCH_BYTES);
	cr_assert_not_null(flow->pump.scratch);
}

void flow_close(struct flow *flow)
{
	cr_expect_eq(pump_release(&flow->pump, &flow->lane, &flow->pipe), 0);
	cr_expect_null(flow->pipe);
	if (flow->lent)
		pipe_pool_give(flow->pump.pipes, flow->lent);
	cr_expect_eq(pipe_pool_free_count(flow->pump.pipes), flow->pipe_count, "a pipe is missing");
	pipe_pool_destroy(flow->pump.pipes);
	free(flow->pump.scratch);
	support_tcp_close(&flow->in);
	support_tcp_close(&flow->out);
}

bool flow_run(struct flow *flow, uint32_t *budget_bytes)
{
	uint64_t before = flow->lane.moved_bytes;
	const struct pump_flow ends = {&flow->lane, &flow->pipe, flow->in.ours, flow->out.ours};
	bool moved = pump_run(&flow->pump, &ends, budget_bytes);

	cr_assert_eq(moved, flow->lane.moved_bytes != before);
	/* when the write side has failed, its bytes stay in the pipe until pump_release() */
	if (!flow->lane.write_error)
		cr_assert_eq(flow->pipe != NULL, flow->lane.held_bytes > 0,
			     "the lane has an empty pipe, or holds bytes without a pipe");
	return moved;
}

void flow_await_arrival(struct flow *flow)
{
	support_poll(flow->in.ours, POLLIN);
	lane_on_arrival(&flow->lane, false);
}

void flow_await_room(struct flow *flow)
{
	support_poll(flow->out.ours, POLLOUT);
	lane_on_writable(&flow->lane);
}

enum lane_step flow_relay(struct flow *flow, enum lane_step idle)
{
	for (unsigned rounds = 0; rounds < 10000000; rounds++) {
		uint32_t budget_bytes = FLOW_PLENTY;
		enum lane_step step;

		flow_run(flow, &budget_bytes);
		step = lane_next(&flow->lane);
		if (step == idle || step == LANE_SHUT_WRITE_SIDE || step == LANE_RESET_WRITE_SIDE ||
		    step == LANE_REST)
			return step;
		if (step == LANE_WAIT_READABLE)
			flow_await_arrival(flow);
		else if (step == LANE_WAIT_WRITABLE)
			flow_await_room(flow);
	}
	cr_assert_fail("the lane does not end");
	return LANE_REST;
}

void flow_deliver(struct flow *flow, uint64_t moved_bytes, unsigned wake_limit)
{
	unsigned wakes = 0;

	while (flow->lane.moved_bytes < moved_bytes) {
		if (flow_relay(flow, LANE_WAIT_READABLE) != LANE_WAIT_READABLE)
			break;
		if (flow->lane.moved_bytes < moved_bytes) {
			cr_assert_lt(wakes++, wake_limit, "the lane spins");
			flow_await_arrival(flow);
		}
	}
	cr_expect_eq(flow->lane.moved_bytes, moved_bytes);
}
