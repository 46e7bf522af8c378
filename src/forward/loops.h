/*
 * The bound on loops while sessions run: a session is not connected to a backend whose address brings it to a
 * listener of this process from which it would come back. At the start config_loop.h finds what can be told
 * there; this finds what comes later: names that change, addresses that move to this host. A session that
 * another process, another host or a NAT rule sends back is not found, nor one to a listener with --bind-device by
 * an address that is not the listener's: --maxconn and --per-source-maxconn bound those.
 *
 * One for the process, shared by all workers: atomics, no lock, no allocation after creation.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

struct loops;

/* `config` must outlive it. Returns 0 or -errno: calloc(3), getrandom(2). */
int loops_create(struct loops **loops, const struct config *config);

/* NULL is allowed. */
void loops_destroy(struct loops *loops);

/* The forward's listener is bound to `listen`, which must outlive the loops. Before the workers run. */
void loops_set_listen(struct loops *loops, unsigned forward, const struct addr *listen);

/*
 * Whether a connect of a session of `forward` to `backend`, at `now_ms` of CLOCK_MONOTONIC, would close a loop; if
 * it would not, the session is taken to go that way. Where a listener of this process would take the connect
 * if the address is this host's, the kernel is asked for that, at most 100 times a second and address: some
 * 20 microseconds, without waiting. Local sockets are not looked at. Any thread.
 */
bool loops_would_close(struct loops *loops, unsigned forward, const struct addr *backend,
		       uint64_t now_ms);
