/*
 * What stands between a client and a session: who may connect (--allow, --deny), how many sessions a
 * listener may have (--maxconn-forward), how many sessions a client key may have and how often it may connect
 * (--per-source), backends that lead back to the session's listener (loops.h), and the bandwidth that sessions share
 * (--limit). One for the process, shared by all workers: what does not change, and atomics; no lock, no allocation after
 * creation.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "limits/client_limits.h"
#include "limits/pacer.h"
#include "stats/metrics.h"

struct admission;

/*
 * Makes it for a configuration and at most `maxconn` sessions; reads the files of --allow-file and
 * --deny-file. `config` must outlive it. Belongs before the privilege drop, which may take the right
 * to read those. Returns 0, or -errno, and config->errors has got all ("path:line: reason" for a line of a file).
 */
int admission_create(struct admission **admission, struct config *config, uint32_t maxconn);

/* NULL is allowed. */
void admission_destroy(struct admission *admission);

enum admission_verdict {
	ADMISSION_OK,
	ADMISSION_DENIED,	  /* by a rule, or for want of one */
	ADMISSION_SOURCE_MAXCONN, /* its source has as many sessions as it may */
	ADMISSION_SOURCE_RATE,	  /* its source opens them too fast */
};

/*
 * Asks for a client of `forward`, at `now_ms` of CLOCK_MONOTONIC. On ADMISSION_OK `ticket` is to be
 * given back with admission_leave() when the session ends; otherwise it is CLIENT_UNCOUNTED, which
 * may be given back too. A client without an address, one that is gone already, is "::". Any thread.
 */
enum admission_verdict admission_enter(struct admission *admission, unsigned forward,
				       const struct addr *client, uint64_t now_ms,
				       client_ticket *ticket);
void admission_leave(struct admission *admission, unsigned forward, client_ticket ticket);

/*
 * Whether a session of the forward must not be connected to this backend, for it would come back to where it is now: see
 * loops.h. `now_ms` is CLOCK_MONOTONIC. Any thread.
 */
bool admission_forbids(struct admission *admission, unsigned forward, const struct addr *backend,
		       uint64_t now_ms);

/* Sessions that a forward may still have; UINT32_MAX where it has no limit of its own. */
uint32_t admission_room(const struct admission *admission, unsigned forward);

/*
 * Takes a place for a session of the forward; false: --maxconn-forward is reached. Who waits for one
 * waits for any session to end: load_wait(). Any thread.
 */
bool admission_take_place(struct admission *admission, unsigned forward);
void admission_give_place(struct admission *admission, unsigned forward);

/* The bandwidth of one direction of a forward. */
struct admission_bandwidth {
	bool own_limited;   /* `own` holds for each session */
	bool total_limited; /* `total` is for all of them */
	struct pacer_rate own;
	struct pacer_rate total_rate;
	_Alignas(CACHE_LINE_BYTES) struct pacer total;
};

/* That of a lane: 0 up, 1 down. NULL where neither limit was given. */
struct admission_bandwidth *admission_bandwidth(struct admission *admission, unsigned forward,
						unsigned lane);

/* Whether any forward has any limit on bandwidth. */
bool admission_limits_bandwidth(const struct config *config);

/* The metrics that are about admission, summed over all forwards; 0 for all others. Any thread. */
uint64_t admission_metric(const struct admission *admission, enum metric metric);
