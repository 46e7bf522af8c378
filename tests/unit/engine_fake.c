/* SPDX-License-Identifier: MIT */
#include "engine_fake.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"

static struct fake_engine *fake_of(struct engine *engine)
{
	return CONTAINER_OF(engine, struct fake_engine, engine);
}

static void add(struct fake_engine *fake, const struct fake_request *request)
{
	for (unsigned i = 0; i < fake->count; i++) {
		const struct fake_request *other = &fake->requests[i];

		cr_assert_neq(other->token, request->token, "the token is in flight already");
		cr_assert(other->fd != request->fd || other->watch != request->watch ||
				  (!other->watch && other->condition != request->condition),
			  "descriptor %d has two such requests", request->fd);
	}
	cr_assert_lt(fake->count, FAKE_REQUEST_LIMIT);
	fake->requests[fake->count++] = *request;
}

static void fake_wait_for(struct engine *engine, int fd, enum engine_condition condition,
			  bool peer_ended, uint64_t token)
{
	add(fake_of(engine),
	    &(struct fake_request){
		    .token = token, .fd = fd, .condition = condition, .peer_ended = peer_ended});
}

static void fake_watch(struct engine *engine, int fd, uint64_t token)
{
	add(fake_of(engine), &(struct fake_request){.token = token, .fd = fd, .watch = true});
}

static void fake_cancel(struct engine *engine, int fd, uint64_t token)
{
	struct fake_request *request =
		(struct fake_request *)fake_engine_find(fake_of(engine), token);

	cr_assert_not_null(request, "nothing to cancel");
	cr_assert_eq(request->fd, fd);
	request->cancelled = true;
}

static bool fake_has_events(struct engine *engine)
{
	return fake_of(engine)->has_events;
}

void fake_engine_init(struct fake_engine *fake)
{
	static const struct engine_ops ops = {
		.name = "fake",
		.wait_for = fake_wait_for,
		.watch = fake_watch,
		.cancel = fake_cancel,
		.has_events = fake_has_events,
	};

	memset(fake, 0, sizeof(*fake));
	fake->engine.ops = &ops;
	fake->engine.wake_fd = -1;
}

const struct fake_request *fake_engine_find(const struct fake_engine *fake, uint64_t token)
{
	for (unsigned i = 0; i < fake->count; i++)
		if (fake->requests[i].token == token)
			return &fake->requests[i];
	return NULL;
}

struct engine_event fake_engine_answer(struct fake_engine *fake, uint64_t token, int32_t result,
				       bool more)
{
	const struct fake_request *request = fake_engine_find(fake, token);

	cr_assert_not_null(request, "nothing to answer");
	cr_assert(!more || request->watch, "a wait is answered once");
	if (!more)
		fake->requests[request - fake->requests] = fake->requests[--fake->count];
	return (struct engine_event){.token = token, .result = result, .more = more};
}
