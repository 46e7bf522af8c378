/*
 * Active checks of backends, for those that have them: a TCP connect now and then from the control
 * thread, and where --check-send and --check-expect say so a request and a look at the answer. What
 * comes out goes to the pools (upstream_checked()); workers know nothing of it.
 *
 * Every backend has its turn once per --check-interval, and those of a listener are spread over it.
 * At most CHECKER_PARALLEL_LIMIT checks run at a time, of which one listener leaves half to others
 * that are checked; beyond that, turns are late, and a turn that comes up while the last one's check
 * still runs is passed over. A check has --check-timeout for
 * everything, comes from the address of --source where that is a fixed one, and tells a backend with
 * send-proxy that it speaks for itself (LOCAL; version 1 has UNKNOWN). What is missing here, such as
 * descriptors, is no verdict about the backend.
 *
 * Nothing here waits, nothing is allocated after checker_create(), and one thread calls all of it.
 */
#pragma once

#include "config/capacity.h"
#include "config/config.h"
#include "forward/forward.h"
#include "os/poll_set.h"

#define CHECKER_PARALLEL_LIMIT CAPACITY_CHECK_DESCRIPTORS

/* Bytes of an answer that --check-expect is looked for in. */
#define CHECKER_ANSWER_BYTES 4096

struct checker;

/*
 * Makes the checks of all backends that are to be checked, the first of them due at once; *checker is
 * NULL where there are none. `forwards` must outlive it. Returns 0 or -ENOMEM.
 */
int checker_create(struct checker **checker, const struct forwards *forwards);

/* Gives up the checks that run, without a verdict. NULL is allowed. */
void checker_destroy(struct checker *checker);

/* Adds the descriptors to wait for, and when checker_run() is due without an event. */
void checker_prepare_poll(const struct checker *checker, struct poll_set *set);

/*
 * Begins the checks that are due and carries on those that run, as poll(2) has answered for what was
 * prepared; harmless when nothing has happened.
 */
void checker_run(struct checker *checker, const struct poll_set *set);
