/*
 * The forwards of a process. A forward listens on one address and passes its clients on to its backends. It is made
 * once, from a configuration that config_check() has seen and that nobody changes any more: whatever the start finds
 * out, such as the port that the kernel chose, is here. All workers share it: its parts are atomics, or do not
 * change once the workers run.
 */
#pragma once

#include <sys/types.h>

#include "config/config.h"
#include "forward/admission.h"
#include "forward/loops.h"
#include "forward/source_address.h"
#include "forward/upstream.h"
#include "os/sock_tuning.h"
#include "stats/metrics.h"

struct forward {
	const struct config_forward *config;
	unsigned index;	    /* in the configuration */
	struct addr listen; /* as bound: forwards_open() replaces a port of 0 */
	/* the configured one, with the host's port range and its congestion control for loopback */
	struct sock_tuning tuning;
	struct upstream *upstream;	/* NULL until forwards_make_upstreams() */
	struct admission *admission;	/* NULL until forwards_make_admission() */
	struct source_address *sources; /* NULL until forwards_make_sources() */
	struct loops *loops;		/* of all forwards */
};

/* Backends by name, all forwards' together. */
struct forward_names {
	uint64_t resolved, failing; /* names now */
	uint64_t failures, changes; /* so far */
};

struct forwards {
	const struct config *config;
	struct source_addresses *sources; /* NULL until forwards_make_sources() */
	struct loops *loops;
	struct forward_names names; /* the control thread's */
	unsigned count;
	struct forward list[];
};

/* Making: the main thread, before the privilege drop --------------------------------------------- */

/*
 * Makes the forwards, without what they own; reads the host's tuning in /proc/sys. `config` must outlive it. Returns 0, or -ENOMEM or -EAGAIN (no random number), and `errors` has got the reason.
 */
int forwards_create(struct forwards **forwards, const struct config *config,
		    struct config_errors *errors);

/* NULL is allowed. No session may hold a tenancy any more. */
void forwards_destroy(struct forwards *forwards);

/* Makes the source addresses: source_addresses_create(). Not with --check: routes may be made later. */
int forwards_make_sources(struct forwards *forwards, struct config_errors *errors);

/*
 * Makes the admission of each forward, for `maxconn` sessions at most; reads the files of rules. Returns 0, or the first
 * -errno, and `errors` has got all.
 */
int forwards_make_admission(struct forwards *forwards, uint32_t maxconn,
			    struct config_errors *errors);

/* Makes the pools of backends. Returns 0 or -ENOMEM. */
int forwards_make_upstreams(struct forwards *forwards);

/*
 * Binds every forward's listening sockets, one per worker: fds[worker * count + forward]. Ports of 0 are replaced
 * in `listen`. Returns 0, or -errno, and then nothing is left open, nor a file that was made, and `errors`
 * has got all: each names the address, the reason and the remedy.
 */
int forwards_open(struct forwards *forwards, unsigned worker_count, int *fds,
		  struct config_errors *errors);

/* The user that the process becomes, and whom the files of its local listeners are given to. */
struct forward_owner {
	uid_t uid;
	gid_t gid;
};

/*
 * Gives the files of local listeners to that user, so that --unix-mode lets the user's group in. Returns 0, or -errno
 * and `errors` has got what names the listener and the remedy.
 */
int forwards_give_files(const struct forwards *forwards, struct forward_owner owner,
			struct config_errors *errors);

/*
 * Removes the files of local listeners, as far as we still may, once nobody listens there any more:
 * after all workers have ended.
 */
void forwards_remove_files(const struct forwards *forwards);

/* Running ---------------------------------------------------------------------------------------- */

/*
 * Whether a session of the forward must not be connected to this backend, for the session would come back to where it
 * is now: loops.h. `now_ms` is CLOCK_MONOTONIC. Any thread.
 */
bool forward_forbids(const struct forward *forward, const struct addr *backend, uint64_t now_ms);

/* The metrics that are about forwards and what they own, summed; 0 for all others. Control thread. */
uint64_t forwards_metric(const struct forwards *forwards, enum metric metric);
