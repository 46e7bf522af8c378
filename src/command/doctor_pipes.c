#include "command/doctor_pipes.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/units.h"
#include "os/pipe_pool.h"

void doctor_gather_pipes(struct doctor_facts *facts)
{
	const struct capacity *capacity = &facts->capacity;
	struct pipe_pool *pools[CONFIG_WORKER_LIMIT];

	facts->pipes = 0;
	facts->pipe_bytes = 0;
	if (pipe_pools_create(pools, capacity->workers, capacity->pipes_per_worker,
			      (uint32_t)facts->config->pipe_bytes))
		return;
	facts->pipe_bytes = UINT32_MAX;
	for (unsigned i = 0; i < capacity->workers; i++) {
		facts->pipes += pipe_pool_count(pools[i]);
		facts->pipe_bytes = MIN(facts->pipe_bytes, pipe_pool_size_bytes(pools[i]));
		pipe_pool_destroy(pools[i]);
	}
}

/* The pages of a pipe, which the kernel rounds up to a power of two: pipe(7). */
static uint64_t pages_of(const struct doctor_facts *facts, uint64_t bytes)
{
	uint64_t pages = 1;

	while (pages * (uint64_t)facts->page_bytes < bytes)
		pages *= 2;
	return pages;
}

/* Why there are fewer or smaller pipes than wanted, and the remedy. */
static void explain(const struct doctor_facts *facts, uint64_t count, char reason[64],
		    char remedy[DOCTOR_TEXT_BYTES])
{
	uint64_t pages = pages_of(facts, facts->config->pipe_bytes), limit;
	uint64_t descriptors = facts->capacity.host.descriptors;
	char size[UNITS_TEXT_BYTES];

	limit = facts->pipe_user_pages > 0 ? (uint64_t)facts->pipe_user_pages : UINT64_MAX;
	if (facts->pipe_max_bytes > 0 && facts->pipe_bytes < facts->config->pipe_bytes &&
	    facts->config->pipe_bytes > (uint64_t)facts->pipe_max_bytes) {
		snprintf(reason, 64, "fs.pipe-max-size is %s",
			 units_print_size((uint64_t)facts->pipe_max_bytes, size));
		snprintf(remedy, DOCTOR_TEXT_BYTES, "sysctl -w fs.pipe-max-size=%" PRIu64,
			 pages * (uint64_t)facts->page_bytes);
	} else if (descriptors < 2 * count) {
		snprintf(reason, 64, "descriptors are too few");
		snprintf(remedy, DOCTOR_TEXT_BYTES, "see the line 'descriptors'");
	} else if (limit < count * pages) {
		snprintf(reason, 64, "a user has %" PRIu64 " pages", limit);
		snprintf(remedy, DOCTOR_TEXT_BYTES, "sysctl -w fs.pipe-user-pages-soft=%" PRIu64,
			 count * pages);
	} else if (limit != UINT64_MAX) {
		snprintf(reason, 64, "the user's other programs have pipes");
		snprintf(remedy, DOCTOR_TEXT_BYTES,
			 "use another user, or sysctl -w fs.pipe-user-pages-soft=%" PRIu64,
			 limit + count * pages);
	} else {
		snprintf(reason, 64, "the kernel gives no more");
		snprintf(remedy, DOCTOR_TEXT_BYTES, "--maxpipes %u", facts->pipes);
	}
}

bool doctor_judge_pipes(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	uint64_t bytes = facts->config->pipe_bytes, pages = pages_of(facts, bytes);
	uint64_t count = (uint64_t)facts->capacity.workers * facts->capacity.pipes_per_worker;
	bool too_large = facts->pipe_max_bytes > 0 && bytes > (uint64_t)facts->pipe_max_bytes;
	uint64_t room =
		facts->pipe_user_pages > 0 ? (uint64_t)facts->pipe_user_pages / pages : count;
	char size[UNITS_TEXT_BYTES], wanted[UNITS_TEXT_BYTES], reason[64];

	units_print_size(facts->pipe_bytes, size);
	units_print_size(bytes, wanted);
	if (facts->pipes < count || facts->pipe_bytes < bytes) {
		finding->state = DOCTOR_WARN;
		explain(facts, count, reason, finding->remedy);
		if (facts->pipe_bytes < bytes)
			snprintf(finding->value, sizeof(finding->value),
				 "%u of %s, not %" PRIu64 " of %s: %.40s", facts->pipes, size,
				 count, wanted, reason);
		else
			snprintf(finding->value, sizeof(finding->value),
				 "%u of %" PRIu64 " pipes of %s can be had: %.40s", facts->pipes,
				 count, wanted, reason);
	} else if (too_large || room < count) {
		snprintf(finding->value, sizeof(finding->value),
			 "%u of %s; an unprivileged user gets %" PRIu64 " (%s)", facts->pipes,
			 wanted, too_large ? 0 : room,
			 too_large ? "fs.pipe-max-size" : "fs.pipe-user-pages-soft");
	} else {
		snprintf(
			finding->value, sizeof(finding->value),
			"%u of %s; an unprivileged user may have as many, all its programs together",
			facts->pipes, wanted);
	}
	return true;
}
