/* SPDX-License-Identifier: MIT */
/*
 * The interface that each engine implements; engine.h explains the functions. For engine*.c only.
 */
#pragma once

#include <stddef.h>

#include "os/engine.h"

struct engine_ops {
	const char *name;
	int (*enable)(struct engine *engine); /* NULL: not needed */
	void (*destroy)(struct engine *engine);
	void (*accept)(struct engine *engine, int fd, bool many, uint64_t token);
	void (*connect)(struct engine *engine, int fd, const struct sockaddr *address,
			socklen_t length_bytes, uint64_t token);
	void (*wait_for)(struct engine *engine, int fd, enum engine_condition condition,
			 bool peer_ended, uint64_t token);
	void (*watch)(struct engine *engine, int fd, uint64_t token);
	void (*cancel)(struct engine *engine, int fd, uint64_t token);
	void (*forget)(struct engine *engine, int fd, bool shared); /* NULL: not needed */
	void (*hand_over)(struct engine *engine, struct engine *target, int fd,
			  uint64_t target_token, uint64_t token);
	bool (*has_events)(struct engine *engine);
	int (*wait)(struct engine *engine, int64_t timeout_ms, struct engine_event *events,
		    unsigned limit);
};

struct engine {
	const struct engine_ops *ops;
	const char *features; /* what the kernel granted: a static string */
	uint64_t pause_count; /* since engine_take_pauses() */
	int wake_fd;	      /* eventfd(2), non-blocking; engine_wake() makes it readable */
};

/* As engine_create(). The caller keeps `wake_fd` and closes it after destroy(). */
int engine_uring_create(struct engine **engine, int wake_fd);
int engine_epoll_create(struct engine **engine, int wake_fd);

/* Reads all wake-ups that have come from the eventfd; there may be none. */
void engine_take_wakes(const struct engine *engine);

/*
 * A queue of events for the worker, for an engine that can have more events than the worker asks
 * for at a time.
 */
struct engine_answers {
	struct engine_event *events;
	size_t limit;
	size_t first; /* the queue is from here to `end` */
	size_t end;
};

/* Reserves room for `limit` events: host_reserve_memory(). Returns 0 or -ENOMEM. */
int engine_answers_init(struct engine_answers *answers, size_t limit);

/* Releases the room. Does nothing for a zeroed queue. */
void engine_answers_finish(struct engine_answers *answers);

/* Adds an event at the end. CHECKs that there is room. */
void engine_answers_add(struct engine_answers *answers, uint64_t token, int32_t result, bool more);

/* Takes at most `limit` events from the front. Returns their number. */
unsigned engine_answers_take(struct engine_answers *answers, struct engine_event *events,
			     unsigned limit);

/* The number of events in the queue. */
size_t engine_answers_count(const struct engine_answers *answers);
