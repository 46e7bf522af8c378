#include "host.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include "check.h"

#define SPARE_DESCRIPTORS    16
#define DESCRIPTORS_PER_PIPE 2
/* the ring and its wake-up */
#define DESCRIPTORS_PER_WORKER 2

unsigned host_cpu_count(void)
{
	cpu_set_t set;
	long online;

	if (!sched_getaffinity(0, sizeof(set), &set))
		return (unsigned)MAX(CPU_COUNT(&set), 1);
	/* more CPUs than a cpu_set_t holds */
	online = sysconf(_SC_NPROCESSORS_ONLN);
	return (unsigned)MAX(online, 1);
}

uint64_t host_raise_descriptor_limit(void)
{
	struct rlimit limit;

	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};

		if (!setrlimit(RLIMIT_NOFILE, &raised))
			limit = raised;
	}
	return limit.rlim_cur;
}

uint64_t host_fixed_descriptors(unsigned workers, unsigned forwards, unsigned pipes,
				unsigned others)
{
	/* every listener may hold one accepted connection back: worker x forward twice */
	return SPARE_DESCRIPTORS + (uint64_t)workers * DESCRIPTORS_PER_WORKER +
	       (uint64_t)workers * forwards * 2 + (uint64_t)pipes * DESCRIPTORS_PER_PIPE + others;
}

uint32_t host_sessions_for(uint64_t descriptor_limit, uint64_t fixed_descriptors)
{
	uint64_t sessions;

	if (descriptor_limit <= fixed_descriptors)
		return 0;
	sessions = (descriptor_limit - fixed_descriptors) / 2;
	return (uint32_t)MIN(sessions, (uint64_t)UINT32_MAX);
}
