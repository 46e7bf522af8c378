/* SPDX-License-Identifier: MIT */
/* Sockets and clocks for both ends of the load generator. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct endpoint {
	struct sockaddr_storage address;
	socklen_t length;
};

#define ENDPOINT_TEXT_BYTES 64

/* Reads "[v6]:port" or "a.b.c.d:port". False if it is neither. */
bool endpoint_parse(struct endpoint *endpoint, const char *text);

/* Writes the address in the same form. */
void endpoint_print(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES]);

/* A non-blocking listening socket; *endpoint gets the port the kernel chose. -errno on failure. */
int net_listen(struct endpoint *endpoint);

/* A non-blocking socket that connects to endpoint. -errno on failure. */
int net_connect(const struct endpoint *endpoint);

/* Lets the kernel pace what fd sends. 0 leaves it unpaced. */
void net_pace(int fd, uint64_t bytes_per_second);

/* The calling thread runs only when no other thread wants to run (SCHED_IDLE). */
void net_yield_cpu(void);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t net_now_ns(void);

/* CPU time of this process so far, in seconds. */
double net_cpu_seconds(void);
