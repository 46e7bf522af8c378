/* SPDX-License-Identifier: MIT */
/*
 * Counts of latencies, exact to 1/64 of the value. The table is fixed: recording costs a few
 * instructions, and no sample is dropped.
 */
#pragma once

#include <stdint.h>

#define HISTOGRAM_STEPS	  64u
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * 59u)

struct histogram {
	uint64_t count;
	uint64_t max_ns;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_record(struct histogram *histogram, uint64_t value_ns);

void histogram_add(struct histogram *sum, const struct histogram *part);

/* The smallest recorded value that at least `fraction` of all values do not exceed; 0 when empty. */
uint64_t histogram_percentile_ns(const struct histogram *histogram, double fraction);
