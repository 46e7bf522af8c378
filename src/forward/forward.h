/* SPDX-License-Identifier: MIT */
/*
 * The forwards of a process. A forward listens on one address and passes its clients on to its
 * backends. A forward is made once, from a configuration that config_check() has checked and that
 * does not change any more. What is found out at the start, such as the port that the kernel chose,
 * is in the forward. All workers share the forwards: the members are atomic, or constant while the
 * workers run.
 */
#pragma once

#include <stdatomic.h>
#include <sys/types.h>

#include "base/log.h"
#include "config/config.h"
#include "forward/admission.h"
#include "forward/loops.h"
#include "forward/source_address.h"
#include "forward/upstream.h"
#include "os/sock_tuning.h"
#include "stats/metrics.h"

/* How far the drain of one forward has come (sixpipe drain FORWARD). */
enum forward_drain {
	FORWARD_SERVES,
	FORWARD_DRAINS,	 /* its listeners close; its sessions may finish */
	FORWARD_EXPIRED, /* --drain-timeout has passed: its sessions are reset */
};

struct forward {
	const struct config_forward *config;
	unsigned index;	    /* of the forward in the configuration */
	struct addr listen; /* as bound: forwards_open() replaces a port of 0 */
	/* as configured, with the host's port range and congestion control for loopback */
	struct sock_tuning tuning;
	struct upstream *upstream;     /* NULL until forwards_make_upstreams() */
	struct admission *admission;   /* NULL until forwards_make_admission() */
	struct source_address *source; /* NULL until forwards_make_sources() */
	struct loops *loops;	       /* of all forwards */
	/*
	 * connections that were in the backlog of a passed socket when its options were set; those
	 * whose options were set since do not count any more
	 */
	_Atomic uint32_t early_count;
	_Atomic uint8_t drain; /* enum forward_drain; the control loop changes it */
	atomic_flag repairing; /* by one worker, if workers share a listening socket */
	/* set by forwards_open(): */
	unsigned socket_count; /* listening sockets and duplicates, of all workers */
	bool shared;	       /* at least two workers accept from the same listening socket */
	bool inherited;	       /* from the process before: to be tuned when that has given up */
	/* by forwards_give_away(): the process after this one listens on these sockets now */
	bool given_away;
};

/* The names of backends, of all forwards together. */
struct forward_names {
	uint64_t resolved, failing; /* now */
	uint64_t failures, changes; /* since the start */
};

struct forwards {
	/* reloads and upgrades; written by the control loop */
	uint64_t takeovers, takeover_failures;
	const struct config *config;
	struct source_addresses *sources; /* NULL until forwards_make_sources() */
	struct loops *loops;
	struct forward_names names; /* written by the control loop */
	/* a takeover keeps what was changed at run time: for an upgrade, not for a reload */
	bool keeps_changes;
	bool want_clients;	      /* at least one of them looks up its clients' addresses */
	_Atomic uint32_t sweep_count; /* relay/sweep.h: of the sweeps asked for */
	unsigned count;
	struct forward list[];
};

/* Making: the main thread, before the privilege drop ------------------------------------------- */

/*
 * Makes the forwards; the functions below make their upstream, admission and source addresses.
 * Reads the host's tuning in /proc/sys. `config` must outlive the forwards. Returns 0, or -ENOMEM
 * or -EAGAIN (no random number) and adds the reason to `errors`.
 */
int forwards_create(struct forwards **forwards, const struct config *config,
		    struct config_errors *errors);

/* NULL is allowed. No session may hold a tenancy. */
void forwards_destroy(struct forwards *forwards);

/* Calls source_addresses_create(). Not for --check, because the routes may be made later. */
int forwards_make_sources(struct forwards *forwards, struct config_errors *errors);

/*
 * Makes the admission of each forward: admission_create(). `maxconn` is the most sessions of the
 * process. Returns 0, or the first -errno and adds all faults to `errors`.
 */
int forwards_make_admission(struct forwards *forwards, uint32_t maxconn,
			    struct config_errors *errors);

/* Makes the upstream of each forward. Returns 0 or -ENOMEM. */
int forwards_make_upstreams(struct forwards *forwards);

/* A listening socket of a worker. */
struct forward_socket {
	int fd;
	unsigned forward; /* its index */
	unsigned worker;
};

/* All zeros: none. The caller frees the list: free(3). */
struct forward_sockets {
	struct forward_socket *list;
	unsigned count;
};

/*
 * Opens the listening sockets of all forwards, at least one of each forward for each worker. Takes
 * passed sockets over, and the sockets of config->inherited; these can be more than there are
 * workers. All belong to the workers from then on. Replaces ports of 0 in `listen`. Returns 0, or
 * -errno and adds all faults to `errors`: each fault names the address, the reason and the remedy.
 * After an error no socket is left open, and no new file is left.
 */
int forwards_open(struct forwards *forwards, unsigned worker_count, struct forward_sockets *sockets,
		  struct config_errors *errors);

/*
 * In a takeover, before the workers of the old process go on: says which forwards' listening
 * sockets the new process has (inherited_take_adopted()). The workers then close these without
 * serving their backlogs.
 */
void forwards_give_away(struct forwards *forwards, const bool adopted[INHERITED_FORWARD_LIMIT]);

/* A user that files are given to. */
struct forward_owner {
	uid_t uid;
	gid_t gid;
};

/*
 * Gives the files of local listeners to the user of --user, so that --unix-mode lets its group in.
 * Returns 0, or -errno and adds a fault with the listener and the remedy to `errors`: chown(2).
 */
int forwards_give_files(const struct forwards *forwards, struct forward_owner owner,
			struct config_errors *errors);

/*
 * Removes the files of local listeners that the process may still remove. Call it after all workers
 * have ended.
 */
void forwards_remove_files(const struct forwards *forwards);

/* Running -------------------------------------------------------------------------------------- */

/* Whether the forward drains: the control loop or `sixpipe drain FORWARD` has closed it for good. */
bool forward_drains(const struct forward *forward);

/*
 * Brings the drain of a forward to a later stage. Wake the workers afterwards: they close its
 * listeners, or end its sessions. Control loop.
 */
void forwards_drain(struct forwards *forwards, unsigned index, enum forward_drain stage);

/* The forward with this name; NULL: there is none. */
struct forward *forwards_find(struct forwards *forwards, const char *name);

/* Logs which forward a line is about: log_forward(). */
void forward_log(const struct forward *forward, struct log_line *line);

/* The value of a metric about forwards, summed; 0 for another metric. Control loop. */
uint64_t forwards_metric(const struct forwards *forwards, enum metric metric);
