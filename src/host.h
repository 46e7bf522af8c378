/* What this host gives the process: CPUs and descriptors. */
#pragma once

#include <stdint.h>

/* CPUs that the process may run on: sched_getaffinity(2). At least 1. */
unsigned host_cpu_count(void);

/*
 * Raises the soft limit on descriptors to the hard one: RLIMIT_NOFILE, getrlimit(2). Returns the
 * limit that holds then.
 */
uint64_t host_raise_descriptor_limit(void);

/*
 * Descriptors that everything but sessions needs, with some to spare for what the C library opens.
 * `others` are those of the main thread's own services.
 */
uint64_t host_fixed_descriptors(unsigned workers, unsigned forwards, unsigned pipes,
				unsigned others);

/* Sessions for which `descriptor_limit` is enough, two descriptors each. */
uint32_t host_sessions_for(uint64_t descriptor_limit, uint64_t fixed_descriptors);
