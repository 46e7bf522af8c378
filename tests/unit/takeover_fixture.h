/* SPDX-License-Identifier: MIT */
/*
 * Two processes of a takeover within one: an old one whose listening sockets go through a carrier
 * to a new one. Only listeners; there are no workers.
 */
#pragma once

#include "forward/forward.h"
#include "os/inherited.h"

/* Writes the SOCKET records of an owner of sockets. */
typedef void takeover_writer(const void *owner, struct carrier *carrier);

/* Makes the new process inherit what `write(owner)` writes. takeover_forget() frees it. */
void takeover_carry(takeover_writer *write, const void *owner, struct inherited *inherited);
void takeover_forget(struct inherited *inherited);

/* What a process has after forwards_open(). */
struct takeover_process {
	struct config config;
	struct forwards *forwards;
	struct forward_sockets sockets;
	struct config_errors errors;
	struct inherited inherited; /* all zeros in an ordinary start */
	unsigned worker_count;
	int result; /* of forwards_open() */
};

/*
 * Starts a process with the words of its command line, separated by blanks. `old`: the process that
 * it takes over from; NULL: an ordinary start.
 */
struct takeover_process *takeover_start(struct takeover_process *old, unsigned worker_count,
					const char *words);

/* Closes the process's sockets, and removes its files, as at its end. */
void takeover_end(struct takeover_process *process);

/* The first error of the start; "" for none. */
const char *takeover_error(const struct takeover_process *process);

/* The sockets of a forward; `fds` has room for 16. Returns their number. */
unsigned takeover_sockets(const struct takeover_process *process, unsigned forward, int fds[16]);
