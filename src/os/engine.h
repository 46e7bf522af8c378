/* SPDX-License-Identifier: MIT */
/*
 * The event engine: a worker queues requests (accept, connect, wait, watch) and waits for the
 * events that answer them. Each worker has its own engine; only the worker's thread may call it,
 * unless a function says otherwise.
 *
 * Every request has a 64-bit token, and every event that answers the request has the same token.
 * Requests are queued and reach the kernel with the next engine_wait(), so that a tick costs one
 * system call. An engine knows no sessions: it enforces no limit and closes no descriptor of a
 * session.
 *
 *	token:  op 8 | lane 8 | slot 24 | generation 24
 *
 * The slot is the index of a session, a listener or a forward. The generation distinguishes the present user
 * of the slot from former users. A token is never a pointer, so an event that comes too late is
 * recognised and dropped.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* In the order of the option --engine. */
enum engine_kind { ENGINE_AUTO, ENGINE_IO_URING, ENGINE_EPOLL };

enum engine_op {
	ENGINE_OP_NONE,		  /* for the engine itself; never delivered */
	ENGINE_OP_ACCEPT,	  /* slot: listener */
	ENGINE_OP_HANDED_OVER,	  /* slot: forward; the result is a socket from another worker */
	ENGINE_OP_HAND_OVER_SENT, /* slot: listener; generation: the descriptor that was sent */
	ENGINE_OP_CONNECT,	  /* slot: session */
	ENGINE_OP_READY,	  /* slot: session; lane: the number of its wait or watch */
	ENGINE_OP_WAKE,
};

#define ENGINE_SLOT_LIMIT	(1U << 24)
#define ENGINE_GENERATION_LIMIT (1U << 24)

struct engine_event {
	uint64_t token;
	int32_t result; /* >= 0, or -errno; the function that made the request gives the meaning */
	bool more;	/* the request stays armed: more events will come */
};

struct engine;

uint64_t engine_token(enum engine_op op, unsigned lane, unsigned slot, unsigned generation);
enum engine_op engine_token_op(uint64_t token);
unsigned engine_token_lane(uint64_t token);
unsigned engine_token_slot(uint64_t token);
unsigned engine_token_generation(uint64_t token);

/*
 * Creates an engine of a kind other than ENGINE_AUTO. Before use, enable the engine by
 * engine_enable(). Call engine_create() before the privilege drop, because io_uring_setup(2) may be
 * restricted, and after the descriptor limit was raised, because the epoll engine's table has this
 * size. Returns 0 and the engine, which the caller must destroy, or -errno.
 */
int engine_create(enum engine_kind kind, struct engine **engine);
void engine_destroy(struct engine *engine);

/* Whether -errno from engine_create() means that this host has no such engine. */
bool engine_is_missing(int error);

/*
 * Creates `count` engines of the same kind, so that they can hand over sockets to each other.
 * ENGINE_AUTO means io_uring or, if the host has no io_uring, epoll. *refusal is the -errno of
 * io_uring if epoll was taken instead, otherwise 0. Returns 0, or -errno with no engine created.
 */
int engines_create(enum engine_kind kind, struct engine **engines, unsigned count, int *refusal);

/* Makes the calling thread the engine's only user. Returns 0 or -errno. */
int engine_enable(struct engine *engine);

/* "io_uring" or "epoll", and the features that the kernel granted; static strings. */
const char *engine_name(const struct engine *engine);
const char *engine_features(const struct engine *engine);

/*
 * Accepts connections from listening socket `fd` (accept4(2)): one, or with `many` all until the
 * request is cancelled or fails. The new sockets are non-blocking and close-on-exec. Result: the
 * new socket, which the caller owns from then on, or -errno. Errors such as EMFILE end the request:
 * its last event has `more` false.
 */
void engine_accept(struct engine *engine, int fd, bool many, uint64_t token);

/*
 * Connects non-blocking `fd` (connect(2)). There is one event; `address` must stay valid until
 * then. Result: 0 or -errno. -ECONNRESET and -EPIPE mean that the peer accepted the connection and
 * then reset it.
 */
void engine_connect(struct engine *engine, int fd, const struct sockaddr *address,
		    socklen_t length_bytes, uint64_t token);

/*
 * Waits for a connect of `fd` that the caller has begun by sock_connect_with(). There is one event.
 * Result: as for engine_connect(), or positive: then sock_take_error() returns the outcome.
 */
void engine_await_connect(struct engine *engine, int fd, uint64_t token);

/* The bits of the positive result of a wait or a watch. */
enum engine_found {
	ENGINE_FOUND_CONDITION = 1, /* the wait's condition holds, or the watch saw an arrival */
	ENGINE_FOUND_END = 2,	    /* the peer's stream has ended, or the socket has failed */
};

enum engine_condition {
	ENGINE_READABLE, /* a read would not block, or fails: POLLIN, poll(2) */
	ENGINE_WRITABLE, /* a write would not block, or fails: POLLOUT */
	ENGINE_FAILED, /* the socket has failed, or both directions have ended: POLLERR, POLLHUP */
};

/*
 * A wait: one event when the condition holds for `fd`. If the condition holds already, the event
 * comes with the next engine_wait(). After a failure every condition holds. Result: enum
 * engine_found or -errno. A result of 0 means that the condition does not hold: io_uring answers 0
 * once the peer has ended its stream (tests/kernel/probe_ring_poll_peer_end). Then wait again with
 * `peer_ended`: such a wait costs a little more and is answered only when the condition holds.
 *
 * At the same time a descriptor may have one wait for each condition and one watch; or one accept;
 * or one connect. Tokens of waits and watches have ENGINE_OP_READY.
 */
void engine_wait_for(struct engine *engine, int fd, enum engine_condition condition,
		     bool peer_ended, uint64_t token);

/*
 * A watch: an event each time that bytes, the end of the stream or a failure arrive on `fd`. Bytes
 * that are there at the call count as an arrival. A watch costs nothing between the events. But the
 * watch does not report unread bytes again, so the caller should read until the socket is empty.
 * Result: enum engine_found or -errno. The watch lasts until cancelled; its last event has `more`
 * false.
 */
void engine_watch(struct engine *engine, int fd, uint64_t token);

/*
 * Cancels the wait, watch, accept or connect of `fd` that has `token`. The last event of the
 * request still comes: with -ECANCELED, or with its own result if the request was answered before.
 */
void engine_cancel(struct engine *engine, int fd, uint64_t token);

/*
 * Call it before closing `fd`. No request may be in flight for `fd`. The engine need not know `fd`.
 */
void engine_forget(struct engine *engine, int fd);

/*
 * The same for a socket that stays open in another process: this engine would go on to report its
 * events (epoll(7), question 6).
 */
void engine_forget_shared(struct engine *engine, int fd);

/*
 * Hands `fd` over to the worker of `target`. That worker gets an event with `target_token` and the
 * descriptor as result. The caller gets an event with `token`; if its result is negative, the
 * caller still owns `fd`.
 */
void engine_hand_over(struct engine *engine, struct engine *target, int fd, uint64_t target_token,
		      uint64_t token);

/* Makes engine_wait() return an event of ENGINE_OP_WAKE. Any thread; async-signal-safe. */
void engine_wake(struct engine *engine);

/*
 * Submits the queued requests, waits until there is an event or `timeout_ms` has passed (negative:
 * no limit, 0: does not wait) and stores at most `limit` events. Returns the number of events, or
 * -errno. The number is 0 after a timeout, a signal, or an event that is only for the engine.
 */
int engine_wait(struct engine *engine, int64_t timeout_ms, struct engine_event *events,
		unsigned limit);

/*
 * How often the engine has paused since the last call, because the kernel had no memory for a
 * request. Each pause is at least 1 ms.
 */
uint64_t engine_take_pauses(struct engine *engine);

/*
 * Whether engine_wait() would return an event at once, or has requests to submit, which may be
 * answered at once. io_uring: reads shared memory (IORING_SQ_TASKRUN, io_uring_setup(2)). epoll:
 * one poll(2).
 */
bool engine_has_events(struct engine *engine);
