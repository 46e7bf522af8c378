/* SPDX-License-Identifier: MIT */
/*
 * The IPv6 end of the load. Connections of up to four roles run side by side, to measure how one
 * role affects another:
 *
 *   bulk      streams up, down or both ways
 *   small     one request at a time, immediately after the response or at fixed times
 *   connects  connect, one request, close, again
 *   idle      one request, then nothing
 *
 * A run has four phases. CONNECT opens every connection and sends one request through it, so that
 * the forwarder has its connection to the backend too. RUN is measured. DRAIN waits until
 * everything under way has arrived. CLOSE ends the connections.
 */
#pragma once

#include "histogram.h"
#include "net.h"
#include "wire.h"

#include <pthread.h>
#include <stdatomic.h>

enum client_phase {
	PHASE_CONNECT,
	PHASE_RUN,
	PHASE_DRAIN,
	PHASE_CLOSE,
};

enum conn_role { ROLE_BULK, ROLE_SMALL, ROLE_CONNECTS, ROLE_IDLE, ROLE_COUNT };

enum conn_state {
	CONN_CLOSED,
	CONN_CONNECTING,
	CONN_OPEN,
	CONN_FAILED,
};

struct client_options {
	struct endpoint connect;
	unsigned thread_count; /* for bulk flows, and as many again for the others */
	unsigned role_counts[ROLE_COUNT];
	unsigned ramp; /* a thread opens so many connections at a time in CONNECT */
	bool bulk_up;
	bool bulk_down;
	uint64_t rate; /* bytes per second, flow and direction; 0: as fast as it goes */
	uint32_t request_bytes;
	uint32_t response_bytes;
	uint64_t interval_ns; /* between one connection's requests; 0: closed loop */
	double seconds;	      /* of RUN; 0 with sync: until told */
	bool background_bulk; /* bulk threads leave the CPU to everything else */
	bool sync;	      /* say each phase on standard output, wait for a line to go on */
};

struct conn {
	enum conn_role role;
	enum conn_state state;
	int fd;
	uint32_t flow;
	uint32_t interest;
	bool up;      /* through CONNECT */
	bool busy;    /* a request is under way */
	bool drained; /* through DRAIN */
	bool end_due;
	bool end_sent;
	uint64_t began_ns; /* of the request under way */
	uint64_t request_no;
	uint64_t due_ns; /* small with interval: when its next request is due */
	struct wire_reader reader;
	struct wire_writer writer;
};

struct client_stats {
	uint64_t up_bytes;
	uint64_t down_bytes;
	uint64_t requests;    /* of RUN and DRAIN */
	uint64_t exchanges;   /* all requests, those of CONNECT included */
	uint64_t connections; /* of ROLE_CONNECTS, from connect to close */
	uint64_t opened;      /* connections of all roles */
	uint64_t flows;	      /* bulk flows that ended with equal counts at both ends */
	uint64_t errors;
	char first_error[96];
	struct histogram latency;
};

#define CLIENT_BUFFER_BYTES (256u * 1024u)

struct client;

/*
 * One thread and its connections. Bulk flows have threads of their own, so that other connections
 * do not wait for the generator.
 */
struct worker {
	struct client *client;
	pthread_t thread;
	enum client_phase phase;
	bool background;
	int epoll_fd;
	int wake_fd;
	struct conn *conns;
	unsigned conn_count;
	unsigned opened;  /* connections of `conns` that were opened in CONNECT */
	unsigned pending; /* connections whose CONNECT is not complete yet */
	unsigned next_due;
	unsigned small_first;
	unsigned small_count;
	struct client_stats stats;
	uint8_t buffer[CLIENT_BUFFER_BYTES];
};

struct client {
	const struct client_options *options;
	struct worker *workers;
	unsigned worker_count;
	struct conn *conns;
	unsigned conn_count;
	_Atomic enum client_phase phase;
	atomic_uint up_count;
	atomic_uint drained_count;
	_Atomic uint64_t run_ns;     /* when RUN began */
	_Atomic uint64_t drained_ns; /* when the last connection was drained */
};

/* Runs all phases and prints one JSON object. Returns the exit status: 1 when anything was wrong. */
int client_run(const struct client_options *options);

/* conn.c: one connection. */

void conn_open(struct worker *worker, struct conn *conn);
void conn_on_event(struct worker *worker, struct conn *conn, uint32_t events);
void conn_start_run(struct worker *worker, struct conn *conn);
void conn_start_drain(struct worker *worker, struct conn *conn);

/* Sends the small connection's request that is due, as of conn->due_ns. */
void conn_send_due(struct worker *worker, struct conn *conn);

/* Gives up a connection that has not completed its phase. */
void conn_give_up(struct worker *worker, struct conn *conn, const char *what);
