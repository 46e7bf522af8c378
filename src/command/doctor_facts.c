/* SPDX-License-Identifier: MIT */
#include "command/doctor_facts.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/admin_socket.h"
#include "base/check.h"
#include "base/log.h"
#include "base/log_file.h"
#include "config/config_loop.h"
#include "config/config_origin.h"
#include "config/tuning_check.h"
#include "control/privs.h"
#include "forward/forward.h"
#include "forward/listener_bind.h"
#include "forward/source_address.h"
#include "identity/lease_state.h"
#include "os/cgroup.h"
#include "os/engine.h"
#include "os/host.h"
#include "os/pipe_pool.h"
#include "os/sock.h"
#include "relay/pump.h"

#define FILE_BYTES 4096

int64_t doctor_read_number(const char *root, const char *path, unsigned index)
{
	char text[FILE_BYTES];
	const char *at = text;
	int64_t number = DOCTOR_UNKNOWN;

	if (host_read_file(root, path, text, sizeof(text)))
		return DOCTOR_UNKNOWN;
	for (unsigned i = 0; i <= index; i++) {
		int length = 0;

		if (sscanf(at, "%" SCNd64 "%n", &number, &length) != 1)
			return DOCTOR_UNKNOWN;
		at += length;
	}
	return number;
}

static void gather_kernel(const char *root, struct doctor_facts *facts)
{
	char text[FILE_BYTES];
	struct engine *engine;

	(void)host_read_file(root, "/proc/sys/kernel/osrelease", text, sizeof(text));
	(void)sscanf(text, "%u.%u", &facts->kernel_major, &facts->kernel_minor);
	facts->uring_disabled = doctor_read_number(root, "/proc/sys/kernel/io_uring_disabled", 0);
	facts->seccomp_mode = prctl(PR_GET_SECCOMP);
	facts->splice_error = pump_try_splice();
	facts->sock_ops_programs = cgroup_count_sock_ops();
	facts->ring_error = engine_create(ENGINE_IO_URING, &engine);
	if (facts->ring_error)
		return;
	snprintf(facts->features, sizeof(facts->features), "%s", engine_features(engine));
	engine_destroy(engine);
}

/* Takes the first error that a check of the start has added: a finding shows only one. */
static void take_errors(struct config_errors *errors, struct fault *fault)
{
	if (errors->count)
		*fault = errors->list[0];
	config_errors_finish(errors);
}

static void gather_privileges(const struct config *config, struct doctor_facts *facts)
{
	struct privs_target target;
	struct rlimit memlock;

	if (privs_resolve(config->user, &target, &facts->user_fault))
		config_origin_find_name(config, NULL, &facts->user_fault);
	facts->root = geteuid() == 0;
	facts->may_bind_low = privs_has_capability(CAP_NET_BIND_SERVICE);
	facts->may_lock_memory = privs_has_capability(CAP_IPC_LOCK);
	facts->memlock_bytes = getrlimit(RLIMIT_MEMLOCK, &memlock) ? 0 : memlock.rlim_cur;
}

static void gather_settings(const char *root, struct doctor_facts *facts)
{
	char text[FILE_BYTES];

	facts->page_bytes = sysconf(_SC_PAGESIZE);
	facts->pipe_max_bytes = doctor_read_number(root, "/proc/sys/fs/pipe-max-size", 0);
	facts->pipe_user_pages = doctor_read_number(root, "/proc/sys/fs/pipe-user-pages-soft", 0);
	facts->port_start =
		doctor_read_number(root, "/proc/sys/net/ipv4/ip_unprivileged_port_start", 0);
	facts->tcp_pressure_pages = doctor_read_number(root, "/proc/sys/net/ipv4/tcp_mem", 1);
	facts->tcp_wmem_most = doctor_read_number(root, "/proc/sys/net/ipv4/tcp_wmem", 2);
	facts->tcp_rmem_most = doctor_read_number(root, "/proc/sys/net/ipv4/tcp_rmem", 2);
	facts->somaxconn = doctor_read_number(root, "/proc/sys/net/core/somaxconn", 0);
	(void)host_read_file(root, "/proc/sys/net/ipv4/tcp_congestion_control", text, sizeof(text));
	snprintf(facts->congestion, sizeof(facts->congestion), "%.*s", (int)strcspn(text, "\n"),
		 text);
	(void)host_read_file(root, "/proc/sys/net/ipv4/tcp_allowed_congestion_control", text,
			     sizeof(text));
	text[strcspn(text, "\n")] = '\0';
	if (strlen(text) < sizeof(facts->allowed_congestion))
		strcpy(facts->allowed_congestion, text);
	facts->loopback_congestion = sock_choose_loopback_congestion(root);
}

/*
 * Makes the pipes that a start would make now, as this user, and closes them. Meanwhile other
 * programs of the user may get small pipes: pipe(7).
 */
static void gather_pipes(struct doctor_facts *facts)
{
	const struct capacity *capacity = &facts->capacity;
	struct pipe_pool *pools[CONFIG_WORKER_LIMIT];

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

void doctor_print_listener(const struct doctor_listener *listener, char text[DOCTOR_TEXT_BYTES])
{
	const struct config_forward *forward = listener->activated;
	const char *outcome = !forward		      ? "can be bound"
			      : forward->passed_count ? "was passed by the service manager"
						      : "is checked at the start, when its socket "
							"is passed";
	char name[ADDR_TEXT_BYTES];

	if (forward)
		config_print_listen(forward, name);
	else
		addr_print(&listener->address, name);
	snprintf(text, DOCTOR_TEXT_BYTES, "%s %s", name, outcome);
}

static void try_listener(const struct addr *address, const struct sock_tuning *tuning,
			 bool may_freebind, struct doctor_listener *listener)
{
	*listener = (struct doctor_listener){.address = *address,
					     .error = sock_try_bind(address, tuning)};
	if (listener->error)
		listener_describe_error(address, listener->error, may_freebind, &listener->fault);
}

static void gather_listeners(struct doctor_facts *facts)
{
	const struct config *config = facts->config;
	const struct sock_tuning metrics_tuning = {0};

	for (unsigned i = config->forward_count; i > 0; i--) {
		const struct config_forward *forward = &config->forwards[i - 1];
		struct doctor_listener listener;

		if (forward->socket_name)
			listener = (struct doctor_listener){.activated = forward};
		else
			try_listener(&forward->listen, &forward->options.tuning, true, &listener);
		if (listener.error || (i == 1 && !facts->listener.error))
			facts->listener = listener;
	}
	if (config->metrics.length_bytes)
		try_listener(&config->metrics, &metrics_tuning, false, &facts->metrics);
}

static void gather_v6(struct doctor_facts *facts)
{
	const struct addr any = {.v6.sin6_family = AF_INET6, .length_bytes = sizeof(any.v6)};
	const struct config *config = facts->config;
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	facts->v6_error = fd < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	facts->wants_v6 = !config->forward_count;
	facts->v6 = config->forward_count ? INTERFACES_V6_FINE : interfaces_ask_v6(&any);
	for (unsigned i = 0; i < config->forward_count; i++) {
		const struct addr *listen = &config->forwards[i].listen;
		enum interfaces_v6 v6 = interfaces_ask_v6(listen);

		facts->wants_v6 |= listen->any.sa_family == AF_INET6;
		if (facts->v6 != INTERFACES_V6_OFF &&
		    (v6 == INTERFACES_V6_OFF || v6 == INTERFACES_V6_ONLY_LOOPBACK))
			facts->v6 = v6;
	}
}

static void gather_sources(struct doctor_facts *facts)
{
	const struct config *config = facts->config;

	for (unsigned i = 0; i < config->forward_count; i++) {
		const struct config_source *source = &config->forwards[i].options.source;
		int error = source_address_check(&config->forwards[i], &facts->source_fault);

		if (error ||
		    (!facts->source && (source->kind != CONFIG_SOURCE_NONE || source->embedded)))
			facts->source = source;
		if (error)
			return;
	}
}

/* A save makes a new file beside the state file, so the directory must exist; likewise the log. */
static int check_directory(const char *option, const char *path, struct fault *fault)
{
	char directory[PATH_MAX];
	struct stat status;

	host_directory_of(path, directory, sizeof(directory));
	if (!stat(directory, &status) && S_ISDIR(status.st_mode))
		return 0;
	fault_set(fault, option, path, "no such directory; make it, writable by --user");
	return -ENOENT;
}

static int check_files_of(const struct config_forward_options *options, struct fault *fault)
{
	uint8_t key[SIPHASH_KEY_BYTES];
	int result = 0;

	if (options->pseudo_key)
		result = lease_key_read(options->pseudo_key, key, fault);
	if (!result && options->pseudo_state)
		result = check_directory("pseudo-state", options->pseudo_state, fault);
	return result;
}

/* Reads the files of rules as a start does. Returns 0 or -errno with `fault`. */
static int check_rules(const struct config *config, struct fault *fault)
{
	struct config_errors errors = {0};
	struct forwards *forwards = NULL;
	int result = forwards_create(&forwards, config, &errors);

	if (!result)
		result = forwards_make_admission(forwards, 1, &errors);
	forwards_destroy(forwards);
	take_errors(&errors, fault);
	return result;
}

static int check_log(const struct config *config, uid_t uid, struct fault *fault)
{
	struct stat status;
	int result = 0;

	if (config->log_file)
		result = log_file_check(config->log_file, uid, fault);
	if (config->log_file && !result)
		result = check_directory("log-file", config->log_file, fault);
	if (config->log_target != CONFIG_LOG_SYSLOG || !stat(LOG_SYSLOG_PATH, &status))
		return result;
	fault_set(fault, "log-target", "syslog",
		  "there is no " LOG_SYSLOG_PATH
		  ", so log lines would be lost; start a syslog daemon, or use --log-file");
	return -ENOENT;
}

static void gather_files(const struct config *config, struct doctor_facts *facts)
{
	struct privs_target target;
	struct fault *fault = &facts->file_fault, unused;
	int result = check_rules(config, fault);

	for (unsigned i = 0; i < config->forward_count && !result; i++)
		if ((result = check_files_of(&config->forwards[i].options, fault)))
			config_origin_find_name(config, &config->forwards[i], fault);
	if (result || privs_resolve(config->user, &target, &unused))
		return;
	if (config->admin)
		result = admin_socket_check(config->admin, target.user, fault);
	if (!result)
		result = check_log(config, target.user.uid, fault);
	if (result)
		config_origin_find_name(config, NULL, fault);
}

void doctor_gather(const char *root, const struct config *config, struct doctor_facts *facts)
{
	struct config_errors errors = {0};
	struct capacity_host host;

	memset(facts, 0, sizeof(*facts));
	facts->config = config;
	capacity_read_host(root, &host);
	capacity_compute(config, &host, &facts->capacity);
	gather_kernel(root, facts);
	gather_privileges(config, facts);
	gather_settings(root, facts);
	gather_pipes(facts);
	gather_listeners(facts);
	gather_v6(facts);
	gather_sources(facts);
	gather_files(config, facts);
	(void)tuning_check(config, root, &errors);
	take_errors(&errors, &facts->tuning_fault);
	(void)config_loop_check(config, true, &errors);
	take_errors(&errors, &facts->loop_fault);
}
