/* SPDX-License-Identifier: MIT */
/*
 * The HTTP listener of --metrics, for load balancers, orchestrators and Prometheus.
 * libmicrohttpd(3) runs in the control thread and has no thread of its own.
 *
 *	/live		200 "live": the control loop runs. A worker that fails ends the process.
 *	/ready		200 "ready" while new connections are wanted; otherwise 503 and the reasons,
 *			a line each
 *	/metrics	200 and every counter, also of each backend: metrics_text.h
 *
 * Only GET and HEAD, one request per connection, no TLS, no authentication. Bind it to loopback, or
 * to an address that only monitoring reaches.
 *
 * A connection ends HTTP_REQUEST_LIMIT_MS after it was accepted. At most CAPACITY_HTTP_CONNECTIONS
 * are open. When the last slot is taken, one connection is ended: the oldest without a whole
 * request, or else the oldest that has not taken its answer. So slow connections never keep a probe
 * waiting.
 */
#pragma once

#include "os/carrier.h"
#include "os/poll_set.h"
#include "relay/worker.h"

/* For the request and the answer together: as long as Prometheus waits by default. */
#define HTTP_REQUEST_LIMIT_MS 10000

struct http;

/*
 * Listens on config->metrics, or on the inherited socket of this address. Ports below 1024 need the
 * privileges of the start. Starts no thread and answers no request yet. /metrics shows the counters
 * of `workers`, which run `config`. Both must outlive the struct. Returns 0, or -errno with
 * `fault`: address, reason and remedy.
 */
int http_create(struct http **http, const struct config *config, const struct workers *workers,
		struct fault *fault);

/* The listener's address, with the port that the kernel chose where the configuration has 0. */
const struct addr *http_address(const struct http *http);

/* NULL is allowed. */
void http_destroy(struct http *http);

/*
 * In the old process of a takeover: http_write_socket() writes the listener for the next process.
 * http_leave() closes it here, after the commit. http_is_busy(): connections are open, each for
 * HTTP_REQUEST_LIMIT_MS at most.
 */
void http_write_socket(const struct http *http, struct carrier *carrier);
void http_leave(struct http *http);
bool http_is_busy(const struct http *http);

/* Adds the descriptors to wait for, and when http_run() is due without an event. */
void http_prepare_poll(struct http *http, struct poll_set *set);

/*
 * Accepts, reads and answers as far as no waiting is needed. `draining`: TERM came, even if
 * sessions are still accepted during --drain-delay.
 */
void http_run(struct http *http, bool draining);
