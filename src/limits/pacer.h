/* SPDX-License-Identifier: MIT */
/*
 * Bandwidth limits: token buckets of bytes. A pacer belongs to one direction of a session, or is
 * shared by all sessions of a forward, on any worker: atomics, no lock.
 *
 * A lane takes bytes from its pacer before it moves them. When there are too few, the lane gets a
 * share: a number of bytes set aside for this lane, and the time from which it may take them.
 * Shares are given in order. So sessions that share a pacer wait for each other only as long as
 * fairness demands, none polls, and the first one in a tick has no advantage. How a lane uses a
 * pacer:
 *
 *	bytes = pacer_take(pacer, &share, want_bytes, now_us)
 *	0:	wait for pacer_wait_us(&share, now_us), rounded up to the timer's unit, and take again
 *	else:	move up to `bytes`, then pacer_give_back(&share, the bytes not moved)
 *	before the lane waits for anything but the pacer, and at its end: pacer_leave(pacer, &share)
 *
 * A lane with two pacers, its own and a shared one, takes from its own first, then takes as much
 * from the shared one, and gives back to its own the bytes that the shared one did not grant.
 *
 * In all its time a pacer grants no more than its rate allows, and the burst. In any shorter time
 * it grants no more than that, and the shares that were due at the beginning. A pacer grants all of
 * its rate, to the byte, to lanes that take as soon as they may and are late by less than the burst
 * is worth. Times are microseconds of CLOCK_MONOTONIC; workers' clocks may differ a little.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define PACER_RATE_LEAST 1000		 /* bytes per second */
#define PACER_RATE_MOST	 100000000000ULL /* 100 GB/s; the arithmetic holds for 2 years of silence */
#define PACER_BURST_MOST (1ULL << 40)

/*
 * The share of a lane alone is worth 10 ms of the rate, so the lane wakes 100 times a second. Lanes
 * that wait for the same pacer divide these bytes, and each waits for 5 ms at least: a lane never
 * wakes more than 200 times a second.
 */
#define PACER_SHARE_US	    10000
#define PACER_WAIT_LEAST_US 5000

/* A share has the bytes of one packet at least; a pacer gives at most so many shares a second. */
#define PACER_SHARE_LEAST_BYTES 1460
#define PACER_SHARES_PER_SECOND 8192

/* A limit; does not change while pacers refer to it. */
struct pacer_rate {
	uint64_t bytes_per_s;
	uint64_t burst_bytes; /* saved up at most while no lane takes any */
	uint64_t share_bytes;
	uint64_t share_least_bytes;
};

/*
 * Sets a limit, of PACER_RATE_LEAST to PACER_RATE_MOST bytes per second. `burst_bytes` of 0 stands
 * for an eighth of a second of the rate. A burst of less than two shares is raised to two.
 */
void pacer_rate_init(struct pacer_rate *rate, uint64_t bytes_per_s, uint64_t burst_bytes);

struct pacer {
	const struct pacer_rate *rate;
	_Atomic uint64_t used;	  /* bytes granted or set aside, on the scale of the clock */
	_Atomic uint32_t waiting; /* shares given of which nothing was taken yet */
};

/* The share of one lane in one pacer; zeroed: none. */
struct pacer_share {
	uint64_t bytes;	 /* set aside and not yet taken */
	uint64_t due_us; /* when the lane may take them; 0: the lane has begun to take them */
};

/* A pacer whose bucket is full. `rate` stays the caller's. */
void pacer_init(struct pacer *pacer, const struct pacer_rate *rate, uint64_t now_us);

/*
 * Takes up to `want_bytes` > 0. Returns how many bytes may be moved now; or 0, and then the lane
 * waits until its share is due.
 */
uint64_t pacer_take(struct pacer *pacer, struct pacer_share *share, uint64_t want_bytes,
		    uint64_t now_us);

/* How long until pacer_take() grants something, in microseconds; 0: now. */
uint64_t pacer_wait_us(const struct pacer_share *share, uint64_t now_us);

/* Puts bytes that were taken and not moved back into the lane's share, for its next take. */
void pacer_give_back(struct pacer_share *share, uint64_t bytes);

/*
 * The lane wants nothing for now: the bytes set aside for it are for all lanes again. Zeroes
 * `share`.
 */
void pacer_leave(struct pacer *pacer, struct pacer_share *share);
