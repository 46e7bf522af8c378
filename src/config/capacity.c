/* SPDX-License-Identifier: MIT */
#include "config/capacity.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/addr_set.h"
#include "os/host.h"

/* Memory of a stalled session with the default buffer limits: test_stalled. */
#define STALLED_SESSION_BYTES (4 << 20)

/* The kernel's default. A network namespace does not show the host's value. */
#define TCP_PRESSURE_SHARE_OF_MEMORY 16

static uint64_t read_tcp_pressure_bytes(const char *root)
{
	char text[128];
	uint64_t pages;

	if (host_read_file(root, "/proc/sys/net/ipv4/tcp_mem", text, sizeof(text)) ||
	    sscanf(text, "%*u %" SCNu64, &pages) != 1)
		pages = (uint64_t)sysconf(_SC_PHYS_PAGES) / TCP_PRESSURE_SHARE_OF_MEMORY;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void capacity_read_host(const char *root, struct capacity_host *host)
{
	host->cpus = host_cpu_count();
	host->descriptors = host_raise_descriptor_limit();
	host->tcp_pressure_bytes = read_tcp_pressure_bytes(root);
	cgroup_read_limits(root, &host->cgroup);
}

/* Active checks of backends at a time. */
static unsigned count_checks(const struct config *config)
{
	unsigned count = 0;

	for (unsigned i = 0; i < config->forward_count; i++)
		for (unsigned j = 0; j < config->forwards[i].backend_count; j++)
			if (config->forwards[i].backends[j].check)
				count += *config->forwards[i].backends[j].name ? ADDR_SET_MOST : 1;
	return MIN(count, CAPACITY_CHECK_DESCRIPTORS);
}

/* A lock for each state file, and the descriptors of a save. */
static unsigned count_state_descriptors(const struct config *config)
{
	unsigned count = 0;

	for (unsigned i = 0; i < config->forward_count; i++)
		count += config->forwards[i].options.pseudo_state != NULL;
	return count ? count + CAPACITY_SAVE_DESCRIPTORS : 0;
}

/*
 * Descriptors of inherited listening sockets that are more than one per worker and forward: each
 * socket may hold a connection back.
 */
static unsigned count_more_listeners(const struct config *config, unsigned workers)
{
	const struct inherited *inherited = config->inherited;
	unsigned count = 0, usual = workers * config->forward_count;

	for (unsigned i = 0; inherited && i < inherited->count; i++)
		count += inherited->sockets[i].role == INHERITED_LISTENER;
	return count > usual ? 2 * (count - usual) : 0;
}

void capacity_compute(const struct config *config, const struct capacity_host *host,
		      struct capacity *limits)
{
	uint64_t fixed;

	limits->host = *host;
	limits->workers = config->workers
				  ? (unsigned)config->workers
				  : MIN(host_workers_for(host->cpus, host->cgroup.cpu_millis),
					CONFIG_WORKER_LIMIT);
	limits->pipes_per_worker = (unsigned)MAX(config->maxpipes / limits->workers, 1);
	fixed = host_fixed_descriptors(
		limits->workers, config->forward_count, limits->workers * limits->pipes_per_worker,
		(config->metrics.length_bytes ? CAPACITY_HTTP_DESCRIPTORS : 0) +
			(config->admin ? CAPACITY_ADMIN_DESCRIPTORS : 0) + count_checks(config) +
			count_state_descriptors(config) +
			count_more_listeners(config, limits->workers) +
			(config->log_file || config->log_target ? CAPACITY_LOG_DESCRIPTORS : 0) +
			(config->name_count ? CAPACITY_DNS_DESCRIPTORS : 0));
	limits->descriptor_sessions = host_sessions_for(host->descriptors, fixed);
	limits->memory_sessions = host_sessions_in_memory(host->cgroup.memory_bytes);
	limits->maxconn = config->maxconn
				  ? (uint32_t)config->maxconn
				  : MIN(MIN(limits->descriptor_sessions, limits->memory_sessions),
					CAPACITY_MAXCONN_DEFAULT_MOST);
	limits->crowd = (uint32_t)MIN(host->tcp_pressure_bytes / 2 / STALLED_SESSION_BYTES,
				      (uint64_t)UINT32_MAX);
	limits->descriptors_needed = fixed + 2ULL * limits->maxconn;
	limits->memory_needed_bytes = host_memory_for(limits->maxconn);
}

const char *capacity_print_cpus(uint64_t cpu_millis, char text[32])
{
	snprintf(text, 32, "%.15g", (double)cpu_millis / 1000);
	return text;
}
