/*
 * What stands between a client and a session of one forward: who may connect (--allow, --deny), how many sessions the
 * forward may have (--maxconn-forward), how many sessions a client key may have and how often it may connect
 * (--per-source), and the bandwidth that sessions share (--limit). Shared by all workers: what does not change,
 * and atomics; no lock, no allocation after creation.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "limits/client_limits.h"
#include "limits/pacer.h"
#include "stats/metrics.h"

struct admission;

struct admission_setup {
	const struct config *config; /* this and the forward must outlive the call alone */
	const struct config_forward *forward;
	uint32_t maxconn; /* sessions of the process, at most */
	/* of an earlier forward with the same rules, which are shared: destroyed at the same time; NULL: none */
	const struct admission *same_rules;
};

/*
 * Reads the files of --allow-file and --deny-file: before the privilege drop, which may take the right to.
 * Returns 0, or -errno, and `errors` has got all (one for each bad line of a file). After an error
 * too *admission is to be destroyed; it is NULL where there was no memory.
 */
int admission_create(struct admission **admission, const struct admission_setup *setup,
		     struct config_errors *errors);

/* NULL is allowed. */
void admission_destroy(struct admission *admission);

enum admission_verdict {
	ADMISSION_OK,
	ADMISSION_DENIED,	  /* by a rule, or for want of one */
	ADMISSION_SOURCE_MAXCONN, /* its client key has as many sessions as it may */
	ADMISSION_SOURCE_RATE,	  /* its client key opens them too fast */
};

/*
 * Asks for a client, at `now_ms` of CLOCK_MONOTONIC. On ADMISSION_OK `ticket` is to be
 * given back with admission_leave() when the session ends; otherwise it is CLIENT_UNCOUNTED, which
 * may be given back too. A client without an address, one that is gone already, is "::". Any thread.
 */
enum admission_verdict admission_enter(struct admission *admission, const struct addr *client,
				       uint64_t now_ms, client_ticket *ticket);
void admission_leave(struct admission *admission, client_ticket ticket);

/* Sessions that the forward may still have; UINT32_MAX where it has no limit of its own. Any thread. */
uint32_t admission_room(const struct admission *admission);

/* Counts a session for --maxconn-forward; false: the limit is reached, and nothing was counted. Any thread. */
bool admission_count_session(struct admission *admission);
void admission_uncount_session(struct admission *admission);

/* The bandwidth of one direction of a forward. */
struct admission_bandwidth {
	bool own_limited;   /* `own` holds for each session */
	bool total_limited; /* `total` is for all of them */
	struct pacer_rate own;
	struct pacer_rate total_rate;
	_Alignas(CACHE_LINE_BYTES) struct pacer total;
};

/* That of a lane: 0 up, 1 down. NULL where neither limit was given. */
struct admission_bandwidth *admission_bandwidth(struct admission *admission, unsigned lane);

/* Whether any forward has any limit on bandwidth. */
bool admission_limits_bandwidth(const struct config *config);

/* The metrics that are about admission; 0 for all others. Any thread. */
uint64_t admission_metric(const struct admission *admission, enum metric metric);
