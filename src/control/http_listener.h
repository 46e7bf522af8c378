/* SPDX-License-Identifier: MIT */
/* The listening socket of --metrics. For http.c; the control thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "os/poll_set.h"

struct http_listener {
	int fd;		     /* -1: closed */
	struct addr address; /* as bound */
	bool failed;	     /* it was destroyed and could not be opened again */
	uint64_t accept_again_ms;
};

/*
 * For a start that has failed: adds an error if config->metrics cannot be listened on. Binds the
 * address for a moment, bind(2).
 */
void http_listener_check(const struct config *config, struct config_errors *errors);

/*
 * Listens on config->metrics, or takes the inherited socket of this address. Ports below 1024 need
 * the privileges of the start. Returns 0, or -errno with `fault`: address, reason and remedy.
 */
int http_listener_open(struct http_listener *listener, const struct config *config,
		       struct fault *fault);
void http_listener_close(struct http_listener *listener);

/* Writes the socket, for `given` in the configuration, for the next process: inherited_write(). */
void http_listener_write(const struct http_listener *listener, const struct addr *given,
			 struct carrier *carrier);

/* Adds what to wait for before http_listener_accept(). */
void http_listener_prepare_poll(const struct http_listener *listener, struct poll_set *set);

/*
 * Accepts one connection without waiting. Returns its socket, the caller's, or -errno: there is
 * none now. Opens a socket again that was destroyed.
 */
int http_listener_accept(struct http_listener *listener);
