/* SPDX-License-Identifier: MIT */
#include "relay/pump.h"

#include <criterion/criterion.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../sockmap.h"
#include "base/util.h"
#include "os/sock.h"
#include "pump_flow.h"
#include "support.h"

TestSuite(pump, .fini = support_check_leaks);

static const struct flow_setting splicing = {"splicing", 2, 65536, 0, 0, 65536, 0};
static const struct flow_setting copying = {"copying", 0, 0, 0, 0, 65536, 0};

/* Whole streams -------------------------------------------------------------------------------- */

struct stream_end {
	pthread_t thread;
	int fd;
	const struct flow_setting *setting;
	uint64_t good_bytes; /* of the reader: received before the first wrong byte */
};

static void *write_stream(void *argument)
{
	const struct stream_end *self = argument;
	char *bytes = malloc(self->setting->chunk_bytes);
	uint64_t at = 0;

	while (at < self->setting->total_bytes) {
		size_t count = MIN(self->setting->chunk_bytes, self->setting->total_bytes - at);

		support_fill_pattern(bytes, count, at);
		support_send(self->fd, bytes, count);
		at += count;
	}
	free(bytes);
	shutdown(self->fd, SHUT_WR);
	return NULL;
}

static void *read_stream(void *argument)
{
	struct stream_end *self = argument;
	static char bytes[65536];
	ssize_t got;

	while ((got = recv(self->fd, bytes, sizeof(bytes), 0)) > 0) {
		size_t good = support_check_pattern(bytes, (size_t)got, self->good_bytes);

		self->good_bytes += good;
		if (good < (size_t)got)
			break;
	}
	return NULL;
}

static void start(struct stream_end *end, const struct flow_setting *setting, int fd,
		  void *run(void *))
{
	*end = (struct stream_end){.fd = fd, .setting = setting};
	cr_assert(!pthread_create(&end->thread, NULL, run, end));
}

/* Relays to the end of the stream, passes the end on, and checks the received bytes. */
static void finish(struct flow *flow, struct stream_end *writer, struct stream_end *reader)
{
	const struct flow_setting *setting = writer->setting;
	uint64_t copied;

	cr_expect_eq(flow_relay(flow, LANE_REST), LANE_SHUT_WRITE_SIDE, "%s", setting->name);
	cr_expect_eq(sock_shut_write(flow->out.ours), 0, "%s", setting->name);
	lane_on_shut(&flow->lane);
	pthread_join(writer->thread, NULL);
	pthread_join(reader->thread, NULL);
	cr_expect_eq(reader->good_bytes, setting->total_bytes, "%s: wrong at %lu", setting->name,
		     (unsigned long)reader->good_bytes);
	cr_expect_eq(flow->lane.moved_bytes, setting->total_bytes, "%s", setting->name);
	cr_expect_eq(flow->lane.read_error, 0, "%s", setting->name);
	copied = metrics_get(&flow->metrics, METRIC_bytes_copied);
	if (!setting->pipes)
		cr_expect_eq(copied, setting->total_bytes, "%s", setting->name);
}

Test(pump, streams_arrive_byte_for_byte)
{
	static const struct flow_setting settings[] = {
		{"64 KiB pipes", 2, 65536, 0, 0, 65536, 16 << 20},
		{"1 MiB pipes", 2, 1 << 20, 0, 0, 1 << 20, 16 << 20},
		{"one-page pipes", 2, 4096, 0, 0, 65536, 2 << 20},
		{"no pipe", 0, 0, 0, 0, 65536, 16 << 20},
		{"small buffers", 2, 65536, 8192, 8192, 65536, 2 << 20},
		{"small buffers, no pipe", 0, 0, 8192, 8192, 65536, 2 << 20},
		{"small fragments", 2, 65536, 16384, 4096, 100, 256 << 10},
		{"odd fragments", 2, 65536, 0, 0, 1447, 2 << 20},
		{"single bytes", 2, 65536, 4608, 2304, 1, 16 << 10},
		{"single bytes, no pipe", 0, 0, 4608, 2304, 1, 16 << 10},
		{"nothing", 2, 65536, 0, 0, 1, 0},
		{"nothing, no pipe", 0, 0, 0, 0, 1, 0},
	};

	for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
		struct stream_end writer, reader;
		struct flow flow;

		flow_open(&flow, &settings[i]);
		start(&writer, &settings[i], flow.in.peer, write_stream);
		start(&reader, &settings[i], flow.out.peer, read_stream);
		finish(&flow, &writer, &reader);
		flow_close(&flow);
	}
}

Test(pump, a_stalled_write_side_is_waited_for_and_loses_nothing)
{
	static const struct flow_setting settings[] = {
		{"splicing", 2, 65536, 65536, 65536, 65536, 4 << 20},
		{"fragments", 2, 65536, 65536, 65536, 100, 1 << 20},
		{"no pipe", 0, 0, 65536, 65536, 65536, 4 << 20},
	};

	for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
		struct stream_end writer, reader;
		uint32_t budget_bytes = FLOW_PLENTY;
		struct flow flow;

		flow_open(&flow, &settings[i]);
		start(&writer, &settings[i], flow.in.peer, write_stream);
		cr_expect_eq(flow_relay(&flow, LANE_WAIT_WRITABLE), LANE_WAIT_WRITABLE);
		cr_expect_lt(flow.lane.moved_bytes, settings[i].total_bytes, "%s",
			     settings[i].name);
		/* without a report that it is writable, the pump does not touch it */
		cr_expect(!flow_run(&flow, &budget_bytes), "%s", settings[i].name);
		cr_expect_eq(budget_bytes, FLOW_PLENTY, "%s", settings[i].name);

		start(&reader, &settings[i], flow.out.peer, read_stream);
		finish(&flow, &writer, &reader);
		flow_close(&flow);
	}
}

/* The pool runs empty and fills again while the stream goes on: the lane splices and copies. */
Test(pump, pipes_come_and_go)
{
	char sent[LANE_SMALL_BYTES + 997], got[sizeof(sent)];
	uint64_t copied, total = 100 * sizeof(sent);
	struct flow flow;

	flow_open(&flow, &splicing);
	for (unsigned i = 0; i < 100; i++) {
		struct pipe *others[2] = {NULL};

		for (unsigned j = 0; j < 2 && i % 2; j++)
			others[j] = pipe_pool_take(flow.pump.pipes);
		support_fill_pattern(sent, sizeof(sent), i);
		support_send(flow.in.peer, sent, sizeof(sent));
		support_wait_for_bytes(flow.in.ours, sizeof(sent));
		flow_deliver(&flow, (i + 1) * sizeof(sent), 2);
		support_receive(flow.out.peer, got, sizeof(got));
		cr_assert_eq(support_check_pattern(got, sizeof(got), i), sizeof(got));
		for (unsigned j = 0; j < 2 && i % 2; j++)
			pipe_pool_give(flow.pump.pipes, others[j]);
	}
	copied = metrics_get(&flow.metrics, METRIC_bytes_copied);
	cr_expect(copied > total / 2 && copied < total, "%lu copied", (unsigned long)copied);
	flow_close(&flow);
}

/* A splice that asks for more bytes than the pipe has keeps the tail back: kernel 6.5 and later. */
Test(pump, no_tail_is_held_back)
{
	static const unsigned rows[] = {1, 15, 16, 17, 32, 48, 64};
	char fragment[100] = "";

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct tcp_info info = {0};
		socklen_t length = sizeof(info);
		struct flow flow;
		int one = 1;

		flow_open(&flow, &splicing);
		cr_assert(!setsockopt(flow.in.peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
		for (unsigned j = 0; j < rows[i]; j++)
			support_send(flow.in.peer, fragment, sizeof(fragment));
		support_wait_for_bytes(flow.in.ours, rows[i] * sizeof(fragment));
		flow_deliver(&flow, rows[i] * sizeof(fragment), 10);
		cr_assert(!getsockopt(flow.out.ours, IPPROTO_TCP, TCP_INFO, &info, &length));
		cr_expect_eq(info.tcpi_notsent_bytes, 0, "%u: %u bytes are held back", rows[i],
			     info.tcpi_notsent_bytes);
		flow_close(&flow);
	}
}

/* Urgent data ---------------------------------------------------------------------------------- */

struct urgent_row {
	const char *pieces[6]; /* a piece after '!' is sent as urgent data */
	bool end;
};

static void check_urgent(const struct urgent_row *row, const struct flow_setting *setting)
{
	char expected[64] = "", got[64] = "";
	struct flow flow;

	flow_open(&flow, setting);
	for (unsigned i = 0; row->pieces[i]; i++) {
		bool urgent = row->pieces[i][0] == '!';
		const char *piece = row->pieces[i] + urgent;
		ssize_t length = (ssize_t)strlen(piece);

		cr_assert_eq(send(flow.in.peer, piece, strlen(piece), urgent ? MSG_OOB : 0),
			     length);
		strcat(expected, piece);
	}
	if (row->end)
		cr_assert(!shutdown(flow.in.peer, SHUT_WR));
	flow_deliver(&flow, strlen(expected), 20);
	if (row->end)
		cr_expect_eq(flow_relay(&flow, LANE_REST), LANE_SHUT_WRITE_SIDE, "%s", expected);
	support_receive(flow.out.peer, got, strlen(expected));
	cr_expect_str_eq(got, expected, "%s, not %s", got, expected);
	flow_close(&flow);
}

/* RFC 6093: urgent data is delivered in line, and splice(2) must not stop at it for ever. */
Test(pump, urgent_data_stays_in_the_stream)
{
	static const struct urgent_row rows[] = {
		{{"abc", "!d", "efg"}, false},
		{{"!a", "bcd"}, false},
		{{"abc", "!d"}, false},
		{{"!a"}, false},
		{{"ab", "!cd", "ef"}, false},
		{{"a", "!b", "!c", "d"}, false},
		{{"abc", "!d", "efg"}, true},
		{{"!a", "bcd"}, true},
		{{"abc", "!d"}, true},
		{{"!a"}, true},
		{{"a", "!b", "c", "!d", "e"}, true},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		check_urgent(&rows[i], &splicing);
		check_urgent(&rows[i], &copying);
	}
}

/* Bytes that splice(2) does not see ------------------------------------------------------------ */

Test(pump, splices_no_more_after_urgent_data_in_bulk)
{
	static char bulk[4 * LANE_SMALL_BYTES];
	struct flow flow;

	flow_open(&flow, &splicing);
	for (unsigned i = 0; i < 3; i++) {
		support_send(flow.in.peer, bulk, sizeof(bulk) - 1);
		/* the last byte is urgent */
		cr_assert_eq(send(flow.in.peer, bulk, 1, i == 1 ? MSG_OOB : 0), 1);
		flow_deliver(&flow, (i + 1) * sizeof(bulk), 1000);
		support_receive(flow.out.peer, bulk, sizeof(bulk));
		cr_expect_eq(metrics_get(&flow.metrics, METRIC_splices_stopped), i > 0);
	}
	cr_expect(flow.lane.bulk);
	flow_close(&flow);
}

/* A wake-up for bytes that were read meanwhile must not stop the splices. */
Test(pump, goes_on_splicing_after_an_idle_wakeup)
{
	static char bulk[4 * LANE_SMALL_BYTES];
	uint32_t budget_bytes = FLOW_PLENTY;
	uint64_t copied;
	struct flow flow;

	flow_open(&flow, &splicing);
	support_send(flow.in.peer, bulk, sizeof(bulk));
	flow_deliver(&flow, sizeof(bulk), 1000);
	lane_on_arrival(&flow.lane, false);
	flow_run(&flow, &budget_bytes);
	cr_expect_eq(lane_next(&flow.lane), LANE_WAIT_READABLE);
	copied = metrics_get(&flow.metrics, METRIC_bytes_copied);
	support_send(flow.in.peer, bulk, sizeof(bulk));
	flow_deliver(&flow, 2 * sizeof(bulk), 1000);
	cr_expect_eq(metrics_get(&flow.metrics, METRIC_splices_stopped), 0);
	cr_expect_eq(metrics_get(&flow.metrics, METRIC_bytes_copied), copied);
	flow_close(&flow);
}

Test(pump, copies_the_bytes_of_a_socket_in_a_sockmap)
{
	static const struct flow_setting settings[] = {
		{"large pieces", 2, 65536, 0, 0, 65536, 16 << 20},
		{"odd pieces", 2, 65536, 0, 0, 1447, 2 << 20},
		{"small buffers", 2, 65536, 8192, 8192, 65536, 2 << 20},
		{"no pipe", 0, 0, 0, 0, 65536, 2 << 20},
	};

	for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
		struct stream_end writer, reader;
		struct flow flow;
		int map;

		flow_open(&flow, &settings[i]);
		map = sockmap_join(flow.in.ours);
		if (map == -EPERM || map == -ENOSYS || map == -EINVAL) {
			flow_close(&flow);
			cr_skip("no sockmap here: %s", strerror(-map));
		}
		cr_assert_geq(map, 0, "%s", strerror(-map));
		start(&writer, &settings[i], flow.in.peer, write_stream);
		start(&reader, &settings[i], flow.out.peer, read_stream);
		finish(&flow, &writer, &reader);
		if (settings[i].chunk_bytes >= LANE_SMALL_BYTES && !settings[i].reader_rcvbuf_bytes)
			cr_expect_eq(metrics_get(&flow.metrics, METRIC_splices_stopped),
				     settings[i].pipes > 0, "%s", settings[i].name);
		close(map);
		flow_close(&flow);
	}
}
