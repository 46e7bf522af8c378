/*
 * Backend choice and connect: which backend a session gets, and the socket on its way there. The
 * backends of a forward take turns; a session that cannot reach its first moves on to the next,
 * each once.
 */
#pragma once

#include <stdint.h>

#include "config.h"
#include "engine.h"

/* Shared by all workers: whose turn it is, per forward. */
struct upstream;

/* `config` must outlive it. Returns 0 or -ENOMEM. */
int upstream_create(struct upstream **upstream, const struct config *config);
void upstream_destroy(struct upstream *upstream);

/* Takes a turn in `forward`: the index of the session's first backend. Any thread. */
unsigned upstream_choose(struct upstream *upstream, unsigned forward);

/* The backend for attempt 0, 1, ... of a session that began with `first`; NULL when each was tried. */
const struct backend *upstream_backend(const struct upstream *upstream, unsigned forward,
				       unsigned first, unsigned attempt);

/*
 * Begins to connect to `backend`, from `source` unless that is none; the engine answers with
 * `token`. Returns the socket, the caller's to close, or -errno, and then nothing was begun:
 * -EADDRNOTAVAIL where `source` is no address of this host.
 */
int upstream_connect(const struct upstream *upstream, struct engine *engine, unsigned forward,
		     const struct backend *backend, const struct addr *source, uint64_t token);

/*
 * Turns keepalive on for a connection that has lasted a while: a short one does not live to need
 * it.
 */
void upstream_keep_alive(const struct upstream *upstream, unsigned forward, int fd);
