/* SPDX-License-Identifier: MIT */
/* pump.h: sockets that fail, pipes that are left with bytes, and budgets that are used up. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "pump_flow.h"
#include "relay/pump.h"
#include "support.h"

TestSuite(pump_failures, .fini = support_check_leaks);

static const struct flow_setting settings[] = {
	{"splicing", 2, 65536, 0, 0, 65536, 0},
	{"copying", 0, 0, 0, 0, 65536, 0},
};

static void send_pattern(struct flow *flow, size_t count)
{
	char bytes[4096];

	support_fill_pattern(bytes, count, 0);
	support_send(flow->in.peer, bytes, count);
	support_wait_for_bytes(flow->in.ours, count);
}

static void expect_received(struct flow *flow, size_t count)
{
	char bytes[4096];

	support_receive(flow->out.peer, bytes, count);
	cr_expect_eq(support_check_pattern(bytes, count, 0), count);
}

static void reset(struct support_tcp *tcp)
{
	support_reset(tcp->peer);
	tcp->peer = -1;
	support_poll(tcp->ours, POLLERR);
}

#define QUEUED_BYTES 400000

/* Gives the read side more bytes than any budget or buffer below. */
static void queue_bytes(struct flow *flow)
{
	static char bytes[QUEUED_BYTES];
	int low_water = QUEUED_BYTES; /* makes the receive buffer large enough: socket(7) */
	int send_buffer = 2 * QUEUED_BYTES;

	cr_assert(
		!setsockopt(flow->in.ours, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof(low_water)));
	cr_assert(!setsockopt(flow->in.peer, SOL_SOCKET, SO_SNDBUF, &send_buffer,
			      sizeof(send_buffer)));
	support_fill_pattern(bytes, sizeof(bytes), 0);
	support_send(flow->in.peer, bytes, sizeof(bytes));
	support_wait_for_bytes(flow->in.ours, QUEUED_BYTES);
}

/* Failures ------------------------------------------------------------------------------------- */

Test(pump_failures, what_came_before_a_reset_is_delivered)
{
	for (size_t i = 0; i < ARRAY_COUNT(settings); i++)
		for (size_t count = 0; count <= 3000; count += 1500) {
			struct flow flow;

			flow_open(&flow, &settings[i]);
			if (count)
				send_pattern(&flow, count);
			reset(&flow.in);
			cr_expect_eq(flow_relay(&flow, LANE_REST), LANE_RESET_WRITE_SIDE, "%s, %zu",
				     settings[i].name, count);
			cr_expect_eq(flow.lane.read_error, ECONNRESET, "%s, %zu: %d",
				     settings[i].name, count, flow.lane.read_error);
			cr_expect_eq(flow.lane.write_error, 0);
			cr_expect_eq(flow.lane.moved_bytes, count);
			expect_received(&flow, count);
			flow_close(&flow);
		}
}

/* How the lane learns that its read side has failed. */
enum failure {
	RESET, /* from the socket */
	TAKEN, /* from the other lane, which took the error: the socket looks like a clean end */
	TOLD,  /* from the other lane, while the socket can still be read */
	FAILURES
};

/* A splice stops at urgent data for ever, so the pump must look for bytes behind it. */
static void check_urgent_failure(const struct flow_setting *setting, const char *const pieces[3],
				 enum failure failure)
{
	char expected[16] = "", got[16] = "";
	struct flow flow;

	flow_open(&flow, setting);
	for (unsigned i = 0; i < 3; i++) {
		size_t count = strlen(pieces[i]);

		cr_assert_eq(send(flow.in.peer, pieces[i], count, i == 1 ? MSG_OOB : 0),
			     (ssize_t)count);
		strcat(expected, pieces[i]);
	}
	support_wait_for_bytes(flow.in.ours, strlen(expected));
	if (failure != TOLD)
		reset(&flow.in);
	if (failure == TAKEN)
		support_option(flow.in.ours, SOL_SOCKET, SO_ERROR);
	if (failure != RESET)
		lane_on_read_failed(&flow.lane, ECONNRESET);
	cr_expect_eq(flow_relay(&flow, LANE_REST), LANE_RESET_WRITE_SIDE, "%s, %s", setting->name,
		     expected);
	cr_expect_eq(flow.lane.read_error, ECONNRESET);
	cr_expect_eq(flow.lane.moved_bytes, strlen(expected), "%s, %s, %d: %lu", setting->name,
		     expected, failure, (unsigned long)flow.lane.moved_bytes);
	support_receive(flow.out.peer, got, flow.lane.moved_bytes);
	cr_expect_str_eq(got, expected, "%s: %s, not %s", setting->name, got, expected);
	flow_close(&flow);
}

Test(pump_failures, urgent_data_before_a_failure_is_delivered)
{
	static const char *const rows[][3] = {
		{"abc", "d", "efg"}, {"", "d", "efg"}, {"abc", "d", ""}};

	for (size_t i = 0; i < ARRAY_COUNT(settings); i++)
		for (size_t j = 0; j < ARRAY_COUNT(rows); j++) {
			for (unsigned failure = RESET; failure < FAILURES; failure++)
				check_urgent_failure(&settings[i], rows[j], failure);
		}
}

/* The other lane has taken the error from the socket, which looks like a clean end now. */
Test(pump_failures, an_error_that_the_other_lane_took_is_still_a_reset)
{
	for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
		struct flow flow;
		int error;

		flow_open(&flow, &settings[i]);
		send_pattern(&flow, 1000);
		reset(&flow.in);
		error = support_option(flow.in.ours, SOL_SOCKET, SO_ERROR);
		lane_on_read_failed(&flow.lane, error);
		cr_expect_eq(flow_relay(&flow, LANE_REST), LANE_RESET_WRITE_SIDE, "%s",
			     settings[i].name);
		cr_expect_eq(flow.lane.read_error, ECONNRESET, "%s", settings[i].name);
		cr_expect_eq(flow.lane.moved_bytes, 1000, "%s", settings[i].name);
		flow_close(&flow);
	}
}

/*
 * The measured room may be too high: the write side takes a part of the bytes. The rest stays in
 * the pipe, or in the read side, and follows when there is room.
 */
Test(pump_failures, a_write_side_that_takes_a_part_gets_the_rest_later)
{
	static const struct flow_setting small[] = {
		{"splicing", 2, 1 << 20, 65536, 65536, 65536, 0},
		{"copying", 0, 0, 65536, 8192, 65536, 0},
	};
	static char bytes[QUEUED_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(small); i++) {
		uint32_t budget_bytes = FLOW_PLENTY;
		size_t received = 0;
		struct flow flow;

		flow_open(&flow, &small[i]);
		queue_bytes(&flow);
		flow.lane.room_bytes = 1 << 30;
		flow.lane.bulk = true;
		flow_run(&flow, &budget_bytes);
		cr_expect_eq(lane_next(&flow.lane), LANE_WAIT_WRITABLE, "%s", small[i].name);
		cr_expect_eq(flow.lane.held_bytes > 0, small[i].pipes > 0, "%s: %u", small[i].name,
			     flow.lane.held_bytes);
		while (received < QUEUED_BYTES) {
			ssize_t got = recv(flow.out.peer, bytes, sizeof(bytes), MSG_DONTWAIT);

			cr_assert(got > 0 || (got < 0 && errno == EAGAIN));
			if (got > 0) {
				cr_assert_eq(support_check_pattern(bytes, (size_t)got, received),
					     (size_t)got, "%s: wrong after %zu", small[i].name,
					     received);
				received += (size_t)got;
			} else if (lane_next(&flow.lane) == LANE_WAIT_WRITABLE) {
				flow_await_room(&flow);
				flow_run(&flow, &budget_bytes);
			} else {
				support_poll(flow.out.peer, POLLIN);
			}
		}
		cr_expect_eq(flow.lane.moved_bytes, QUEUED_BYTES, "%s", small[i].name);
		flow_close(&flow);
	}
}

Test(pump_failures, a_write_side_that_was_reset_ends_the_lane)
{
	for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
		struct flow flow;
		uint32_t budget_bytes = FLOW_PLENTY;

		flow_open(&flow, &settings[i]);
		send_pattern(&flow, 1000);
		reset(&flow.out);
		cr_expect(!flow_run(&flow, &budget_bytes), "%s", settings[i].name);
		cr_expect_eq(lane_next(&flow.lane), LANE_REST, "%s", settings[i].name);
		cr_expect(flow.lane.write_error == ECONNRESET || flow.lane.write_error == EPIPE,
			  "%s: %d", settings[i].name, flow.lane.write_error);
		cr_expect_eq(flow.lane.read_error, 0, "%s", settings[i].name);
		cr_expect_eq(flow.lane.held_bytes, 0, "%s", settings[i].name);
		cr_expect_eq(flow.lane.moved_bytes, 0, "%s", settings[i].name);
		flow_close(&flow);
	}
}

/* Pipes that hold bytes ------------------------------------------------------------------------ */

/* Puts bytes into a pipe of the lane, as if the write side had not taken them. */
static void hold_bytes(struct flow *flow, const char *text)
{
	uint32_t count = (uint32_t)strlen(text);

	flow->pipe = pipe_pool_take(flow->pump.pipes);
	cr_assert_not_null(flow->pipe);
	cr_assert_eq(write(flow->pipe->write_fd, text, count), (ssize_t)count);
	lane_on_filled(&flow->lane, count, false);
}

Test(pump_failures, a_pipe_that_holds_bytes_is_not_used_again)
{
	struct pipe *pipes[2];
	struct flow flow;
	int left = -1;

	flow_open(&flow, &settings[0]);
	hold_bytes(&flow, "a secret");
	cr_expect_eq(pump_release(&flow.pump, &flow.lane, &flow.pipe), 0);
	cr_expect_null(flow.pipe);
	cr_expect_eq(flow.lane.held_bytes, 0);
	cr_expect_eq(metrics_get(&flow.metrics, METRIC_pipes_emptied), 1);
	cr_expect_eq(pipe_pool_count(flow.pump.pipes), 2);
	cr_expect_eq(pipe_pool_free_count(flow.pump.pipes), 2);
	for (unsigned i = 0; i < 2; i++) {
		pipes[i] = pipe_pool_take(flow.pump.pipes);
		cr_assert(!ioctl(pipes[i]->read_fd, FIONREAD, &left));
		cr_expect_eq(left, 0, "%d bytes are left", left);
	}
	cr_expect_null(pipe_pool_take(flow.pump.pipes));
	for (unsigned i = 0; i < 2; i++)
		pipe_pool_give(flow.pump.pipes, pipes[i]);
	flow_close(&flow);
}

Test(pump_failures, the_pipe_is_emptied_after_the_write_side_failed)
{
	struct flow flow;

	flow_open(&flow, &settings[0]);
	hold_bytes(&flow, "lost");
	reset(&flow.out);
	cr_expect_eq(flow_relay(&flow, LANE_REST), LANE_REST);
	cr_expect_not_null(flow.pipe, "it may hold bytes and must not be given back");
	cr_expect_eq(pump_release(&flow.pump, &flow.lane, &flow.pipe), 0);
	cr_expect_eq(metrics_get(&flow.metrics, METRIC_pipes_emptied), 1);
	flow_close(&flow);
}

Test(pump_failures, releasing_a_lane_that_holds_nothing_costs_nothing)
{
	struct flow flow;

	flow_open(&flow, &settings[0]);
	send_pattern(&flow, 100);
	flow_deliver(&flow, 100, 2);
	cr_expect_eq(pump_release(&flow.pump, &flow.lane, &flow.pipe), 0);
	cr_expect_eq(pump_release(&flow.pump, &flow.lane, &flow.pipe), 0);
	cr_expect_eq(metrics_get(&flow.metrics, METRIC_pipes_emptied), 0);
	flow_close(&flow);
}

Test(pump_failures, a_pipe_that_cannot_be_emptied_is_reported)
{
	struct flow flow;

	flow_open(&flow, &settings[0]);
	hold_bytes(&flow, "x");
	/* without a writer a read finds the end, which no pipe of the pool has */
	close(flow.pipe->write_fd);
	flow.pipe->write_fd = -1;
	cr_expect_eq(pump_release(&flow.pump, &flow.lane, &flow.pipe), -EIO);
	cr_expect_null(flow.pipe);
	cr_expect_eq(pipe_pool_count(flow.pump.pipes), 1);
	flow.pipe_count = 1;
	flow_close(&flow);
}

/* The budget ----------------------------------------------------------------------------------- */

static void check_budget(const struct flow_setting *setting, uint32_t budget)
{
	uint32_t budget_bytes = budget;
	struct flow flow;

	flow_open(&flow, setting);
	queue_bytes(&flow);
	cr_expect_eq(flow_run(&flow, &budget_bytes), budget > 0, "%s, %u", setting->name, budget);
	cr_expect_leq(flow.lane.moved_bytes + flow.lane.held_bytes, budget,
		      "%s: %lu bytes for a budget of %u", setting->name,
		      (unsigned long)flow.lane.moved_bytes, budget);
	cr_expect_eq(budget_bytes, 0, "%s, %u: %u are left", setting->name, budget, budget_bytes);
	/* the lane has more to move, and waits for nothing */
	cr_expect(lane_next(&flow.lane) == LANE_FILL || lane_next(&flow.lane) == LANE_MEASURE,
		  "%s, %u", setting->name, budget);
	flow_close(&flow);
}

Test(pump_failures, a_run_ends_with_its_budget_when_splicing)
{
	static const uint32_t rows[] = {0, 1, 100, 4096, 4097, 65536, 200000};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		check_budget(&settings[0], rows[i]);
}

Test(pump_failures, a_run_ends_with_its_budget_when_copying)
{
	static const uint32_t rows[] = {0, 1, 100, 4096, 4097, 65536, 200000};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		check_budget(&settings[1], rows[i]);
}

Test(pump_failures, a_budget_that_is_not_used_up_is_left)
{
	for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
		uint32_t budget_bytes = FLOW_PLENTY;
		struct flow flow;

		flow_open(&flow, &settings[i]);
		cr_expect(!flow_run(&flow, &budget_bytes), "%s: nothing is there",
			  settings[i].name);
		cr_expect_gt(budget_bytes, FLOW_PLENTY - 65536, "%s", settings[i].name);
		send_pattern(&flow, 100);
		lane_on_arrival(&flow.lane, false);
		cr_expect(flow_run(&flow, &budget_bytes), "%s", settings[i].name);
		cr_expect_gt(budget_bytes, FLOW_PLENTY - 2 * 65536, "%s", settings[i].name);
		expect_received(&flow, 100);
		flow_close(&flow);
	}
}
