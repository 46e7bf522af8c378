/* What an engine implements; engine.h says what each does. Included by engine*.c alone. */
#pragma once

#include "engine.h"

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
	int (*wait)(struct engine *engine, int64_t timeout_ms, struct engine_event *events,
		    unsigned limit);
};

struct engine {
	const struct engine_ops *ops;
	const char *features; /* what the kernel granted: a static string */
	int wake_fd; /* an eventfd(2), non-blocking; readable when the engine's owner is to be woken */
};

/* As engine_create(). `wake_fd` stays the caller's, who closes it after destroy(). */
int engine_uring_create(struct engine **engine, int wake_fd);
int engine_epoll_create(struct engine **engine, int wake_fd);

/* Forgets all wake-ups so far, of which there need be none. */
void engine_take_wakes(const struct engine *engine);
