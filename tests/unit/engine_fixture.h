/* SPDX-License-Identifier: MIT */
/* For tests of engine.h: an engine that the test's own thread uses. */
#pragma once

#include "os/engine.h"
#include "support.h"

/* The environment's UNIT_ENGINE: "epoll", or "io_uring", which is the default. */
bool fixture_is_epoll(void);

/* Creates an engine. Skips the test if this host has no io_uring. */
struct engine *fixture_create(void);

/* As fixture_create(), and enables the engine for the calling thread. */
struct engine *fixture_open(void);

/* Returns the next event. The test fails if none comes. */
struct engine_event fixture_next(struct engine *engine);

/*
 * Whether there is no event. Asks several times without waiting: an engine may need several steps.
 */
bool fixture_is_quiet(struct engine *engine);

/* Closes both ends; calls engine_forget() for `ours`. */
void fixture_close_tcp(struct engine *engine, struct support_tcp *tcp);
