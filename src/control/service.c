/* SPDX-License-Identifier: MIT */
#include "control/service.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "admin/admin_socket.h"
#include "base/log.h"
#include "base/log_file.h"
#include "config/config_activation.h"
#include "config/config_loop.h"
#include "config/config_origin.h"
#include "config/tuning_check.h"
#include "control/http_listener.h"
#include "control/report.h"
#include "control/signals.h"
#include "os/startup.h"

static bool fail(struct service *service, struct fault *fault)
{
	config_origin_add_to(&service->errors, service->config, NULL, fault);
	return false;
}

static bool fail_plainly(struct service *service, const char *words)
{
	config_errors_add_words(&service->errors, words);
	return false;
}

void service_init(struct service *service, const struct config *config)
{
	struct capacity_host host;

	*service = (struct service){
		.config = config,
		.task =
			{
				.signal_fd = -1,
				.drain_delay_ms = config->drain_delay_ms,
				.drain_timeout_ms = config->drain_timeout_ms,
			},
	};
	service->errors.takes_over = config->inherited != NULL;
	log_init((enum log_level)config->log_level, (enum log_format)config->log_format);
	log_hold();
	signals_ignore();
	service->manager.notify.fd = -1;
	if (!config->check)
		manager_open(&service->manager);
	capacity_read_host("", &host);
	capacity_compute(config, &host, &service->limits);
}

/* Checks what users make shortly before a start, such as routes and directories in /run. */
static void check_what_is_made(struct service *service, bool user_is_known)
{
	const struct config *config = service->config;
	struct fault fault;
	int admin;

	(void)forwards_make_sources(service->task.forwards, &service->errors);
	admin = config->admin ? admin_socket_check(config->admin, service->target.user, &fault) : 0;
	/* -EPERM depends on the user: skip it if the user is not known */
	if (admin && (user_is_known || admin != -EPERM))
		(void)fail(service, &fault);
	if (config->log_file && user_is_known &&
	    log_file_check(config->log_file, service->target.user.uid, &fault))
		(void)fail(service, &fault);
}

/*
 * Looks the user of the process up. In a takeover it cannot change: it is the user of the process
 * before.
 */
static int resolve_user(struct service *service, struct fault *fault)
{
	const struct config *config = service->config;
	const struct inherited *inherited = config->inherited;
	struct privs_target *target = &service->target;
	int result = privs_resolve(config->user, target, fault);

	if (!inherited || (result && result != -EPERM))
		return result;
	if (target->user.uid == geteuid() && target->user.gid == getegid())
		target->change = false;
	if (result || target->change || (!config->user && *inherited->old_user))
		result = fault_set(fault, "user", config->user,
				   "sixpipe runs as '%.64s', and has given up the right to become "
				   "another user; restart sixpipe",
				   *inherited->old_user ? inherited->old_user
							: "the user who started it");
	return result;
}

bool service_check(struct service *service)
{
	const struct config *config = service->config;
	struct fault fault;
	bool user_is_known;

	if (forwards_create(&service->task.forwards, config, &service->errors))
		return false;
	user_is_known = !resolve_user(service, &fault);
	if (!user_is_known)
		(void)fail(service, &fault);
	if (!service->limits.maxconn)
		(void)fail_plainly(service,
				   "the descriptor limit leaves no room for a single session; "
				   "raise it (ulimit -n), or lower --workers or --maxpipes");
	(void)tuning_check(config, "", &service->errors);
	(void)config_loop_check(config, true, &service->errors);
	if (!config->check) {
		check_what_is_made(service, user_is_known);
		(void)config_activation_require(config, &service->errors);
	}
	/* last, because the errors of one file may leave no room for others. --check too. */
	(void)forwards_make_admission(service->task.forwards, MAX(service->limits.maxconn, 1U),
				      &service->errors);
	if (service->errors.count)
		return false;
	report_short_limits(&service->limits);
	return true;
}

/*
 * Leads the log to its target. The file is made with the privileges of the start, and lines that
 * were logged so far go there too.
 */
static bool open_log(struct service *service)
{
	const struct config *config = service->config;
	const struct forward_owner owner = service->target.user;
	struct fault fault;

	if (config->log_target == CONFIG_LOG_SYSLOG)
		log_to_syslog(LOG_SYSLOG_PATH);
	if (!config->log_file || !log_to_file(config->log_file, owner.uid, owner.gid, &fault))
		return true;
	return fail(service, &fault);
}

/* Makes the other listeners, the checker and the resolver. */
static bool bind_others(struct service *service)
{
	struct control_task *task = &service->task;
	const struct config *config = service->config;
	const struct privs_target *target = &service->target;
	struct admin_setup setup = {
		.forwards = task->forwards,
		.workers = task->workers,
		.owner = target->user,
	};
	struct fault fault;

	if (target->change && forwards_give_files(task->forwards, target->user, &service->errors))
		return false;
	if (manager_listens(&service->manager)) {
		task->manager = &service->manager;
		if (workers_make_pulse(task->workers))
			return fail_plainly(service, "out of memory; lower --workers");
	}
	if (checker_create(&task->checker, task->forwards))
		return fail_plainly(service, "out of memory; check fewer backends");
	if (names_create(&task->names, task->forwards, &fault))
		return fail(service, &fault);
	if (config->metrics.length_bytes && http_create(&task->http, config, task->workers, &fault))
		return fail(service, &fault);
	if (config->admin && admin_create(&task->admin, &setup, &fault))
		return fail(service, &fault);
	return true;
}

bool service_bind(struct service *service)
{
	struct control_task *task = &service->task;
	const struct workers_setup setup = {
		.config = service->config, .limits = &service->limits, .forwards = task->forwards};
	bool bound;

	/* all files have been read, such as /dev/fd/63 of a shell's <(...) */
	startup_close_inherited();
	task->signal_fd = signals_take();
	if (task->signal_fd < 0)
		return fail_plainly(service, "cannot make a signalfd; raise the descriptor limit");
	if (!open_log(service))
		return false;
	if (!workers_create(&task->workers, &setup, &service->errors)) {
		bound = bind_others(service);
		inherited_close_rest(service->config->inherited);
		return bound;
	}
	/* the user sees the errors of all listeners in one run */
	http_listener_check(service->config, &service->errors);
	return false;
}

bool service_drop(struct service *service, struct parent_link *link)
{
	struct fault fault;

	if (privs_drop(&service->target, &fault) ||
	    parent_link_drop(link, &service->target, &fault))
		return fail(service, &fault);
	return true;
}

/* Starts all threads, the workers last: clients that connect meanwhile wait in the backlog. */
static bool start_threads(struct service *service)
{
	struct control_task *task = &service->task;
	struct source_addresses *sources = task->forwards->sources;
	const struct config *config = service->config;
	struct fault fault;
	int result = log_start(service->limits.workers);

	if (result) {
		fault_set(&fault, NULL, NULL,
			  "cannot start the thread that writes the log: %s; raise the limits on "
			  "memory and threads (ulimit -u, TasksMax=), or lower --workers",
			  strerror(-result));
		return fail(service, &fault);
	}
	report_privileges(config);
	report_log(config);
	report_limits(config, &service->limits, task->workers);
	/* the first save shows whether the new user may write the files */
	if (source_addresses_first_file(sources) &&
	    (saver_create(&task->saver, sources, &fault) || saver_save_first(task->saver, &fault)))
		return fail(service, &fault);
	if (task->names && config->resolve_timeout_ms)
		manager_wait(&service->manager, "the names of backends",
			     config->resolve_timeout_ms);
	if (task->names && names_wait(task->names, &service->errors))
		return false;
	if (config->inherited && task->admin)
		admin_settle(task->admin);
	result = workers_start(task->workers);
	if (!result)
		return true;
	workers_enter(task->workers, WORKER_STOP);
	workers_join(task->workers);
	fault_set(&fault, NULL, NULL, "cannot start the workers: %s; lower --workers",
		  strerror(-result));
	return fail(service, &fault);
}

bool service_run(struct service *service, bool *ended_well)
{
	struct control_task *task = &service->task;

	if (!start_threads(service))
		return false;
	report_ready(&service->limits, task->workers, task->http ? http_address(task->http) : NULL);
	manager_ready(&service->manager, task->workers);
	/* a worker that failed took its sessions along: the others cannot be ended in order */
	service->stuck = control_run(task) != 0;
	*ended_well = !service->stuck;
	if (service->stuck) {
		manager_fail_words(&service->manager, "failed: a worker ended with an error or "
						      "hangs; the log says more");
		return true;
	}
	workers_join(task->workers);
	if (task->saver)
		saver_save_last(task->saver);
	log_stop(LOG_FLUSH_LIMIT_S);
	report_stopped(task->workers);
	return true;
}

bool service_finish(struct service *service)
{
	struct control_task *task = &service->task;

	if (service->stuck)
		return false;
	manager_close(&service->manager);
	admin_destroy(task->admin);
	http_destroy(task->http);
	checker_destroy(task->checker);
	names_destroy(task->names);
	if (task->workers) {
		workers_destroy(task->workers);
		/* without workers, forwards_open() has removed the files that it made */
		forwards_remove_files(task->forwards);
	}
	if (task->signal_fd >= 0)
		close(task->signal_fd);
	/* a filesystem may hold the thread, which uses the sources */
	if (!saver_destroy(task->saver))
		return false;
	forwards_destroy(task->forwards);
	config_errors_finish(&service->errors);
	return true;
}
