/* What the tests of engine.h start from: an engine that the test's own thread uses. */
#pragma once

#include "os/engine.h"
#include "support.h"

/* The environment's UNIT_ENGINE: "epoll", or "io_uring", which is the default. */
bool fixture_is_epoll(void);

/* Without io_uring on this host the test is skipped. */
struct engine *fixture_create(void);

/* The same, enabled for the calling thread. */
struct engine *fixture_open(void);

/* The next event; the test fails when none comes. */
struct engine_event fixture_next(struct engine *engine);

/* Whether there is no event. Looks without waiting, a few times: an engine may need steps to settle. */
bool fixture_is_quiet(struct engine *engine);

/* Closes both ends, of which the engine may have had `ours`. */
void fixture_close_tcp(struct engine *engine, struct support_tcp *tcp);
