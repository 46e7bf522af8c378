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
#include "control/takeover_take.h"
#include "os/host.h"
#include "os/startup.h"
#include "os/timer.h"

/* The longest that the carrier stays open for sessions that have not run yet. */
#define SETTLE_LIMIT_MS 1000

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

void service_init(struct service *service, const struct config *config,
		  struct service_process *process)
{
	struct capacity_host host;

	*service = (struct service){
		.config = config,
		.process = process,
		.task =
			{
				.signal_fd = -1,
				.drain_delay_ms = config->drain_delay_ms,
				.drain_timeout_ms = config->drain_timeout_ms,
				.takeover_timeout_ms = config->takeover_timeout_ms,
			},
	};
	service->errors.takes_over = config->inherited != NULL;
	log_init((enum log_level)config->log_level, (enum log_format)config->log_format);
	log_hold();
	signals_ignore();
	service->manager.notify.fd = -1;
	if (!config->check)
		manager_open(&service->manager, config->inherited != NULL);
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
 * before. A file without `user` is refused too, because a restart may give another user.
 */
static int resolve_user(struct service *service, struct fault *fault)
{
	const struct config *config = service->config;
	const struct inherited *inherited = config->inherited;
	struct privs_target *target = &service->target;
	char name[HOST_USER_BYTES];
	int result = privs_resolve(config->user, target, fault);

	if (!inherited || (result && result != -EPERM))
		return result;
	if (target->user.uid == geteuid() && target->user.gid == getegid())
		target->change = false;
	if (!config->user && *inherited->old_user)
		result = fault_set_object(
			fault, "user", config->file,
			"has no line 'user = %.64s' any more; a running sixpipe cannot change its "
			"user: write the line again, or restart sixpipe",
			inherited->old_user);
	else if (result || target->change)
		result = fault_set(fault, "user", config->user,
				   "sixpipe runs as user '%s' and cannot change its user or group; "
				   "restart sixpipe",
				   host_user_name(name));
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
	if (service->process->link.fd >= 0 &&
	    takeover_give_create(&task->takeover, task, &service->process->link))
		return fail_plainly(service, "out of memory; lower --workers");
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

bool service_drop(struct service *service)
{
	struct fault fault;

	if (privs_drop(&service->target, &fault) ||
	    parent_link_drop(&service->process->link, &service->target, &fault))
		return fail(service, &fault);
	return true;
}

static bool start_log(struct service *service)
{
	struct fault fault;
	int result = log_start(service->limits.workers);

	if (!result)
		return true;
	fault_set(&fault, NULL, NULL,
		  "cannot start the thread that writes the log: %s; raise the limits on memory and "
		  "threads (ulimit -u, TasksMax=), or lower --workers",
		  strerror(-result));
	return fail(service, &fault);
}

static bool make_saver(struct service *service)
{
	struct control_task *task = &service->task;
	struct source_addresses *sources = task->forwards->sources;
	struct fault fault;

	if (source_addresses_first_file(sources) && saver_create(&task->saver, sources, &fault))
		return fail(service, &fault);
	return true;
}

/* Shows whether the new user may write the files. */
static bool save_first(struct service *service)
{
	struct saver *saver = service->task.saver;
	struct fault fault;

	return !saver || !saver_save_first(saver, &fault) || fail(service, &fault);
}

static bool wait_for_names(struct service *service)
{
	const struct config *config = service->config;
	struct names *names = service->task.names;

	if (names)
		names_use(names, &service->process->take.names);
	if (names && config->resolve_timeout_ms)
		manager_wait(&service->manager, "the names of backends",
			     config->resolve_timeout_ms);
	return !names || !names_wait(names, &service->errors);
}

/* In a takeover the workers stand still until workers_serve(). */
static bool start_workers(struct service *service)
{
	struct workers *workers = service->task.workers;
	struct fault fault;
	int result =
		service->config->inherited ? workers_start_still(workers) : workers_start(workers);

	if (!result)
		return true;
	fault_set(&fault, NULL, NULL, "cannot start the workers: %s; lower --workers",
		  strerror(-result));
	return fail(service, &fault);
}

/* Starts all threads, the workers last: clients that connect meanwhile wait in the backlog. */
static bool start_threads(struct service *service)
{
	if (!start_log(service))
		return false;
	report_privileges(service->config);
	report_log(service->config);
	report_limits(service->config, &service->limits, service->task.workers);
	return make_saver(service) && save_first(service) && wait_for_names(service) &&
	       start_workers(service);
}

/*
 * The same in a takeover. The sessions stand still from the state on, so everything that can wait
 * comes after workers_serve().
 */
static bool take_over(struct service *service, struct takeover_commit *commit)
{
	struct control_task *task = &service->task;
	struct fault fault;

	if (!start_log(service) || !make_saver(service) || !wait_for_names(service))
		return false;
	/* from here on, listeners and sessions of the old process are not ours to end */
	service->stuck = true;
	if (!start_workers(service))
		return false;
	if (takeover_take_state(&service->process->take, task, commit, &fault))
		return fail(service, &fault);
	service->stuck = false;
	if (task->admin)
		admin_settle(task->admin);
	/* looks at the pipes of the workers, so before they run */
	report_limits(service->config, &service->limits, task->workers);
	workers_serve(task->workers);
	takeover_take_log(&service->process->take, task, commit);
	/* the old process waits for the end of the connection, and then closes its descriptors */
	workers_await_sessions(task->workers, timer_now_ms() + SETTLE_LIMIT_MS);
	takeover_take_close(&service->process->take);
	report_privileges(service->config);
	report_log(service->config);
	/* a failure is logged; the files may have another path now */
	if (task->saver)
		saver_ask(task->saver);
	return true;
}

/* Waits until the process is to end, and ends the workers. */
static void serve(struct service *service, bool *ended_well)
{
	struct control_task *task = &service->task;

	/* a worker that failed took its sessions along: the others cannot be ended in order */
	service->stuck = control_run(task, &service->left) != 0;
	*ended_well = !service->stuck;
	if (service->stuck) {
		manager_fail_words(&service->manager, "failed: a worker ended with an error or "
						      "hangs; the log says more");
		return;
	}
	workers_join(task->workers);
	if (task->saver && !service->left)
		saver_save_last(task->saver);
	log_stop(LOG_FLUSH_LIMIT_S);
	/* another process counts on */
	if (!service->left)
		report_stopped(task->workers);
}

bool service_run(struct service *service, bool *ended_well)
{
	struct control_task *task = &service->task;
	struct takeover_commit commit = {0};

	if (!(service->config->inherited ? take_over(service, &commit) : start_threads(service)))
		return false;
	report_ready(&service->limits, task->workers, task->http ? http_address(task->http) : NULL);
	manager_ready(&service->manager, task->workers);
	if (commit.again)
		takeover_give_ask(task->takeover, commit.again);
	serve(service, ended_well);
	return true;
}

bool service_finish(struct service *service)
{
	struct control_task *task = &service->task;

	if (service->stuck)
		return false;
	manager_close(&service->manager);
	takeover_give_destroy(task->takeover);
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
