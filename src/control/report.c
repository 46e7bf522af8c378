/* SPDX-License-Identifier: MIT */
#include "control/report.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "os/engine.h"
#include "os/host.h"
#include "os/sock.h"
#include "relay/session.h"
#include "stats/metrics_text.h"

void report_short_limits(const struct capacity *limits)
{
	struct log_line line;

	if (limits->maxconn > limits->descriptor_sessions &&
	    log_begin(&line, LOG_EVENT_descriptors_short)) {
		log_number(&line, "maxconn", limits->maxconn);
		log_number(&line, "descriptors", limits->host.descriptors);
		log_number(&line, "needed", limits->descriptors_needed);
		log_number(&line, "needed_by_others",
			   limits->descriptors_needed - 2ULL * limits->maxconn);
		log_number(&line, "sessions_assured", limits->descriptor_sessions);
		log_text(&line, "remedy",
			 "raise the hard limit (ulimit -Hn, LimitNOFILE=) or lower --maxconn");
		log_end(&line);
	}
	if (limits->maxconn > limits->memory_sessions && log_begin(&line, LOG_EVENT_memory_short)) {
		log_number(&line, "maxconn", limits->maxconn);
		log_number(&line, "memory_limit_bytes", limits->host.cgroup.memory_bytes);
		log_number(&line, "needed_bytes", limits->memory_needed_bytes);
		log_number(&line, "sessions_assured", limits->memory_sessions);
		log_text(&line, "remedy",
			 "raise the control group's limit (MemoryMax=, docker run --memory) or "
			 "lower --maxconn");
		log_end(&line);
	}
}

static void warn_of_congestion(const struct forward *forward, const char *wanted,
			       const char *in_use)
{
	struct log_line line;

	if (!log_begin(&line, LOG_EVENT_congestion_refused))
		return;
	forward_log(forward, &line);
	log_text(&line, "wanted", wanted);
	log_text(&line, "in_use", in_use);
	log_text(&line, "effect",
		 "connections to backends use the congestion control in in_use=; accepted "
		 "connections may use wanted=");
	log_text(&line, "remedy", SOCK_CONGESTION_REMEDY);
	log_end(&line);
}

static void warn_of_splice(int error)
{
	struct log_line line;

	if (!log_begin(&line, LOG_EVENT_splice_refused))
		return;
	log_error(&line, "error", error);
	log_text(&line, "effect", "all bytes are copied; large transfers take more CPU");
	log_text(&line, "remedy", "allow splice in the seccomp profile");
	log_end(&line);
}

/* Whether a TCP address of the forward is on loopback. A backend by name counts as elsewhere. */
static bool is_on_loopback(const struct forward *forward)
{
	for (unsigned i = 0; i < forward->config->backend_count; i++)
		if (addr_is_loopback(&forward->config->backends[i].addr))
			return true;
	return addr_is_loopback(&forward->listen);
}

/* The address of a forward's first TCP backend; NULL: all backends are local sockets or names. */
static const struct addr *find_tcp_backend(const struct config_forward *forward)
{
	for (unsigned i = 0; i < forward->backend_count; i++) {
		const struct config_backend *backend = &forward->backends[i];

		if (!*backend->name && !addr_is_local(&backend->addr))
			return &backend->addr;
	}
	return NULL;
}

/*
 * Reads which congestion control sockets towards backends get after the privilege drop. Warns for
 * each forward that gets another than it wants. A forward without --congestion wants one for
 * loopback alone; `loopback` gets the one in use there. "": no forward without --congestion has an
 * address on loopback, or no such socket could be opened.
 */
static void read_congestion(const struct forwards *forwards, char loopback[SOCK_CONGESTION_BYTES])
{
	const struct addr on_loopback = addr_from_v4((struct in_addr){htonl(INADDR_LOOPBACK)});

	*loopback = '\0';
	for (unsigned i = 0; i < forwards->count; i++) {
		const struct forward *forward = &forwards->list[i];
		const struct sock_tuning *tuning = &forward->tuning;
		const struct addr *address = tuning->congestion ? find_tcp_backend(forward->config)
					     : is_on_loopback(forward) ? &on_loopback
								       : NULL;
		const char *wanted;
		char in_use[SOCK_CONGESTION_BYTES];

		if (!address || sock_read_congestion(address, tuning, in_use))
			continue;
		wanted = sock_wanted_congestion(address, tuning);
		if (!tuning->congestion)
			memcpy(loopback, in_use, sizeof(in_use));
		if (wanted && strcmp(wanted, in_use) != 0)
			warn_of_congestion(forward, wanted, in_use);
	}
}

void report_limits(const struct config *config, const struct capacity *limits,
		   const struct workers *workers)
{
	const struct workers_pipes pipes = workers_pipes(workers);
	const struct cgroup_limits *cgroup = &limits->host.cgroup;
	char quota[32], congestion[SOCK_CONGESTION_BYTES];
	struct log_line line;

	read_congestion(workers_forwards(workers), congestion);
	if (log_begin(&line, LOG_EVENT_limits)) {
		log_number(&line, "maxconn", limits->maxconn);
		log_number(&line, "crowd", limits->crowd);
		log_number(&line, "descriptors", limits->host.descriptors);
		if (cgroup->memory_bytes)
			log_number(&line, "memory_limit_bytes", cgroup->memory_bytes);
		log_number(&line, "workers", limits->workers);
		log_number(&line, "cpus", limits->host.cpus);
		if (cgroup->cpu_millis)
			log_text(&line, "cpu_quota",
				 capacity_print_cpus(cgroup->cpu_millis, quota));
		log_number(&line, "pipes", pipes.count);
		log_number(&line, "pipe_bytes", pipes.smallest_bytes);
		log_number(&line, "backlog", config_largest_backlog(config));
		log_number(&line, "session_bytes", session_bytes());
		if (*congestion)
			log_text(&line, "loopback_congestion", congestion);
		log_end(&line);
	}
	if (workers_splice_refusal(workers))
		warn_of_splice(workers_splice_refusal(workers));
	else if ((pipes.count < limits->workers * limits->pipes_per_worker ||
		  pipes.smallest_bytes < config->pipe_bytes) &&
		 log_begin(&line, LOG_EVENT_pipes_short)) {
		log_number(&line, "pipes", pipes.count);
		log_number(&line, "pipe_bytes", pipes.smallest_bytes);
		log_number(&line, "wanted_pipes", limits->workers * limits->pipes_per_worker);
		log_number(&line, "wanted_pipe_bytes", config->pipe_bytes);
		log_text(&line, "effect", "bytes are copied while no pipe is free");
		log_text(&line, "remedy",
			 "sixpipe doctor names the limit; use another user, lower "
			 "--maxpipes or --pipe-size, or raise fs.pipe-user-pages-soft");
		log_end(&line);
	}
}

void report_privileges(const struct config *config)
{
	struct log_line line;

	if (getuid() == 0 && !config->user && log_begin(&line, LOG_EVENT_started_as_root)) {
		log_text(&line, "effect", "the process stays uid 0, without capabilities");
		log_text(&line, "remedy", "give --user NAME");
		log_end(&line);
	}
	if (!log_begin(&line, LOG_EVENT_privileges))
		return;
	log_number(&line, "uid", getuid());
	log_number(&line, "gid", getgid());
	log_text(&line, "capabilities", "none");
	log_text(&line, "no_new_privs", "yes");
	log_end(&line);
}

void report_log(const struct config *config)
{
	char directory[PATH_MAX];
	struct log_line line;
	int error;

	if (!config->log_file)
		return;
	host_directory_of(config->log_file, directory, sizeof(directory));
	error = faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) ? errno : 0;
	if (!error || !log_begin(&line, LOG_EVENT_log_reopen_limited))
		return;
	log_text(&line, "file", config->log_file);
	log_error(&line, "error", error);
	log_text(
		&line, "effect",
		"after a rotation, SIGUSR1 opens the new file only if another program has made it");
	log_text(&line, "remedy",
		 "let logrotate make it ('create 0640 USER GROUP'), or log into a directory of "
		 "--user, as systemd's LogsDirectory= makes it");
	log_end(&line);
}

void report_ready(const struct capacity *limits, const struct workers *workers,
		  const struct addr *metrics)
{
	const struct forwards *forwards = workers_forwards(workers);
	const struct engine *engine = workers_first_engine(workers);
	char text[ADDR_TEXT_BYTES];
	struct log_line line;

	if (log_begin(&line, LOG_EVENT_engine)) {
		log_text(&line, "engine", engine_name(engine));
		log_text(&line, "features", engine_features(engine));
		if (workers_engine_refusal(workers)) {
			log_error(&line, "error", workers_engine_refusal(workers));
			log_text(&line, "remedy", "sixpipe doctor tells what forbids io_uring");
		}
		log_end(&line);
	}
	if (!log_begin(&line, LOG_EVENT_ready))
		return;
	log_text(&line, "engine", engine_name(engine));
	log_number(&line, "workers", limits->workers);
	log_number(&line, "pid", (uint64_t)getpid());
	log_text(&line, "version", SIXPIPE_VERSION);
	log_list_begin(&line, "listen");
	for (unsigned i = 0; i < forwards->count; i++)
		log_list_item(&line, "listen", addr_print(&forwards->list[i].listen, text));
	log_list_end(&line);
	if (metrics)
		log_addr(&line, "metrics", metrics);
	if (forwards->config->admin)
		log_text(&line, "admin", forwards->config->admin);
	log_end(&line);
}

void report_stopped(const struct workers *workers)
{
	const struct workers_pipes pipes = workers_pipes(workers);
	struct log_line line;

	if (!log_begin(&line, LOG_EVENT_stopped))
		return;
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		log_number(&line, metrics_word((enum metric)i),
			   workers_metric(workers, (enum metric)i));
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++) {
		uint64_t count = workers_closed_count(workers, (enum close_reason)i);
		char key[64];

		snprintf(key, sizeof(key), "closed_%s",
			 close_reason_rule((enum close_reason)i)->word);
		if (count)
			log_number(&line, key, count);
	}
	log_number(&line, "pipes_total", pipes.count);
	log_number(&line, "pipes_free", pipes.free_count);
	log_end(&line);
}
