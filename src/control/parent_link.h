/* SPDX-License-Identifier: MIT */
/*
 * The connection of a serving process to its parent (parent.h): a local socket of type
 * SOCK_SEQPACKET, unix(7). The serving process sends requests; the parent answers some.
 *
 * After an upgrade the two ends may have different versions of sixpipe. So the numbers and the form
 * of the messages never change; others may be added.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "control/privs.h"

enum parent_request {
	PARENT_DROP = 1,   /* give up the privileges; answered. Only from the first process */
	PARENT_START_SAME, /* start the program of the current process; has a descriptor */
	PARENT_START_NEW,  /* start the program that is now on disk; has a descriptor */
	PARENT_COMMIT,	   /* the process that was started last is the current one; answered */
	PARENT_GIVE_UP,	   /* end the process that was started last */
};

/* A request, or the answer to it. */
struct parent_message {
	uint32_t request; /* enum parent_request */
	uint32_t serial;  /* the answer has that of its request */
	int32_t result;	  /* of an answer: 0 or -errno */
};

/* PARENT_DROP alone is longer: both ends are the same program. */
struct parent_drop {
	struct parent_message head;
	struct privs_target target;
};

/* The environment variable that tells a new process its descriptors: "CHANNEL,CARRIER". */
#define PARENT_VARIABLE "SIXPIPE_TAKEOVER"

struct parent_link {
	int fd;		 /* -1: there is no parent */
	pid_t pid;	 /* of the parent */
	bool forked;	 /* from the parent, not executed: the parent still has its privileges */
	uint32_t serial; /* of the last request */
};

/*
 * Takes the descriptors of SIXPIPE_TAKEOVER, and removes the variable from the environment. Call it
 * once, at the start. Sets *carrier_fd, an end for carrier_create() that the caller owns, or -1 if
 * the variable is unset or empty: then this is an ordinary start, and link->fd is -1. Returns 0, or
 * -errno with `fault` if the variable is malformed or a descriptor is not such a socket.
 */
int parent_link_take(struct parent_link *link, int *carrier_fd, struct fault *fault);

/*
 * Ends this process with SIGKILL if the parent has ended, and when it ends: PR_SET_PDEATHSIG,
 * prctl(2). The kernel forgets that when the user changes.
 */
void parent_link_bind(const struct parent_link *link);

/*
 * This process has given up its privileges: makes the parent do so too. Waits for the parent.
 * Returns 0, or -errno with `fault`.
 */
int parent_link_drop(struct parent_link *link, const struct privs_target *target,
		     struct fault *fault);

/*
 * Asks for a new process, PARENT_START_SAME or PARENT_START_NEW, which gets `carrier_fd`; the
 * descriptor stays open here. Does not wait. If the process cannot be started, the other end of the
 * carrier gets CARRIER_REFUSED {exit code, text}. Returns 0, or -errno of sendmsg(2).
 */
int parent_link_start(struct parent_link *link, enum parent_request request, int carrier_fd);

/*
 * The new process takes over: from here on the parent ends when the new process ends, with its exit
 * code. Waits for the parent until `due_ms` (CLOCK_MONOTONIC). Returns 0; -ESRCH if the new process
 * has ended; -ETIMEDOUT; -EPIPE if the parent has ended. After an error call parent_link_give_up():
 * this process is the current one again.
 */
int parent_link_commit(struct parent_link *link, uint64_t due_ms);

/* The new process does not take over: the parent ends it with SIGKILL. Does not wait. */
void parent_link_give_up(struct parent_link *link);
