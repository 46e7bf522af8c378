/*
 * The event engine: what a worker waits with. One engine per worker, used by that worker's thread
 * alone unless a function says otherwise.
 *
 * Every request carries a 64-bit token and is answered by events that carry it back. Requests are
 * queued and reach the kernel with the next engine_wait(), so that a tick costs one system call. An
 * engine knows nothing of sessions: it neither accepts a limit nor closes a descriptor.
 *
 *	token:  op 8 | lane 8 | slot 24 | generation 24
 *
 * The slot names a session (or a listener), the generation tells its present user from a former
 * one; no token is a pointer, so a late event can be recognised and dropped.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* In the order of the option --engine. */
enum engine_kind { ENGINE_AUTO, ENGINE_IO_URING, ENGINE_EPOLL };

enum engine_op {
	ENGINE_OP_NONE,		  /* the engine's own; never delivered */
	ENGINE_OP_ACCEPT,	  /* slot: listener */
	ENGINE_OP_HANDED_OVER,	  /* slot: listener; the result is a socket from another worker */
	ENGINE_OP_HAND_OVER_SENT, /* slot: listener, generation: the socket that was sent */
	ENGINE_OP_CONNECT,	  /* slot: session */
	ENGINE_OP_READY,	  /* slot: session, lane: what it waits for */
	ENGINE_OP_WAKE,
};

#define ENGINE_SLOT_LIMIT	(1U << 24)
#define ENGINE_GENERATION_LIMIT (1U << 24)

struct engine_event {
	uint64_t token;
	int32_t result; /* >= 0, or -errno; what it means is the request's */
	bool more;	/* the request stays armed and will answer again */
};

struct engine;

uint64_t engine_token(enum engine_op op, unsigned lane, unsigned slot, unsigned generation);
enum engine_op engine_token_op(uint64_t token);
unsigned engine_token_lane(uint64_t token);
unsigned engine_token_slot(uint64_t token);
unsigned engine_token_generation(uint64_t token);

/*
 * Creates an engine of a kind, not ENGINE_AUTO, that cannot be used before engine_enable(). Needs
 * the privileges of the start (io_uring_setup(2) may be restricted) and the descriptor limit that
 * will hold, and so belongs between the two. Returns 0 and the engine, which the caller must
 * destroy, or -errno.
 */
int engine_create(enum engine_kind kind, struct engine **engine);
void engine_destroy(struct engine *engine);

/* Whether -errno from engine_create() means that this host has no such engine. */
bool engine_is_missing(int error);

/*
 * Creates `count` engines, all of one kind, so that they can hand sockets over to each other.
 * ENGINE_AUTO is io_uring or, where that is missing, epoll; then *refusal is the -errno that says
 * why, otherwise 0. Returns 0, or -errno with none created.
 */
int engines_create(enum engine_kind kind, struct engine **engines, unsigned count, int *refusal);

/* Makes the calling thread the engine's only user. Returns 0 or -errno. */
int engine_enable(struct engine *engine);

/* "io_uring", and in words what the kernel granted; static strings. */
const char *engine_name(const struct engine *engine);
const char *engine_features(const struct engine *engine);

/*
 * Accepts from listening socket `fd` (accept4(2), the new sockets are non-blocking and
 * close-on-exec). With `many`, until cancelled or failed; otherwise once. Events: the socket, now
 * the receiver's, or -errno. EMFILE and the like end it: the last event has `more` false.
 */
void engine_accept(struct engine *engine, int fd, bool many, uint64_t token);

/*
 * Connects non-blocking `fd` (connect(2)). `address` must stay valid until the one event, whose
 * result is 0 or -errno; -ECONNRESET and -EPIPE: it was connected, and the peer has reset it since.
 */
void engine_connect(struct engine *engine, int fd, const struct sockaddr *address,
		    socklen_t length_bytes, uint64_t token);

/*
 * Waits for `fd`, whose connect was begun elsewhere: sock_connect_with(). The one event is as that
 * of engine_connect(), or its result is positive and sock_take_error() tells it.
 */
void engine_await_connect(struct engine *engine, int fd, uint64_t token);

/* What the positive result of a wait or a watch is made of. */
enum engine_found {
	ENGINE_FOUND_CONDITION = 1, /* what was waited for */
	ENGINE_FOUND_END = 2,	    /* the peer's stream has ended, or the socket has failed */
};

enum engine_condition {
	ENGINE_READABLE, /* a read would not block, or fails: POLLIN, poll(2) */
	ENGINE_WRITABLE, /* a write would not block, or fails: POLLOUT */
	ENGINE_FAILED, /* the socket has failed, or both directions have ended: POLLERR, POLLHUP */
};

/*
 * At a time, a descriptor has one wait for each condition and one watch at most, or an accept, or a
 * connect. Tokens of waits and watches have ENGINE_OP_READY.
 *
 * Tells once when the condition holds for `fd`; if it does already, with the next wait. Failures
 * meet every condition. Result: enum engine_found or -errno; 0 when it is not met, which happens when
 * the peer has ended its stream (tests/kernel/probe_ring_poll_peer_end): then wait again with
 * `peer_ended`, which costs a little more and is not disturbed by that.
 */
void engine_wait_for(struct engine *engine, int fd, enum engine_condition condition,
		     bool peer_ended, uint64_t token);

/*
 * Tells each time that something has arrived on `fd`: bytes, the end of the stream, a failure. What
 * is there already counts as arrived. Costs nothing between the events, but does not know what was
 * left unread: whoever waits for more should have read all there was. Result: enum engine_found, or
 * -errno. Lasts until cancelled; the last event has `more` false.
 */
void engine_watch(struct engine *engine, int fd, uint64_t token);

/*
 * Cancels the wait, watch, accept or connect on `fd` with `token`; its last event still comes, with
 * -ECANCELED if it was in time.
 */
void engine_cancel(struct engine *engine, int fd, uint64_t token);

/* `fd`, for which nothing is in flight any more, is about to be closed. Any descriptor will do. */
void engine_forget(struct engine *engine, int fd);

/*
 * Gives `fd` to `target`'s worker, whose event carries `target_token` with the descriptor as
 * result. The sender's event carries `token`; with a negative result nothing was given, and fd is
 * still its own.
 */
void engine_hand_over(struct engine *engine, struct engine *target, int fd, uint64_t target_token,
		      uint64_t token);

/* Makes the engine's owner return from its wait with ENGINE_OP_WAKE. Any thread; async-signal-safe. */
void engine_wake(struct engine *engine);

/*
 * Submits what is queued, waits until there is an event or `timeout_ms` has passed (negative: for
 * ever, 0: not at all) and stores at most `limit` events. Returns their number (0 on a timeout, a
 * signal, or when nothing that came was for the caller) or -errno.
 */
int engine_wait(struct engine *engine, int64_t timeout_ms, struct engine_event *events,
		unsigned limit);

/*
 * How often the engine has paused for the kernel, which had no memory for a request, since the last call. Each pause is
 * 1 ms at least.
 */
uint64_t engine_take_pauses(struct engine *engine);

/*
 * Returns whether engine_wait() would return an event at once, or has requests to submit, which may
 * have one. io_uring: a look at shared memory, IORING_SQ_TASKRUN of io_uring_setup(2). epoll:
 * poll(2) of its descriptor.
 */
bool engine_has_events(struct engine *engine);
