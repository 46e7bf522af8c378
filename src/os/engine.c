/* SPDX-License-Identifier: MIT */
#include "os/engine.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "os/engine_ops.h"
#include "os/host.h"

uint64_t engine_token(enum engine_op op, unsigned lane, unsigned slot, unsigned generation)
{
	CHECK(lane < 256 && slot < ENGINE_SLOT_LIMIT && generation < ENGINE_GENERATION_LIMIT);
	return (uint64_t)op << 56 | (uint64_t)lane << 48 | (uint64_t)slot << 24 | generation;
}

enum engine_op engine_token_op(uint64_t token)
{
	return (enum engine_op)(token >> 56);
}

unsigned engine_token_lane(uint64_t token)
{
	return token >> 48 & 0xff;
}

unsigned engine_token_slot(uint64_t token)
{
	return token >> 24 & (ENGINE_SLOT_LIMIT - 1);
}

unsigned engine_token_generation(uint64_t token)
{
	return token & (ENGINE_GENERATION_LIMIT - 1);
}

void engine_destroy(struct engine *engine)
{
	int wake_fd = engine->wake_fd;

	engine->ops->destroy(engine);
	close(wake_fd);
}

int engine_enable(struct engine *engine)
{
	return engine->ops->enable ? engine->ops->enable(engine) : 0;
}

const char *engine_name(const struct engine *engine)
{
	return engine->ops->name;
}

const char *engine_features(const struct engine *engine)
{
	return engine->features;
}

void engine_accept(struct engine *engine, int fd, bool many, uint64_t token)
{
	engine->ops->accept(engine, fd, many, token);
}

void engine_connect(struct engine *engine, int fd, const struct sockaddr *address,
		    socklen_t length_bytes, uint64_t token)
{
	engine->ops->connect(engine, fd, address, length_bytes, token);
}

void engine_await_connect(struct engine *engine, int fd, uint64_t token)
{
	CHECK(engine_token_op(token) == ENGINE_OP_CONNECT);
	engine->ops->wait_for(engine, fd, ENGINE_WRITABLE, false, token);
}

void engine_wait_for(struct engine *engine, int fd, enum engine_condition condition,
		     bool peer_ended, uint64_t token)
{
	engine->ops->wait_for(engine, fd, condition, peer_ended, token);
}

void engine_watch(struct engine *engine, int fd, uint64_t token)
{
	engine->ops->watch(engine, fd, token);
}

void engine_cancel(struct engine *engine, int fd, uint64_t token)
{
	engine->ops->cancel(engine, fd, token);
}

void engine_forget(struct engine *engine, int fd)
{
	if (engine->ops->forget)
		engine->ops->forget(engine, fd, false);
}

void engine_forget_shared(struct engine *engine, int fd)
{
	if (engine->ops->forget)
		engine->ops->forget(engine, fd, true);
}

void engine_hand_over(struct engine *engine, struct engine *target, int fd, uint64_t target_token,
		      uint64_t token)
{
	engine->ops->hand_over(engine, target, fd, target_token, token);
}

void engine_wake(struct engine *engine)
{
	uint64_t one = 1;
	ssize_t written = write(engine->wake_fd, &one, sizeof(one));

	(void)written; /* EAGAIN: the counter is full, so the owner will wake anyway */
}

void engine_take_wakes(const struct engine *engine)
{
	uint64_t wakes;
	ssize_t got = read(engine->wake_fd, &wakes, sizeof(wakes));

	(void)got; /* EAGAIN: an earlier read took all wake-ups */
}

int engine_wait(struct engine *engine, int64_t timeout_ms, struct engine_event *events,
		unsigned limit)
{
	return engine->ops->wait(engine, timeout_ms, events, limit);
}

uint64_t engine_take_pauses(struct engine *engine)
{
	uint64_t pauses = engine->pause_count;

	engine->pause_count = 0;
	return pauses;
}

bool engine_has_events(struct engine *engine)
{
	return engine->ops->has_events(engine);
}

/* Answers -------------------------------------------------------------------------------------- */

int engine_answers_init(struct engine_answers *answers, size_t limit)
{
	*answers = (struct engine_answers){.limit = limit};
	answers->events = host_reserve_memory(limit * sizeof(*answers->events));
	return answers->events ? 0 : -ENOMEM;
}

void engine_answers_finish(struct engine_answers *answers)
{
	if (answers->events)
		host_release_memory(answers->events, answers->limit * sizeof(*answers->events));
	memset(answers, 0, sizeof(*answers));
}

size_t engine_answers_count(const struct engine_answers *answers)
{
	return answers->end - answers->first;
}

void engine_answers_add(struct engine_answers *answers, uint64_t token, int32_t result, bool more)
{
	size_t count = engine_answers_count(answers);

	if (answers->end == answers->limit) {
		CHECK(count < answers->limit);
		memmove(answers->events, answers->events + answers->first,
			count * sizeof(*answers->events));
		answers->first = 0;
		answers->end = count;
	}
	answers->events[answers->end++] =
		(struct engine_event){.token = token, .result = result, .more = more};
}

unsigned engine_answers_take(struct engine_answers *answers, struct engine_event *events,
			     unsigned limit)
{
	size_t count = MIN(engine_answers_count(answers), limit);

	memcpy(events, answers->events + answers->first, count * sizeof(*events));
	answers->first += count;
	if (answers->first == answers->end)
		answers->first = answers->end = 0;
	return (unsigned)count;
}
