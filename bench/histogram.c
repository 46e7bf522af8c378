/* SPDX-License-Identifier: MIT */
#include "histogram.h"

/* Values under 64 have a bucket each; above, every power of two has 64. */
#define STEPS_LOG2 6u

static uint32_t bucket_of(uint64_t value)
{
	uint32_t shift;

	if (value < HISTOGRAM_STEPS)
		return (uint32_t)value;
	shift = 63u - (uint32_t)__builtin_clzll(value) - STEPS_LOG2;
	return (shift + 1u) * HISTOGRAM_STEPS + (uint32_t)((value >> shift) - HISTOGRAM_STEPS);
}

static uint64_t bucket_top(uint32_t bucket)
{
	uint32_t shift;

	if (bucket < HISTOGRAM_STEPS)
		return bucket;
	shift = bucket / HISTOGRAM_STEPS - 1u;
	return ((uint64_t)(HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS) << shift) +
	       (((uint64_t)1 << shift) - 1u);
}

void histogram_record(struct histogram *histogram, uint64_t value_ns)
{
	histogram->buckets[bucket_of(value_ns)]++;
	histogram->count++;
	if (value_ns > histogram->max_ns)
		histogram->max_ns = value_ns;
}

void histogram_add(struct histogram *sum, const struct histogram *part)
{
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		sum->buckets[i] += part->buckets[i];
	sum->count += part->count;
	if (part->max_ns > sum->max_ns)
		sum->max_ns = part->max_ns;
}

uint64_t histogram_percentile_ns(const struct histogram *histogram, double fraction)
{
	double wanted = fraction * (double)histogram->count;
	uint64_t seen = 0;

	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen > 0 && (double)seen >= wanted) {
			uint64_t top = bucket_top(i);

			return top < histogram->max_ns ? top : histogram->max_ns;
		}
	}
	return histogram->max_ns;
}
