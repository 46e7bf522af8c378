/* SPDX-License-Identifier: MIT */
/* One lane over real sockets, for test_pump.c and test_pump_failures.c. */
#pragma once

#include "relay/pump.h"
#include "support.h"

#define FLOW_PLENTY (1U << 30) /* a budget that no test uses up */

struct flow_setting {
	const char *name;
	unsigned pipes; /* 0: the pool is empty, so the pump copies */
	uint32_t pipe_bytes;
	int write_side_sndbuf_bytes; /* 0: the kernel's default */
	int reader_rcvbuf_bytes;
	size_t chunk_bytes; /* the writer sends so many bytes at a time */
	uint64_t total_bytes;
};

/* Bytes go from in.peer through in.ours and out.ours to out.peer. */
struct flow {
	struct support_tcp in;
	struct support_tcp out;
	struct lane lane;
	struct pipe *pipe;
	struct pump pump;
	struct metrics metrics;
	struct pipe *lent; /* a pipe that the test takes to keep the pool empty */
	unsigned pipe_count;
};

void flow_open(struct flow *flow, const struct flow_setting *setting);

/* Closes everything, and checks that every pipe came back. */
void flow_close(struct flow *flow);

/* Calls pump_run(), and checks what must hold after every call. Returns its result. */
bool flow_run(struct flow *flow, uint32_t *budget_bytes);

/* Wait as a session does, and report to the lane. */
void flow_await_arrival(struct flow *flow);
void flow_await_room(struct flow *flow);

/* Runs the lane as a session does, until its step is `idle` or it is over; returns the step. */
enum lane_step flow_relay(struct flow *flow, enum lane_step idle);

/* Runs the lane until it has moved `moved_bytes` in all; wakes it at most `wake_limit` times. */
void flow_deliver(struct flow *flow, uint64_t moved_bytes, unsigned wake_limit);
