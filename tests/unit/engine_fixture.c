/* SPDX-License-Identifier: MIT */
#include "engine_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "os/timer.h"

bool fixture_is_epoll(void)
{
	const char *name = getenv("UNIT_ENGINE");

	return name && !strcmp(name, "epoll");
}

struct engine *fixture_create(void)
{
	enum engine_kind kind = fixture_is_epoll() ? ENGINE_EPOLL : ENGINE_IO_URING;
	struct engine *engine;
	int error = engine_create(kind, &engine);

	if (kind == ENGINE_IO_URING && engine_is_missing(error))
		cr_skip_test("io_uring is not available here: %s", strerror(-error));
	cr_assert_eq(error, 0, "%s", strerror(-error));
	return engine;
}

struct engine *fixture_open(void)
{
	struct engine *engine = fixture_create();

	cr_assert_eq(engine_enable(engine), 0);
	return engine;
}

struct engine_event fixture_next(struct engine *engine)
{
	uint64_t deadline_ms = timer_now_ms() + SUPPORT_PATIENCE_MS;
	struct engine_event event = {0};
	int count = 0;

	while (!count && timer_now_ms() < deadline_ms)
		count = engine_wait(engine, SUPPORT_PATIENCE_MS, &event, 1);
	cr_assert_eq(count, 1, "no event");
	return event;
}

bool fixture_is_quiet(struct engine *engine)
{
	struct engine_event event;

	for (unsigned looks = 0; looks < 5; looks++)
		if (engine_wait(engine, 0, &event, 1))
			return false;
	return true;
}

void fixture_close_tcp(struct engine *engine, struct support_tcp *tcp)
{
	if (tcp->ours >= 0)
		engine_forget(engine, tcp->ours);
	support_tcp_close(tcp);
}
