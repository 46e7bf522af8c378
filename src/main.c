/*
 * sixpipe: IPv6 in, splice through pipes, IPv4 out. The visible steps: parse, check, bind, drop,
 * run. Other commands are in commands.def.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/admin_client.h"
#include "admin/admin_socket.h"
#include "base/log.h"
#include "command/doctor.h"
#include "command/healthcheck.h"
#include "config/capacity.h"
#include "config/config_dump.h"
#include "config/config_loop.h"
#include "config/config_origin.h"
#include "config/config_parse.h"
#include "config/tuning_check.h"
#include "config/usage.h"
#include "control/control.h"
#include "control/privs.h"
#include "control/signals.h"
#include "os/sock.h"
#include "os/startup.h"
#include "relay/listener.h"
#include "relay/session_table.h"
#include "relay/worker.h"

/* How long the last lines may take to reach a reader of stderr who is in no hurry. */
#define LOG_FLUSH_LIMIT_MS 2000

/*
 * Says what the descriptor limit and the control group's memory are too small for, and what to do:
 * at the start, not when they have run out.
 */
static void warn_of_limits(const struct capacity *limits)
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
	log_addr(&line, "listen", &forward->listen);
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
	log_text(&line, "effect", "all bytes are copied, which takes more CPU for bulk");
	log_text(&line, "remedy", "allow splice in the seccomp profile");
	log_end(&line);
}

/* Whether a TCP address of the forward is on loopback. A backend by name counts as elsewhere. */
static bool is_on_loopback(const struct forward *forward)
{
	for (unsigned i = 0; i < forward->backend_count; i++)
		if (addr_is_loopback(&forward->backends[i].addr))
			return true;
	return addr_is_loopback(&forward->listen);
}

/* The address of a forward's first TCP backend; NULL: all backends are local sockets or names. */
static const struct addr *find_tcp_backend(const struct forward *forward)
{
	for (unsigned i = 0; i < forward->backend_count; i++) {
		const struct backend *backend = &forward->backends[i];

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
static void read_congestion(const struct config *config, char loopback[SOCK_CONGESTION_BYTES])
{
	const struct addr on_loopback = addr_from_v4((struct in_addr){htonl(INADDR_LOOPBACK)});

	*loopback = '\0';
	for (unsigned i = 0; i < config->forward_count; i++) {
		const struct forward *forward = &config->forwards[i];
		const struct sock_tuning *tuning = &forward->options.tuning;
		const struct addr *address = tuning->congestion	       ? find_tcp_backend(forward)
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

/* After the privilege drop, so that the limits are those under which the workers run. */
static void log_limits(const struct config *config, const struct capacity *limits,
		       const struct workers *workers)
{
	unsigned pipes = workers_pipe_count(workers);
	uint32_t pipe_bytes = workers_pipe_bytes(workers);
	const struct cgroup_limits *cgroup = &limits->host.cgroup;
	char quota[32], congestion[SOCK_CONGESTION_BYTES];
	struct log_line line;

	read_congestion(config, congestion);
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
		log_number(&line, "pipes", pipes);
		log_number(&line, "pipe_bytes", pipe_bytes);
		log_number(&line, "backlog", config_largest_backlog(config));
		log_number(&line, "session_bytes", sizeof(struct session));
		if (*congestion)
			log_text(&line, "loopback_congestion", congestion);
		log_end(&line);
	}
	if (workers_splice_refusal(workers))
		warn_of_splice(workers_splice_refusal(workers));
	else if ((pipes < limits->workers * limits->pipes_per_worker ||
		  pipe_bytes < config->pipe_bytes) &&
		 log_begin(&line, LOG_EVENT_pipes_short)) {
		log_number(&line, "pipes", pipes);
		log_number(&line, "pipe_bytes", pipe_bytes);
		log_number(&line, "wanted_pipes", limits->workers * limits->pipes_per_worker);
		log_number(&line, "wanted_pipe_bytes", config->pipe_bytes);
		log_text(&line, "effect", "bytes are copied while no pipe is free");
		log_text(&line, "remedy",
			 "sixpipe doctor tells which limit it is; use another user, lower "
			 "--maxpipes or --pipe-size, or raise fs.pipe-user-pages-soft");
		log_end(&line);
	}
}

static void log_privileges(const struct config *config)
{
	struct log_line line;

	if (getuid() == 0 && !config->user && log_begin(&line, LOG_EVENT_started_as_root)) {
		log_text(&line, "effect", "uid 0 stays, all capabilities are dropped");
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

static void log_ready(const struct config *config, const struct capacity *limits,
		      const struct workers *workers)
{
	char text[ADDR_TEXT_BYTES];
	struct log_line line;

	if (log_begin(&line, LOG_EVENT_engine)) {
		log_text(&line, "engine", workers_engine_name(workers));
		log_text(&line, "features", workers_engine_features(workers));
		if (workers_engine_refusal(workers)) {
			log_error(&line, "io_uring", workers_engine_refusal(workers));
			log_text(&line, "remedy", "sixpipe doctor tells what forbids io_uring");
		}
		log_end(&line);
	}
	if (!log_begin(&line, LOG_EVENT_ready))
		return;
	log_text(&line, "engine", workers_engine_name(workers));
	log_number(&line, "workers", limits->workers);
	log_number(&line, "pid", (uint64_t)getpid());
	log_text(&line, "version", SIXPIPE_VERSION);
	log_list_begin(&line, "listen");
	for (unsigned i = 0; i < config->forward_count; i++)
		log_list_item(&line, "listen", addr_print(&config->forwards[i].listen, text));
	log_list_end(&line);
	if (config->metrics.length_bytes)
		log_addr(&line, "metrics", &config->metrics);
	if (config->admin)
		log_text(&line, "admin", config->admin);
	log_end(&line);
}

static void log_stopped(const struct workers *workers)
{
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
	log_number(&line, "pipes_total", workers_pipe_count(workers));
	log_number(&line, "pipes_free", workers_free_pipe_count(workers));
	log_end(&line);
}

/* Ends the start: tells `error` and what config->errors has already. */
static int fail(struct config *config, char error[CONFIG_ERROR_BYTES])
{
	config_origin_add_error(config, NULL, error);
	return usage_fail_all(EXIT_FAILURE, &config->errors);
}

/* From bound sockets to the end. The privileges go before the first thread starts. */
static int serve(struct config *config, const struct capacity *limits,
		 const struct privs_target *target, struct control_task *task)
{
	struct workers *workers = task->workers;
	char error[CONFIG_ERROR_BYTES];
	int result;

	if (privs_drop(target, error))
		return fail(config, error);
	result = log_start(limits->workers);
	if (result) {
		snprintf(
			error, sizeof(error),
			"cannot start the thread that writes the log: %s; raise the limits on memory and "
			"threads (ulimit -u, TasksMax=), or lower --workers",
			strerror(-result));
		return usage_fail(EXIT_FAILURE, error);
	}
	log_privileges(config);
	log_limits(config, limits, workers);
	/* at the start, not a minute later: whether it may be written by who we are now */
	if (sources_first_file(task->sources) && saver_create(&task->saver, task->sources, error))
		return fail(config, error);
	/* before the first worker: whoever connects meanwhile waits in the backlog */
	if (task->names && names_wait(task->names, &config->errors))
		return usage_fail_all(EXIT_FAILURE, &config->errors);
	result = workers_start(workers);
	if (result) {
		workers_enter(workers, WORKER_STOP);
		workers_join(workers);
		snprintf(error, sizeof(error), "cannot start the workers: %s; lower --workers",
			 strerror(-result));
		return usage_fail(EXIT_FAILURE, error);
	}
	log_ready(config, limits, workers);
	if (control_run(task)) {
		/* a worker is gone and its sessions with it: nothing can be wound up in order */
		log_stop(LOG_FLUSH_LIMIT_MS);
		_exit(EXIT_FAILURE);
	}
	workers_join(workers);
	if (task->saver)
		saver_save_last(task->saver);
	log_stop(LOG_FLUSH_LIMIT_MS);
	log_stopped(workers);
	return EXIT_SUCCESS;
}

/* Opens what is asked over beside the forwarding, and serves. */
static int listen_and_serve(struct config *config, const struct capacity *limits,
			    const struct privs_target *target, struct control_task *task)
{
	struct admin_setup setup = {
		.config = config,
		.workers = task->workers,
		.sources = task->sources,
		.owner = {.uid = target->uid, .gid = target->gid},
	};
	char error[CONFIG_ERROR_BYTES];

	if (target->change && listeners_give_files(config, target->uid, target->gid))
		return usage_fail_all(EXIT_FAILURE, &config->errors);
	if (checker_create(&task->checker, config, workers_upstream(task->workers)))
		return usage_fail(EXIT_FAILURE, "out of memory; check fewer backends");
	if (names_create(&task->names, config, workers_upstream(task->workers), error))
		return fail(config, error);
	if (config->metrics.length_bytes && http_create(&task->http, config, task->workers, error))
		return fail(config, error);
	if (config->admin && admin_create(&task->admin, &setup, error))
		return fail(config, error);
	return serve(config, limits, target, task);
}

/* Makes the workers, serves, and takes all of it down. */
static int serve_with(struct config *config, const struct capacity *limits,
		      const struct privs_target *target, struct control_task *task,
		      const struct workers_shared *shared)
{
	int result;

	task->sources = shared->sources;
	if (workers_create(&task->workers, config, limits, shared)) {
		/* what else cannot be listened on, in the same run */
		http_check(config);
		result = usage_fail_all(EXIT_FAILURE, &config->errors);
	} else {
		result = listen_and_serve(config, limits, target, task);
		admin_destroy(task->admin);
		if (task->http)
			http_destroy(task->http);
		if (task->checker)
			checker_destroy(task->checker);
		if (task->names)
			names_destroy(task->names);
		workers_destroy(task->workers);
		/* where binding failed, listeners_open() has: a file that it did not make is another's */
		listeners_remove_files(config);
	}
	if (!saver_destroy(task->saver)) {
		/* a filesystem holds the thread, which uses the sources: only the end of the process is left */
		log_stop(LOG_FLUSH_LIMIT_MS);
		_exit(result);
	}
	return result;
}

/* Adds to config->errors all that this host lacks, and who we are on it, as far as it can be told without binding. */
static void check_host(struct config *config, const struct capacity *limits,
		       struct privs_target *target, struct workers_shared *shared)
{
	char error[CONFIG_ERROR_BYTES];
	int user = privs_resolve(config->user, target, error), admin;

	if (user)
		config_origin_add_error(config, NULL, error);
	if (!limits->maxconn)
		config_errors_add(&config->errors,
				  "the descriptor limit leaves no room for a single session; "
				  "raise it (ulimit -n), or lower --workers or --maxpipes");
	(void)tuning_check(config, "");
	(void)config_loop_check(config, true);
	/* what may be made only before a start: routes, and directories in /run */
	if (!config->check) {
		const struct admin_owner owner = {.uid = target->uid, .gid = target->gid};

		(void)sources_create(&shared->sources, config);
		admin = config->admin ? admin_socket_check(config->admin, &owner, error) : 0;
		/* whose the directory must be is not known without the user */
		if (admin && (!user || admin != -EPERM))
			config_origin_add_error(config, NULL, error);
	}
	/* last, for one file may have more to tell than there is room for; --check reads them too */
	(void)admission_create(&shared->admission, config, MAX(limits->maxconn, 1U));
}

static int run_checked(struct config *config, const struct capacity *limits,
		       const struct privs_target *target, const struct workers_shared *shared)
{
	struct control_task task = {
		.drain_delay_ms = config->drain_delay_ms,
		.drain_timeout_ms = config->drain_timeout_ms,
	};
	int result;

	warn_of_limits(limits);
	if (config->check) {
		puts("configuration OK");
		return EXIT_SUCCESS;
	}
	/* all files have been read, such as /dev/fd/63 of a shell's <(...) */
	startup_close_inherited();
	task.signal_fd = signals_take();
	if (task.signal_fd < 0)
		return usage_fail(EXIT_FAILURE,
				  "cannot make a signalfd; raise the descriptor limit");
	result = serve_with(config, limits, target, &task, shared);
	close(task.signal_fd);
	return result;
}

static int run(struct config *config)
{
	struct workers_shared shared = {0};
	struct privs_target target;
	struct capacity_host host;
	struct capacity limits;
	int result;

	log_init((enum log_level)config->log_level, (enum log_format)config->log_format);
	log_hold();
	signals_ignore();
	capacity_read_host("", &host);
	capacity_compute(config, &host, &limits);
	check_host(config, &limits, &target, &shared);
	if (config->errors.count)
		result = usage_fail_all(EXIT_FAILURE, &config->errors);
	else
		result = run_checked(config, &limits, &target, &shared);
	sources_destroy(shared.sources);
	admission_destroy(shared.admission);
	return result;
}

static const struct command {
	const char *word;
	/* Takes argv[0], the word, and what follows it. Returns the exit code. */
	int (*run)(int argc, char **argv);
} commands[] = {
#define COMMAND(word, function, arguments, help) {#word, function},
#include "config/commands.def"
#undef COMMAND
};

static int forward_or_print(int argc, char **argv)
{
	static struct config config; /* too large for a small stack */
	char error[CONFIG_ERROR_BYTES];
	struct command_line line = {.config = &config, .environment = environ};
	int result;

	config_init(&config);
	if (config_parse(&line, argc, argv, error)) {
		result = usage_fail_all(EXIT_USAGE, &config.errors);
	} else if (config.version) {
		usage_print_version(stdout);
		result = EXIT_SUCCESS;
	} else if (config.help) {
		result = usage_print(stdout, line.help_topic, error) ? usage_fail(EXIT_USAGE, error)
								     : EXIT_SUCCESS;
	} else if (config.dump_config) {
		result = config_dump_print(stdout, &config, error) ? usage_fail(EXIT_FAILURE, error)
								   : EXIT_SUCCESS;
	} else {
		result = run(&config);
	}
	config_finish(&config);
	return result;
}

static int run_command(int argc, char **argv)
{
	for (size_t i = 0; i < ARRAY_COUNT(commands) && argc > 1; i++)
		if (!strcmp(commands[i].word, argv[1]))
			return commands[i].run(argc - 1, argv + 1);
	return forward_or_print(argc, argv);
}

int main(int argc, char **argv)
{
	char error[STARTUP_ERROR_BYTES];
	int result;

	if (startup_prepare(error))
		return usage_fail(EXIT_FAILURE, error);
	result = usage_finish(run_command(argc, argv));
	log_stop(LOG_FLUSH_LIMIT_MS);
	return result;
}
