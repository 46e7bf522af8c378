/* SPDX-License-Identifier: MIT */
/*
 * Active checks of backends: a TCP connect from the control thread and, with --check-send and
 * --check-expect, a request and its answer. The verdicts go to the pools (upstream_checked()).
 *
 *	- Each backend is checked once per --check-interval; the checks of a forward are spread
 *	  over it.
 *	- At most CHECKER_PARALLEL_LIMIT checks run at a time; other checks are late. One forward
 *	  leaves half of them to other forwards with checks.
 *	- A check that is due while the last one of the same backend runs is left out.
 *	- --check-timeout is for the whole check.
 *	- A check comes from the address of --source, if it is a fixed one.
 *	- The PROXY header for a backend with send-proxy announces no client: LOCAL, UNKNOWN (v1).
 *	- A lack on this host, such as of descriptors, is no verdict about the backend.
 *
 * Nothing here waits, nothing is allocated after checker_create(), and one thread calls all
 * functions.
 */
#pragma once

#include "config/capacity.h"
#include "config/config.h"
#include "forward/forward.h"
#include "os/poll_set.h"

#define CHECKER_PARALLEL_LIMIT CAPACITY_CHECK_DESCRIPTORS

/* The first bytes of an answer, in which --check-expect is looked for. */
#define CHECKER_ANSWER_BYTES 4096

struct checker;

/*
 * Makes the checks of all backends that are to be checked, the first of them due at once; *checker
 * is NULL where there are none. `forwards` must outlive it. Returns 0 or -ENOMEM.
 */
int checker_create(struct checker **checker, const struct forwards *forwards);

/* Ends the running checks without a verdict. NULL is allowed. */
void checker_destroy(struct checker *checker);

/* Adds the descriptors to wait for, and when checker_run() is due without an event. */
void checker_prepare_poll(const struct checker *checker, struct poll_set *set);

/* Begins the checks that are due, and continues the checks whose sockets are ready. */
void checker_run(struct checker *checker, const struct poll_set *set);
