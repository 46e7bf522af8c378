/*
 * Bandwidth limits: token buckets of bytes. A pacer belongs to one direction of a session, or is
 * shared by all sessions of a forward, whichever worker they are on: atomics, no lock.
 *
 * Whoever wants to move bytes takes them first. When there are too few, it is given a turn: bytes
 * that are set aside for it and the time from which they are its own. Turns are given in order, so
 * sessions that share a pacer wait no longer for each other than fairness takes, none polls, and who
 * comes first in a tick gains nothing by it. A lane's use:
 *
 *	bytes = pacer_take(pacer, &turn, want_bytes, now_us)
 *	0:	wait for pacer_wait_us(&turn, now_us), rounded up to what the timer can do, and retake
 *	else:	move up to `bytes`, then pacer_give_back(&turn, those not moved)
 *	before it waits for anything but the pacer, and at its end: pacer_leave(pacer, &turn)
 *
 * With two pacers, its own and a shared one, a lane takes from its own, then as much from the
 * shared one, and gives back to its own what that did not grant.
 *
 * A pacer never grants more, since it was made, than its rate comes to and the burst; in any stretch
 * of time, than that and the turns that were due at its beginning. It grants all of the rate, to the
 * byte, to those who take whenever they may and come late by less than the burst is worth. Times are microseconds of CLOCK_MONOTONIC; workers' clocks may differ a little.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define PACER_RATE_LEAST 1000		 /* bytes per second */
#define PACER_RATE_MOST	 100000000000ULL /* 100 GB/s; the arithmetic holds for 2 years of silence */
#define PACER_BURST_MOST (1ULL << 40)

/*
 * A turn of a lane alone is worth 10 ms, so it wakes 100 times a second; those that share a pacer
 * share that, and each waits 5 ms at least: it never wakes more than 200 times a second.
 */
#define PACER_SHARE_US	    10000
#define PACER_WAIT_LEAST_US 5000

/* A turn is a packet's worth at least, and all turns of a pacer are at most so many per second. */
#define PACER_SHARE_LEAST_BYTES 1460
#define PACER_SHARES_PER_SECOND 8192

/* A limit; does not change while pacers refer to it. */
struct pacer_rate {
	uint64_t bytes_per_s;
	uint64_t burst_bytes; /* what may be saved up while nothing is taken */
	uint64_t share_bytes;
	uint64_t share_least_bytes;
};

/*
 * Sets a limit, of PACER_RATE_LEAST to PACER_RATE_MOST bytes per second. `burst_bytes` of 0 stands
 * for an eighth of a second's worth; less than two turns is raised to that.
 */
void pacer_rate_init(struct pacer_rate *rate, uint64_t bytes_per_s, uint64_t burst_bytes);

struct pacer {
	const struct pacer_rate *rate;
	_Atomic uint64_t used;	  /* bytes granted or set aside, on the scale of the clock */
	_Atomic uint32_t waiting; /* turns that have been given and not been begun */
};

/* One lane's, for one pacer; zeroed is "none". */
struct pacer_share {
	uint64_t bytes;	 /* set aside and not yet taken */
	uint64_t due_us; /* from when on; 0: they are the lane's already */
};

/* A pacer whose bucket is full. `rate` stays the caller's. */
void pacer_init(struct pacer *pacer, const struct pacer_rate *rate, uint64_t now_us);

/*
 * Takes up to `want_bytes` > 0. Returns how many may be moved now, or 0, and then there is a turn to
 * wait for.
 */
uint64_t pacer_take(struct pacer *pacer, struct pacer_share *share, uint64_t want_bytes,
		    uint64_t now_us);

/* How long until pacer_take() grants something, in microseconds; 0: now. */
uint64_t pacer_wait_us(const struct pacer_share *share, uint64_t now_us);

/* Puts bytes that were taken and not moved back into the lane's turn: it takes them next time. */
void pacer_give_back(struct pacer_share *share, uint64_t bytes);

/*
 * The lane wants nothing for now: what is set aside for it goes back to everybody. `turn` is zeroed.
 */
void pacer_leave(struct pacer *pacer, struct pacer_share *share);
