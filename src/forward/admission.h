/* SPDX-License-Identifier: MIT */
/*
 * The limits of one forward: which clients may connect (--allow, --deny), how many sessions the
 * forward may have (--maxconn-forward), how many sessions a client key may have and how often the
 * client key may connect (--per-source), and the bandwidth of sessions (--limit). All workers share
 * an admission: its members are constant or atomic. No lock, no allocation after creation.
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
	const struct config *config; /* may be destroyed after the call; so may `forward` */
	const struct config_forward *forward;
	uint32_t maxconn; /* sessions of the process, at most */
	/*
	 * The admission of an earlier forward with the same rules: both share these rules, so both
	 * must be destroyed at the same time. NULL: no earlier forward has the same rules.
	 */
	const struct admission *same_rules;
};

/*
 * Reads the files of --allow-file and --deny-file. Call it before the privilege drop, which may
 * take the right to read them. Returns 0, or -errno and adds all faults to `errors` (one for each
 * bad line of a file). Destroy *admission after an error too; it is NULL if there was no memory.
 */
int admission_create(struct admission **admission, const struct admission_setup *setup,
		     struct config_errors *errors);

/* NULL is allowed. */
void admission_destroy(struct admission *admission);

enum admission_verdict {
	ADMISSION_OK,
	ADMISSION_DENIED,	  /* a rule denies the client, or no rule allows it */
	ADMISSION_SOURCE_MAXCONN, /* the client key has as many sessions as it may have */
	ADMISSION_SOURCE_RATE,	  /* the client key opens sessions too fast */
};

/*
 * Asks whether a client may have a session, at `now_ms` of CLOCK_MONOTONIC. After ADMISSION_OK,
 * give `ticket` back with admission_leave() when the session ends. After another verdict `ticket`
 * is CLIENT_UNCOUNTED, which may be given back too. A client that has gone already has no address
 * and counts as "::". Any thread.
 */
enum admission_verdict admission_enter(struct admission *admission, const struct addr *client,
				       uint64_t now_ms, client_ticket *ticket);
void admission_leave(struct admission *admission, client_ticket ticket);

/*
 * Takes the ticket of a session that another process has admitted: no rule and no limit refuses
 * it, and it costs nothing of a rate. Give the ticket back as above.
 */
void admission_resume(struct admission *admission, const struct addr *client, uint64_t now_ms,
		      client_ticket *ticket);

/* How many more sessions the forward may have; UINT32_MAX without --maxconn-forward. Any thread. */
uint32_t admission_room(const struct admission *admission);

/* Counts a session. False: --maxconn-forward is reached, and nothing was counted. Any thread. */
bool admission_count_session(struct admission *admission);
void admission_uncount_session(struct admission *admission);

/* Counts a session whatever --maxconn-forward says: another process has counted it before. */
void admission_resume_session(struct admission *admission);

/* The bandwidth of one direction of a forward. */
struct admission_bandwidth {
	bool own_limited;   /* each session has the limit `own` */
	bool total_limited; /* all sessions together have the limit `total` */
	struct pacer_rate own;
	struct pacer_rate total_rate;
	_Alignas(CACHE_LINE_BYTES) struct pacer total;
};

/* The bandwidth of a lane: 0 up, 1 down. NULL: the lane has no limit. */
struct admission_bandwidth *admission_bandwidth(struct admission *admission, unsigned lane);

/* Whether any forward has any limit on bandwidth. */
bool admission_limits_bandwidth(const struct config *config);

/* The value of a metric about admission; 0 for another metric. Any thread. */
uint64_t admission_metric(const struct admission *admission, enum metric metric);
