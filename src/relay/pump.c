/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. pump_run() does the lane's steps until the lane waits, ends or has used up
 * its budget. The rest of the file avoids three traps of the kernel, each with a probe in
 * tests/kernel/:
 *
 * - A splice to a socket must ask for exactly the number of bytes in the pipe. If it asks for more,
 *   the kernel expects more bytes soon and holds the tail back for 200 ms
 *   (probe_splice_exact_length). SPLICE_F_MORE would do the same, and is not used.
 * - EAGAIN from a splice out of a socket means "socket empty" or "pipe full". This file fills empty
 *   pipes only, so EAGAIN means "socket empty" (probe_splice_eagain_means_empty_or_full).
 * - recv(2) finds some bytes that splice(2) does not find: urgent data (probe_splice_urgent_byte),
 *   and bytes of a socket that an eBPF agent has put into a sockmap (probe_splice_sockmap). With
 *   such bytes in the socket, splice(2) returns EAGAIN for ever while poll(2) says readable. After
 *   the FIN splice(2) returns 0, as if no bytes were left. So fill_doubted() asks recv(2) when a
 *   splice found nothing although the kernel had announced bytes, and when a splice found the end.
 *   If recv(2) finds bytes, the lane stops splicing for good and copies.
 */
#include "relay/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "os/sock.h"

/*
 * A system call takes at least this much from the budget, however few bytes it moves, so that
 * one-byte segments cannot keep a slice going for long. Scenario: mixed (bench/).
 */
#define CALL_COST_BYTES 4096

/*
 * After a fill of at least this size the lane fills again without a wait, even if the fill was
 * short. Scenario: bulk-1-up-bbr (bench/).
 */
#define RETRY_BYTES 65536

static void charge(uint32_t *budget_bytes, uint32_t bytes)
{
	uint32_t cost = MAX(bytes, CALL_COST_BYTES);

	*budget_bytes -= MIN(*budget_bytes, cost);
}

static void on_read_error(struct lane *lane, int error)
{
	/*
	 * Bytes may be left behind urgent data. So at the first error the lane only notes the error
	 * and reads on; the second error is the end.
	 */
	if (lane->read_error)
		lane_on_read_end(lane);
	else
		lane_on_read_failed(lane, error);
}

/* Reports a read of the read side that returned `result` <= 0, with errno. */
static void on_no_bytes(struct lane *lane, ssize_t result)
{
	if (result == 0)
		lane_on_read_end(lane);
	else if (errno == EAGAIN)
		lane_on_read_empty(lane);
	else if (errno != EINTR)
		on_read_error(lane, errno);
}

bool pump_discard(struct pump *pump, int read_fd, size_t bytes)
{
	while (bytes) {
		ssize_t got = recv(read_fd, pump->scratch, bytes, MSG_TRUNC | MSG_DONTWAIT);

		if (got <= 0)
			return false;
		bytes -= (size_t)got;
	}
	return true;
}

static void copy_peeked(struct pump *pump, const struct pump_flow *flow, size_t asked,
			size_t peeked)
{
	struct lane *lane = flow->lane;
	ssize_t sent = send(flow->write_fd, pump->scratch, peeked, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0) {
		if (errno == EAGAIN)
			lane_on_write_full(lane);
		else if (errno != EINTR)
			lane_on_write_failed(lane, errno);
		return;
	}
	CHECK(sent > 0 && (size_t)sent <= peeked);
	if (!pump_discard(pump, flow->read_fd, (size_t)sent)) {
		on_read_error(lane, EIO);
		return;
	}
	metrics_add(pump->metrics, METRIC_bytes_copied, (uint64_t)sent);
	lane_on_copied(lane, (uint32_t)sent, (size_t)sent == peeked && peeked < asked);
	if ((size_t)sent < peeked)
		lane_on_write_full(lane);
}

static void copy(struct pump *pump, const struct pump_flow *flow, uint32_t limit_bytes)
{
	size_t asked = MIN(limit_bytes, PUMP_SCRATCH_BYTES);
	ssize_t peeked = recv(flow->read_fd, pump->scratch, asked, MSG_PEEK | MSG_DONTWAIT);

	if (peeked > 0)
		copy_peeked(pump, flow, asked, (size_t)peeked);
	else
		on_no_bytes(flow->lane, peeked);
}

static struct pipe *take_pipe(struct pump *pump)
{
	return pump->pipes ? pipe_pool_take(pump->pipes) : NULL;
}

static void give_pipe(struct pump *pump, const struct pump_flow *flow)
{
	pipe_pool_give(pump->pipes, *flow->pipe);
	*flow->pipe = NULL;
}

/* Sends the held bytes in the scratch, and writes the rest into the empty pipe. */
static void send_received(struct pump *pump, const struct pump_flow *flow)
{
	struct lane *lane = flow->lane;
	ssize_t sent = send(flow->write_fd, pump->scratch, lane->held_bytes, MSG_NOSIGNAL);
	uint64_t moved_before = lane->moved_bytes;
	size_t left;

	if (sent < 0 && errno != EAGAIN && errno != EINTR) {
		lane_on_write_failed(lane, errno);
		give_pipe(pump, flow);
		return;
	}
	sent = MAX(sent, 0);
	left = lane->held_bytes - (size_t)sent;
	if (left && write((*flow->pipe)->write_fd, pump->scratch + sent, left) != (ssize_t)left) {
		/* an empty pipe takes all bytes, unless the kernel has no page: pipe(7) */
		lane_on_write_failed(lane, ENOMEM);
		return;
	}
	if (sent)
		lane_on_flushed(lane, (uint32_t)sent);
	else
		lane_on_write_full(lane);
	metrics_add(pump->metrics, METRIC_bytes_copied, lane->moved_bytes - moved_before);
	if (!left)
		give_pipe(pump, flow);
}

/*
 * A fill and its flush by recv and send: for small messages, and for lanes that do not splice. If a
 * lane does not splice, its read side may have urgent data, in front of which a read stops. So for
 * this lane a short read does not mean that the socket is empty.
 */
static void exchange(struct pump *pump, const struct pump_flow *flow, uint32_t limit_bytes)
{
	bool copies = flow->lane->copies;
	size_t asked = MIN(limit_bytes, copies ? PUMP_SCRATCH_BYTES : LANE_SMALL_BYTES);
	ssize_t received = recv(flow->read_fd, pump->scratch, asked, 0);

	if (received > 0) {
		lane_on_filled(flow->lane, (uint32_t)received, (size_t)received < asked && !copies);
		send_received(pump, flow);
		return;
	}
	give_pipe(pump, flow);
	on_no_bytes(flow->lane, received);
}

static ssize_t splice_in(const struct pump_flow *flow, uint32_t asked)
{
	ssize_t moved = splice(flow->read_fd, NULL, (*flow->pipe)->write_fd, NULL, asked,
			       SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	/*
	 * After a short fill the socket is empty, or the pipe had no free slot: the next wait finds
	 * bytes that are left. A large fill is not followed by a wait, because more bytes have
	 * often arrived meanwhile.
	 */
	if (moved > 0)
		lane_on_filled(flow->lane, (uint32_t)moved, moved < MIN(asked, RETRY_BYTES));
	return moved;
}

/*
 * Asks recv(2) after a splice that found nothing although bytes were announced, or that found the
 * `end`. If recv(2) finds bytes, they may have come just now: so a second splice is tried.
 */
static void fill_doubted(struct pump *pump, const struct pump_flow *flow, uint32_t asked, bool end)
{
	ssize_t peeked = recv(flow->read_fd, pump->scratch, 1, MSG_PEEK | MSG_DONTWAIT);
	int error = errno;

	if (peeked > 0) {
		ssize_t moved = splice_in(flow, asked);

		if (moved > 0)
			return;
		/* a socket reports its error once: perhaps to the second splice */
		if (moved < 0 && errno != EAGAIN && errno != EINTR)
			lane_on_read_failed(flow->lane, errno);
	}
	if (peeked > 0 || (end && peeked < 0 && error == EAGAIN)) {
		lane_stop_splicing(flow->lane);
		metrics_add(pump->metrics, METRIC_splices_stopped, 1);
	}
	if (peeked > 0) {
		exchange(pump, flow, asked);
		return;
	}
	give_pipe(pump, flow);
	errno = error;
	on_no_bytes(flow->lane, peeked);
}

static void fill(struct pump *pump, const struct pump_flow *flow, uint32_t limit_bytes)
{
	struct pipe *pipe = take_pipe(pump);
	struct lane *lane = flow->lane;
	uint32_t asked;
	ssize_t moved;

	CHECK(!*flow->pipe && limit_bytes);
	if (!pipe) {
		copy(pump, flow, limit_bytes);
		return;
	}
	*flow->pipe = pipe;
	asked = MIN(limit_bytes, pipe->size_bytes);
	/*
	 * The pipe must hold all bytes that the write side may not take, so `asked` is at most the
	 * pipe's size. A small lane never splices, even into a small pipe: a splice that is short
	 * because the pipe has no free slot would look like the last bytes of a message, and the
	 * lane would wait.
	 */
	if (!lane->bulk || lane->copies) {
		exchange(pump, flow, asked);
		return;
	}
	moved = splice_in(flow, asked);
	if (moved > 0)
		return;
	if (moved == 0 || (errno == EAGAIN && (lane->read_woken || lane->read_error))) {
		fill_doubted(pump, flow, asked, moved == 0);
		return;
	}
	give_pipe(pump, flow);
	on_no_bytes(lane, moved);
}

static void flush(struct pump *pump, const struct pump_flow *flow)
{
	struct lane *lane = flow->lane;
	ssize_t moved = splice((*flow->pipe)->read_fd, NULL, flow->write_fd, NULL, lane->held_bytes,
			       SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	if (moved > 0) {
		lane_on_flushed(lane, (uint32_t)moved);
		if (!lane->held_bytes)
			give_pipe(pump, flow);
	} else if (moved < 0 && errno == EAGAIN) {
		lane_on_write_full(lane);
	} else if (moved == 0 || errno != EINTR) {
		lane_on_write_failed(lane, moved == 0 ? EIO : errno);
	}
}

static void measure_room(struct lane *lane, int write_fd)
{
	bool writable;
	uint32_t room = sock_room_bytes(write_fd, &writable);
	uint32_t limit = lane->unsent_limit_bytes;

	if (limit) {
		uint32_t unsent = sock_unsent_bytes(write_fd);

		/* with TCP_NOTSENT_LOWAT, poll(2) looks at more than the buffer */
		room = MIN(room, limit - MIN(limit, unsent));
		writable = true;
	}
	lane_on_room(lane, room, writable);
}

int pump_try_splice(void)
{
	/* a splice that is allowed fails with EBADF because of the descriptors: splice(2) */
	ssize_t moved = splice(-1, NULL, -1, NULL, 1, SPLICE_F_NONBLOCK);

	return moved < 0 && errno != EBADF ? -errno : 0;
}

bool pump_run(struct pump *pump, const struct pump_flow *flow, uint32_t *budget_bytes)
{
	struct lane *lane = flow->lane;
	uint64_t moved_before = lane->moved_bytes;
	uint64_t moved_until_now;
	uint32_t limit_bytes;

	for (;;) {
		switch (lane_next(lane)) {
		case LANE_MEASURE:
			measure_room(lane, flow->write_fd);
			break;
		case LANE_FILL:
			limit_bytes = MIN(lane->room_bytes, *budget_bytes);
			limit_bytes = lane_affords(lane, limit_bytes);
			if (!limit_bytes)
				return lane->moved_bytes != moved_before;
			moved_until_now = lane->moved_bytes;
			fill(pump, flow, limit_bytes);
			/* after a fill the bytes are held; after a copy they have moved already */
			charge(budget_bytes,
			       lane->held_bytes + (uint32_t)(lane->moved_bytes - moved_until_now));
			break;
		case LANE_FLUSH:
			flush(pump, flow);
			break;
		default:
			return lane->moved_bytes != moved_before;
		}
	}
}

ssize_t pump_peek(int fd, void *bytes, size_t size)
{
	ssize_t seen = recv(fd, bytes, size, MSG_PEEK | MSG_DONTWAIT);

	return seen < 0 ? -errno : seen;
}

/* Without a pipe the lane cannot hold a rest: the write side must take the whole preface. */
static void send_alone(struct pump *pump, const struct pump_flow *flow, uint32_t bytes)
{
	ssize_t sent = send(flow->write_fd, pump->scratch, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

	lane_on_begun(flow->lane, bytes, 0, false);
	if (sent == (ssize_t)bytes)
		lane_on_flushed(flow->lane, bytes);
	else
		lane_on_write_failed(flow->lane, sent < 0 ? errno : ENOBUFS);
}

void pump_begin(struct pump *pump, const struct pump_flow *flow, uint32_t preface_bytes)
{
	struct pipe *pipe = take_pipe(pump);
	struct lane *lane = flow->lane;
	char *behind = pump->scratch + preface_bytes;
	uint32_t asked = lane_affords(lane, LANE_SMALL_BYTES);
	ssize_t received = 0;

	CHECK(!*flow->pipe && preface_bytes && preface_bytes <= PUMP_PREFACE_BYTES);
	*flow->pipe = pipe;
	if (pipe && pipe->size_bytes < preface_bytes + LANE_SMALL_BYTES)
		give_pipe(pump, flow);
	if (!*flow->pipe) {
		send_alone(pump, flow, preface_bytes);
		return;
	}
	if (asked)
		received = recv(flow->read_fd, behind, asked, MSG_DONTWAIT);
	if (received < 0 && errno != EAGAIN && errno != EINTR)
		on_read_error(lane, errno);
	/* an end of the stream is read again by the first fill */
	received = MAX(received, 0);
	lane_on_begun(lane, preface_bytes, (uint32_t)received, received < (ssize_t)asked);
	send_received(pump, flow);
}

void pump_pass_early(struct pump *pump, const struct pump_flow *flow, uint32_t bytes)
{
	if (!pump_discard(pump, flow->read_fd, bytes)) {
		on_read_error(flow->lane, EIO);
		return;
	}
	metrics_add(pump->metrics, METRIC_bytes_copied, bytes);
	lane_on_early(flow->lane, bytes);
}

int pump_release(struct pump *pump, struct lane *lane, struct pipe **pipe)
{
	struct pipe *held = *pipe;

	lane->held_bytes = 0;
	*pipe = NULL;
	if (!held)
		return 0;
	/* the pipe still holds bytes of this session: an empty pipe would have been given back */
	metrics_add(pump->metrics, METRIC_pipes_emptied, 1);
	return pipe_pool_empty(pump->pipes, held);
}
