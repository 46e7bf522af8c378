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
#include "control/report.h"
#include "control/signals.h"
#include "forward/listener_bind.h"
#include "os/startup.h"
#include "relay/worker.h"

/* How long the last lines may take to reach a reader of stderr who is in no hurry. */
#define LOG_FLUSH_LIMIT_MS 2000

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
	report_privileges(config);
	report_limits(config, limits, workers);
	/* at the start, not a minute later: whether it may be written by who we are now */
	if (source_addresses_first_file(task->sources) &&
	    saver_create(&task->saver, task->sources, error))
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
	report_ready(config, limits, workers);
	if (control_run(task)) {
		/* a worker is gone and its sessions with it: nothing can be wound up in order */
		log_stop(LOG_FLUSH_LIMIT_MS);
		_exit(EXIT_FAILURE);
	}
	workers_join(workers);
	if (task->saver)
		saver_save_last(task->saver);
	log_stop(LOG_FLUSH_LIMIT_MS);
	report_stopped(workers);
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

		(void)source_addresses_create(&shared->sources, config);
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

	report_short_limits(limits);
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
	source_addresses_destroy(shared.sources);
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
