/* What an engine implements; engine.h says what each does. Included by engine*.c alone. */
#pragma once

#include <stddef.h>

#include "os/engine.h"

struct engine_ops {
	const char *name;
	int (*enable)(struct engine *engine); /* NULL: there is nothing to do */
	void (*destroy)(struct engine *engine);
	void (*accept)(struct engine *engine, int fd, bool many, uint64_t token);
	void (*connect)(struct engine *engine, int fd, const struct sockaddr *address,
			socklen_t length_bytes, uint64_t token);
	void (*wait_for)(struct engine *engine, int fd, enum engine_condition condition,
			 bool peer_ended, uint64_t token);
	void (*watch)(struct engine *engine, int fd, uint64_t token);
	void (*cancel)(struct engine *engine, int fd, uint64_t token);
	void (*forget)(struct engine *engine, int fd); /* NULL: it knows no descriptors */
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
	int wake_fd; /* an eventfd(2), non-blocking; readable when the engine's owner is to be woken */
};

/* As engine_create(). `wake_fd` stays the caller's, who closes it after destroy(). */
int engine_uring_create(struct engine **engine, int wake_fd);
int engine_epoll_create(struct engine **engine, int wake_fd);

/* Forgets all wake-ups so far, of which there need be none. */
void engine_take_wakes(const struct engine *engine);

/* A queue of answers on their way to the worker, for engines that may have more of them than they were asked for. */
struct engine_answers {
	struct engine_event *events;
	size_t limit;
	size_t first; /* from here to `end` they wait */
	size_t end;
};

/* Reserves room for `limit` answers, host_reserve_memory(). Returns 0 or -ENOMEM. */
int engine_answers_init(struct engine_answers *answers, size_t limit);

/* Gives the room back; harmless on what is zeroed. */
void engine_answers_finish(struct engine_answers *answers);

/* Adds one at the end; more than `limit` is a programming error. */
void engine_answers_add(struct engine_answers *answers, uint64_t token, int32_t result, bool more);

/* Takes at most `limit` from the front; returns how many. */
unsigned engine_answers_take(struct engine_answers *answers, struct engine_event *events,
			     unsigned limit);

/* How many wait. */
size_t engine_answers_count(const struct engine_answers *answers);
