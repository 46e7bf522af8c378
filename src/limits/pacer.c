/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation. The pacer's clock counts bytes: as many as the rate allows from time 0 until
 * now. It depends on the time alone, so rounding errors do not add up. `used` is on the same scale.
 * As long as `used` is behind the clock, lanes may take the difference; the difference is at most
 * the burst, because `used` is never further behind. Shares push `used` ahead of the clock, and a
 * share is due when the clock reaches the `used` that the share has made. All bytes that were
 * granted or set aside are in `used`; those of a share that a lane leaves are subtracted again. So
 * the shares that are due never exceed what the clock allows.
 *
 * Both numbers wrap around and are compared by their difference.
 */
#include "limits/pacer.h"

#include <stdbool.h>

#include "base/check.h"

#define US_PER_S 1000000

void pacer_rate_init(struct pacer_rate *rate, uint64_t bytes_per_s, uint64_t burst_bytes)
{
	CHECK(bytes_per_s >= PACER_RATE_LEAST && bytes_per_s <= PACER_RATE_MOST);
	CHECK(burst_bytes <= PACER_BURST_MOST);
	rate->bytes_per_s = bytes_per_s;
	rate->share_least_bytes =
		MAX(bytes_per_s / PACER_SHARES_PER_SECOND, PACER_SHARE_LEAST_BYTES);
	rate->share_bytes = MAX(bytes_per_s / (US_PER_S / PACER_SHARE_US), rate->share_least_bytes);
	rate->burst_bytes = MAX(burst_bytes ? burst_bytes : bytes_per_s / 8, 2 * rate->share_bytes);
}

/* The clock, in bytes. */
static uint64_t clock_at(const struct pacer_rate *rate, uint64_t now_us)
{
	return now_us / US_PER_S * rate->bytes_per_s +
	       now_us % US_PER_S * rate->bytes_per_s / US_PER_S;
}

/* How long `bytes` take at this rate, rounded up: the clock moves by `bytes` at least. */
static uint64_t time_for_us(const struct pacer_rate *rate, uint64_t bytes)
{
	uint64_t rest = bytes % rate->bytes_per_s * US_PER_S;

	return bytes / rate->bytes_per_s * US_PER_S +
	       (rest + rate->bytes_per_s - 1) / rate->bytes_per_s;
}

void pacer_init(struct pacer *pacer, const struct pacer_rate *rate, uint64_t now_us)
{
	pacer->rate = rate;
	atomic_init(&pacer->used, clock_at(rate, now_us) - rate->burst_bytes);
	atomic_init(&pacer->waiting, 0);
}

/* The bytes that may be taken at once. */
static uint64_t savings(uint64_t used, uint64_t clock)
{
	return (int64_t)(clock - used) > 0 ? clock - used : 0;
}

/* The bytes of a lane's share when `others` wait for theirs. */
static uint64_t share_bytes(const struct pacer_rate *rate, uint64_t saved_bytes, uint32_t others)
{
	/* saved bytes that no lane has taken are divided, too */
	uint64_t bytes = MAX(rate->share_bytes, saved_bytes) / ((uint64_t)others + 1);

	return MAX(bytes, rate->share_least_bytes);
}

/* Takes saved bytes; or else gives the lane a share, and returns 0. */
static uint64_t take_or_queue(struct pacer *pacer, struct pacer_share *share, uint64_t want_bytes,
			      uint64_t now_us)
{
	const struct pacer_rate *rate = pacer->rate;
	uint64_t clock = clock_at(rate, now_us);
	uint64_t used = atomic_load(&pacer->used);
	uint64_t after, bytes;
	bool at_once;

	do {
		uint32_t others = atomic_load(&pacer->waiting);
		uint64_t from = used, saved;

		if (savings(used, clock) > rate->burst_bytes)
			from = clock - rate->burst_bytes;
		saved = savings(from, clock);
		/* no waiting lane is overtaken, and fewer bytes than a share are waited for */
		at_once = !others && saved >= MIN(want_bytes, rate->share_bytes);
		bytes = at_once ? MIN(want_bytes, saved) : share_bytes(rate, saved, others);
		after = from + bytes;
	} while (!atomic_compare_exchange_weak(&pacer->used, &used, after));
	if (at_once)
		return bytes;
	atomic_fetch_add(&pacer->waiting, 1);
	share->bytes = bytes;
	share->due_us = now_us + MAX(time_for_us(rate, savings(clock, after)), PACER_WAIT_LEAST_US);
	return 0;
}

uint64_t pacer_take(struct pacer *pacer, struct pacer_share *share, uint64_t want_bytes,
		    uint64_t now_us)
{
	uint64_t bytes;

	CHECK(want_bytes);
	if (!share->bytes)
		return take_or_queue(pacer, share, want_bytes, now_us);
	if (pacer_wait_us(share, now_us))
		return 0;
	if (share->due_us)
		atomic_fetch_sub(&pacer->waiting, 1);
	share->due_us = 0;
	bytes = MIN(want_bytes, share->bytes);
	share->bytes -= bytes;
	return bytes;
}

uint64_t pacer_wait_us(const struct pacer_share *share, uint64_t now_us)
{
	return share->due_us > now_us ? share->due_us - now_us : 0;
}

void pacer_give_back(struct pacer_share *share, uint64_t bytes)
{
	/* a lane that waits for its share has nothing to give back */
	CHECK(!share->due_us);
	share->bytes += bytes;
}

void pacer_leave(struct pacer *pacer, struct pacer_share *share)
{
	if (share->due_us)
		atomic_fetch_sub(&pacer->waiting, 1);
	if (share->bytes)
		atomic_fetch_sub(&pacer->used, share->bytes);
	*share = (struct pacer_share){0};
}
