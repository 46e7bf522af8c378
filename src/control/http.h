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

#include "os/poll_set.h"
#include "relay/worker.h"

/* For the request and the answer together: as long as Prometheus waits by default. */
#define HTTP_REQUEST_LIMIT_MS 10000

struct http;

/*
 * Listens on config->metrics. Needs the privileges of the start for ports below 1024, starts no
 * thread and answers nobody yet. `workers`, those of `config`, are the ones whose counters /metrics
 * shows; both must outlive it. Returns 0 and the listener, or -errno with `fault` naming the
 * address, the reason and the remedy.
 */
int http_create(struct http **http, const struct config *config, const struct workers *workers,
		struct fault *fault);

/* The address that it listens on: that of the configuration, a port of 0 replaced. */
const struct addr *http_address(const struct http *http);

/*
 * For a start that fails already: adds to `errors` why config->metrics cannot be listened on, if it
 * cannot. Binds it for a moment, bind(2).
 */
void http_check(const struct config *config, struct config_errors *errors);

/* NULL is allowed. */
void http_destroy(struct http *http);

/* Adds the descriptors to wait for, and when http_run() is due without an event. */
void http_prepare_poll(struct http *http, struct poll_set *set);

/*
 * Accepts, reads and answers as far as no waiting is needed. `draining`: TERM came, even if
 * sessions are still accepted during --drain-delay.
 */
void http_run(struct http *http, bool draining);
