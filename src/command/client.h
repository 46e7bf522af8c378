/* SPDX-License-Identifier: MIT */
/* Shared by the commands that ask a running sixpipe: one request and its whole answer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/fault.h"

struct client_answer {
	char *text; /* NUL-terminated; the caller frees it */
	size_t bytes;
	size_t enough_bytes; /* set before the question: no more is read than this needs; 0: all is */
};

/*
 * Connects to `address`, sends `request`, which fits a new socket's buffer, and reads until the end
 * of the stream, or until `enough_bytes` have come. Returns 0, or -errno without an answer: -ETIMEDOUT where all of this takes longer
 * than `limit_ms`. connect(2), recv(2).
 */
int client_ask(const struct addr *address, const char *request, uint64_t limit_ms,
	       struct client_answer *answer);

/*
 * For a command line that cannot be run: prints the help of `command` if it was asked for (`fault`
 * NULL), otherwise the error. Returns the exit code.
 */
int client_stop(const char *command, struct fault *fault);

/*
 * Whether argv[*at] is `option`, written as "--option VALUE" or "--option=VALUE". Stores the value,
 * NULL where it is missing, and moves *at to the last argument that was read.
 */
bool client_take_value(char **argv, int *at, const char *option, const char **value);
