/* SPDX-License-Identifier: MIT */
/*
 * Finds loops while sessions run: a session does not connect to a backend whose address leads to a
 * listener of this process and from there back to the session's forward. At the start config_loop.h
 * finds the loops in the configuration. This module finds loops that come later: names that change,
 * addresses that move to this host. Two kinds of loops are not found, and only --maxconn and
 * --per-source-maxconn limit them:
 *
 * - loops through another process, another host or a NAT rule;
 * - loops to a listener with --bind-device, by an address that is not the listener's.
 *
 * All workers share one struct loops: atomics, no lock, no allocation after creation.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

struct loops;

/* `config` must outlive the loops. Returns 0 or -errno: calloc(3), getrandom(2). */
int loops_create(struct loops **loops, const struct config *config);

/* NULL is allowed. */
void loops_destroy(struct loops *loops);

/* Sets the bound address of a listener; it must outlive the loops. Before the workers run. */
void loops_set_listen(struct loops *loops, unsigned forward, const struct addr *listen);

/*
 * Whether a connect of a session of `forward` to `backend`, at `now_ms` of CLOCK_MONOTONIC, would
 * close a loop. If not, the step is remembered, because the session is expected to connect now. The
 * kernel is asked whether this host has the address if a listener of this process would then take
 * the connect: at most 100 times a second for each address, about 20 microseconds, without waiting.
 * Local sockets are never in a loop. Any thread.
 */
bool loops_would_close(struct loops *loops, unsigned forward, const struct addr *backend,
		       uint64_t now_ms);
