/* SPDX-License-Identifier: MIT */
/*
 * An engine without a kernel, for tests of decisions. It notes the requests that it gets, checks
 * the rules of engine.h for them, and answers when the test says so. It knows waits, watches,
 * cancels and engine_has_events(); nothing else may be called.
 */
#pragma once

#include "os/engine_ops.h"

#define FAKE_REQUEST_LIMIT 16

struct fake_request {
	uint64_t token;
	int fd;
	bool watch;
	enum engine_condition condition; /* of a wait */
	bool peer_ended;		 /* of a wait */
	bool cancelled;
};

struct fake_engine {
	struct engine engine;				  /* for the code under test */
	struct fake_request requests[FAKE_REQUEST_LIMIT]; /* in flight */
	unsigned count;
	bool has_events; /* set by the test */
};

/* Makes an engine with nothing in flight. It needs no destroy. */
void fake_engine_init(struct fake_engine *fake);

/* The request in flight with `token`, or NULL. Valid until the next call. */
const struct fake_request *fake_engine_find(const struct fake_engine *fake, uint64_t token);

/* Makes the event that answers the request with `token`. Without `more` the request is over. */
struct engine_event fake_engine_answer(struct fake_engine *fake, uint64_t token, int32_t result,
				       bool more);
