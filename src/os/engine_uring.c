/* SPDX-License-Identifier: MIT */
/*
 * The io_uring engine. This is the only file that knows liburing. Probes are in tests/kernel/.
 *
 * Theory of operation.
 *
 * - A wait is a oneshot poll of the ring. A poll checks the socket's present state when it is
 *   armed, so it finds bytes that a lane has left in the socket (probe_ring_poll_oneshot_is_level).
 * - A watch is a multishot poll. It is armed once, completes at every arrival, and costs nothing in
 *   between.
 * - Splicing does not go through the ring, because IORING_OP_SPLICE always runs on a kernel worker
 *   thread.
 *
 * The main thread creates the ring disabled and restricts it to the operations below. The worker
 * enables the ring and so becomes its only issuer (probe_ring_enable_by_worker). With DEFER_TASKRUN
 * completions run only inside a wait, so engine_wait() always enters the kernel (probe_ring_flags).
 *
 * A wait with `peer_ended` needs more. A poll of the ring always reports POLLRDHUP, asked for or
 * not. So once the peer has ended its stream, every oneshot poll for POLLOUT completes at once,
 * although the socket is not writable (probe_ring_poll_peer_end). A wait with `peer_ended` is
 * therefore a multishot poll, which completes only when something changes. translate() drops
 * completions that do not meet the condition. At the first completion that meets it, translate()
 * cancels the poll, and the poll's last completion becomes the caller's event. SETTLING in
 * user_data marks such a poll.
 *
 * user_data is the caller's token, plus SETTLING. 0, which is ENGINE_OP_NONE, marks completions of
 * cancels; they are dropped.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "os/engine_ops.h"

/*
 * A tick queues a few requests for each ready session. A full submission queue costs one more
 * system call. A full completion queue costs time but loses nothing, because the kernel keeps the
 * rest. Scenario: small-512 (bench/).
 */
#define SUBMISSION_ENTRIES 1024
#define COMPLETION_ENTRIES 4096

/* The pause after the kernel had no memory for a request. */
#define SHORTAGE_PAUSE_MS 1

/* The highest bit of the lane number, which callers leave 0 in tokens of ENGINE_OP_READY. */
#define SETTLING (1ULL << 55)

struct uring_engine {
	struct engine engine;
	struct io_uring ring;
	int error; /* 0, or the -errno that ended the ring, for the next wait to return */
	struct io_uring_sqe unsent; /* stands in for an entry after the ring has ended */
};

struct ring_flavour {
	unsigned flags;
	const char *features;
};

/* In order of preference: for Linux 6.1, for 5.19 (multishot accept needs 5.19 too). */
static const struct ring_flavour flavours[] = {
	{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
	 "single_issuer,defer_taskrun,submit_all"},
	{IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL, "coop_taskrun,submit_all"},
};

static const unsigned allowed_ops[] = {
	IORING_OP_ACCEPT,	IORING_OP_CONNECT,  IORING_OP_POLL_ADD,
	IORING_OP_ASYNC_CANCEL, IORING_OP_MSG_RING,
};

static struct uring_engine *uring(struct engine *engine)
{
	return CONTAINER_OF(engine, struct uring_engine, engine);
}

/* Whether the same call may succeed later: io_uring_enter(2). */
static bool is_shortage(int error)
{
	return error == -EAGAIN || error == -ENOMEM || error == -EBUSY || error == -EINTR;
}

static void pause_for_kernel(struct uring_engine *self)
{
	const struct timespec pause = {.tv_nsec = SHORTAGE_PAUSE_MS * 1000000};

	self->engine.pause_count++;
	/* completed requests free memory when reaped: io_uring_enter(2) */
	(void)io_uring_get_events(&self->ring);
	nanosleep(&pause, NULL);
}

/*
 * Returns a free entry of the submission queue; submits the queue if it is full. While the kernel
 * has no memory for requests, the worker pauses here. Its sessions could not go on anyway, and lose
 * no byte. Any other error is permanent, and the next wait returns it.
 */
static struct io_uring_sqe *take_sqe(struct uring_engine *self)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);

	while (!sqe && !self->error) {
		int submitted = io_uring_submit(&self->ring);

		if (submitted < 0 && !is_shortage(submitted))
			self->error = submitted;
		else if (submitted <= 0)
			pause_for_kernel(self);
		sqe = io_uring_get_sqe(&self->ring);
	}
	return sqe ? sqe : &self->unsent;
}

static void uring_accept(struct engine *engine, int fd, bool many, uint64_t token)
{
	struct io_uring_sqe *sqe = take_sqe(uring(engine));
	int flags = SOCK_NONBLOCK | SOCK_CLOEXEC;

	if (many)
		io_uring_prep_multishot_accept(sqe, fd, NULL, NULL, flags);
	else
		io_uring_prep_accept(sqe, fd, NULL, NULL, flags);
	io_uring_sqe_set_data64(sqe, token);
}

static void uring_connect(struct engine *engine, int fd, const struct sockaddr *address,
			  socklen_t length_bytes, uint64_t token)
{
	struct io_uring_sqe *sqe = take_sqe(uring(engine));

	io_uring_prep_connect(sqe, fd, address, length_bytes);
	io_uring_sqe_set_data64(sqe, token);
}

static void uring_wait_for(struct engine *engine, int fd, enum engine_condition condition,
			   bool peer_ended, uint64_t token)
{
	static const unsigned poll_events[] = {
		[ENGINE_READABLE] = POLLIN,
		[ENGINE_WRITABLE] = POLLOUT,
		[ENGINE_FAILED] = 0, /* POLLERR and POLLHUP come unasked */
	};
	struct io_uring_sqe *sqe = take_sqe(uring(engine));

	CHECK(!(token & SETTLING));
	if (peer_ended)
		io_uring_prep_poll_multishot(sqe, fd, poll_events[condition]);
	else
		io_uring_prep_poll_add(sqe, fd, poll_events[condition]);
	io_uring_sqe_set_data64(sqe, peer_ended ? token | SETTLING : token);
}

static void uring_watch(struct engine *engine, int fd, uint64_t token)
{
	struct io_uring_sqe *sqe = take_sqe(uring(engine));

	io_uring_prep_poll_multishot(sqe, fd, POLLIN | POLLRDHUP);
	io_uring_sqe_set_data64(sqe, token);
}

static void cancel(struct uring_engine *self, uint64_t user_data)
{
	struct io_uring_sqe *sqe = take_sqe(self);

	io_uring_prep_cancel64(sqe, user_data, 0);
	io_uring_sqe_set_data64(sqe, 0);
}

static void uring_cancel(struct engine *engine, int fd, uint64_t token)
{
	(void)fd;
	cancel(uring(engine), token);
	if (engine_token_op(token) == ENGINE_OP_READY)
		cancel(uring(engine), token | SETTLING);
}

static void uring_hand_over(struct engine *engine, struct engine *target, int fd,
			    uint64_t target_token, uint64_t token)
{
	struct io_uring_sqe *sqe = take_sqe(uring(engine));

	io_uring_prep_msg_ring(sqe, uring(target)->ring.ring_fd, (unsigned)fd, target_token, 0);
	io_uring_sqe_set_data64(sqe, token);
}

static void arm_wake(struct uring_engine *self)
{
	struct io_uring_sqe *sqe = take_sqe(self);

	io_uring_prep_poll_multishot(sqe, self->engine.wake_fd, POLLIN);
	io_uring_sqe_set_data64(sqe, engine_token(ENGINE_OP_WAKE, 0, 0, 0));
}

static void on_wake(struct uring_engine *self, const struct io_uring_cqe *cqe)
{
	engine_take_wakes(&self->engine);
	if (!(cqe->flags & IORING_CQE_F_MORE))
		arm_wake(self);
}

/* The result of a poll as enum engine_found. POLLRDHUP alone does not meet a condition: 0. */
static int32_t found_by(int32_t polled)
{
	int32_t found = ENGINE_FOUND_CONDITION;

	if (polled <= 0 || polled == POLLRDHUP)
		return MIN(polled, 0);
	if (polled & (POLLRDHUP | POLLHUP | POLLERR))
		found |= ENGINE_FOUND_END;
	return found;
}

/* Turns a completion into an event. Returns whether the caller gets the event. */
static bool translate(struct uring_engine *self, const struct io_uring_cqe *cqe,
		      struct engine_event *event)
{
	enum engine_op op = engine_token_op(cqe->user_data);

	event->token = cqe->user_data;
	event->result = cqe->res;
	event->more = cqe->flags & IORING_CQE_F_MORE;
	if (op == ENGINE_OP_WAKE)
		on_wake(self, cqe);
	if (op != ENGINE_OP_READY)
		return op != ENGINE_OP_NONE;
	event->result = found_by(cqe->res);
	if (event->token & SETTLING && event->more) {
		if (event->result)
			cancel(self, event->token);
		return false;
	}
	event->token &= ~SETTLING;
	return true;
}

static int uring_enter(struct uring_engine *self, int64_t timeout_ms)
{
	struct __kernel_timespec limit = {
		.tv_sec = timeout_ms / 1000,
		.tv_nsec = timeout_ms % 1000 * 1000000,
	};
	struct io_uring_cqe *cqe;

	if (timeout_ms < 0)
		return io_uring_submit_and_wait(&self->ring, 1);
	if (timeout_ms == 0)
		return io_uring_submit_and_get_events(&self->ring);
	return io_uring_submit_and_wait_timeout(&self->ring, &cqe, 1, &limit, NULL);
}

static int uring_wait(struct engine *engine, int64_t timeout_ms, struct engine_event *events,
		      unsigned limit)
{
	struct uring_engine *self = uring(engine);
	struct io_uring_cqe *cqe;
	unsigned seen = 0;
	unsigned head;
	int count = 0;
	int error = self->error ? self->error : uring_enter(self, timeout_ms);

	/* in a shortage: reap the completions; the queued requests go with the next wait */
	if (error < 0 && error != -ETIME && !is_shortage(error))
		return error;
	if (error < 0 && error != -ETIME && error != -EINTR && !io_uring_cq_ready(&self->ring))
		pause_for_kernel(self);
	io_uring_for_each_cqe(&self->ring, head, cqe)
	{
		if (seen == limit)
			break;
		seen++;
		count += translate(self, cqe, &events[count]);
	}
	io_uring_cq_advance(&self->ring, seen);
	return count;
}

/*
 * With TASKRUN_FLAG the kernel sets a flag in shared memory when the next io_uring_enter(2) would
 * post completions (tests/kernel/probe_ring_taskrun_flag).
 */
static bool uring_has_events(struct engine *engine)
{
	const struct io_uring *ring = &uring(engine)->ring;

	return io_uring_sq_ready(ring) || io_uring_cq_ready(ring) ||
	       IO_URING_READ_ONCE(*ring->sq.kflags) & IORING_SQ_TASKRUN;
}

/*
 * liburing 2.3 of Debian 12 declares functions for the two operations below but does not export
 * them.
 */
static int register_ring(struct uring_engine *self, unsigned op, void *argument, unsigned count)
{
	if (syscall(__NR_io_uring_register, self->ring.ring_fd, op, argument, count) < 0)
		return -errno;
	return 0;
}

static int restrict_ring(struct uring_engine *self)
{
	struct io_uring_restriction rules[ARRAY_COUNT(allowed_ops) + 1];

	memset(rules, 0, sizeof(rules));
	for (unsigned i = 0; i < ARRAY_COUNT(allowed_ops); i++) {
		rules[i].opcode = IORING_RESTRICTION_SQE_OP;
		rules[i].sqe_op = (uint8_t)allowed_ops[i];
	}
	rules[ARRAY_COUNT(allowed_ops)].opcode = IORING_RESTRICTION_REGISTER_OP;
	rules[ARRAY_COUNT(allowed_ops)].register_op = IORING_REGISTER_RING_FDS;
	return register_ring(self, IORING_REGISTER_RESTRICTIONS, rules, ARRAY_COUNT(rules));
}

static int uring_enable(struct engine *engine)
{
	struct uring_engine *self = uring(engine);
	int error = register_ring(self, IORING_REGISTER_ENABLE_RINGS, NULL, 0);

	if (error)
		return error;
	/* Linux 5.18, optional: saves a look-up of the descriptor per io_uring_enter(2) */
	(void)io_uring_register_ring_fd(&self->ring);
	arm_wake(self);
	return 0;
}

static void uring_destroy(struct engine *engine)
{
	struct uring_engine *self = uring(engine);

	io_uring_queue_exit(&self->ring);
	free(self);
}

static const struct engine_ops uring_ops = {
	.name = "io_uring",
	.enable = uring_enable,
	.destroy = uring_destroy,
	.accept = uring_accept,
	.connect = uring_connect,
	.wait_for = uring_wait_for,
	.watch = uring_watch,
	.cancel = uring_cancel,
	.hand_over = uring_hand_over,
	.has_events = uring_has_events,
	.wait = uring_wait,
};

static int init_ring(struct uring_engine *self)
{
	int error = -EINVAL;

	for (unsigned i = 0; i < ARRAY_COUNT(flavours) && error == -EINVAL; i++) {
		struct io_uring_params params;

		memset(&params, 0, sizeof(params));
		params.flags = flavours[i].flags | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE |
			       IORING_SETUP_R_DISABLED;
		params.cq_entries = COMPLETION_ENTRIES;
		error = io_uring_queue_init_params(SUBMISSION_ENTRIES, &self->ring, &params);
		self->engine.features = flavours[i].features;
	}
	if (error)
		return error;
	/* Linux 5.11: the timeout is an argument of the wait, not a request of its own */
	if (!(self->ring.features & IORING_FEAT_EXT_ARG))
		error = -EOPNOTSUPP;
	if (!error)
		error = restrict_ring(self);
	if (error)
		io_uring_queue_exit(&self->ring);
	return error;
}

int engine_uring_create(struct engine **engine, int wake_fd)
{
	struct uring_engine *self = calloc(1, sizeof(*self));
	int error;

	if (!self)
		return -ENOMEM;
	self->engine = (struct engine){.ops = &uring_ops, .wake_fd = wake_fd};
	error = init_ring(self);
	if (error) {
		free(self);
		return error;
	}
	*engine = &self->engine;
	return 0;
}
