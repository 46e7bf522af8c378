/* SPDX-License-Identifier: MIT */
#include "command/doctor_checks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "command/doctor_facts.h"
#include "os/engine.h"
#include "os/host.h"

#define RING_MEMLOCK_BYTES (160 << 10)

PRINTF_LIKE(2, 3) static void say(char text[DOCTOR_TEXT_BYTES], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, DOCTOR_TEXT_BYTES, format, arguments);
	va_end(arguments);
}

PRINTF_LIKE(2, 3) static void warn(struct doctor_finding *finding, const char *remedy, ...)
{
	va_list arguments;

	finding->state = DOCTOR_WARN;
	va_start(arguments, remedy);
	vsnprintf(finding->remedy, DOCTOR_TEXT_BYTES, remedy, arguments);
	va_end(arguments);
}

/* Prints a rounded number of bytes: "1.4GiB". The forms of units.h are exact. */
static const char *print_about(uint64_t bytes, char text[UNITS_TEXT_BYTES])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	unsigned unit = 0;
	uint64_t tenths = MIN(bytes, UINT64_MAX / 10) * 10;

	while (tenths >= 10240 && unit + 1 < ARRAY_COUNT(units)) {
		tenths /= 1024;
		unit++;
	}
	if (tenths % 10 && tenths < 1000)
		snprintf(text, UNITS_TEXT_BYTES, "%" PRIu64 ".%" PRIu64 "%s", tenths / 10,
			 tenths % 10, units[unit]);
	else
		snprintf(text, UNITS_TEXT_BYTES, "%" PRIu64 "%s", tenths / 10, units[unit]);
	return text;
}

/* From Linux 5.12 on rings are charged to the control group, not to RLIMIT_MEMLOCK. */
static bool rings_are_locked(const struct doctor_facts *facts)
{
	return facts->kernel_major < 5 || (facts->kernel_major == 5 && facts->kernel_minor < 12);
}

/* Why io_uring_setup(2) was refused: the sysctl, a seccomp filter, or another reason. */
static void explain_refusal(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	const char *name = strerrorname_np(-facts->ring_error);
	bool by_sysctl =
		facts->ring_error == -EPERM &&
		(facts->uring_disabled == 2 || (facts->uring_disabled == 1 && !facts->root));

	if (by_sysctl) {
		say(finding->value, "forbidden by kernel.io_uring_disabled = %" PRId64,
		    facts->uring_disabled);
		say(finding->remedy, "sysctl -w kernel.io_uring_disabled=0");
	} else if (facts->seccomp_mode == 2) {
		say(finding->value, "forbidden by a seccomp filter (%s)", name);
		say(finding->remedy,
		    "docker run --security-opt seccomp=FILE, with io_uring_* allowed");
	} else if (facts->ring_error == -ENOSYS) {
		say(finding->value, "Linux %u.%u has none", facts->kernel_major,
		    facts->kernel_minor);
		say(finding->remedy, "use Linux 5.19 or newer, built with CONFIG_IO_URING");
	} else {
		say(finding->value, "forbidden (%s), by a security module perhaps", name);
		say(finding->remedy, "journalctl -k | grep -i denied");
	}
}

static bool judge_ring(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	bool is_unused = facts->config->engine == ENGINE_EPOLL;

	if (is_unused || !facts->ring_error) {
		say(finding->value, is_unused ? "not used: --engine epoll" : "works");
		return true;
	}
	finding->state =
		facts->config->engine == ENGINE_AUTO && engine_is_missing(facts->ring_error)
			? DOCTOR_WARN
			: DOCTOR_FAIL;
	switch (-facts->ring_error) {
	case EPERM:
	case EACCES:
	case ENOSYS:
		explain_refusal(facts, finding);
		break;
	case ENOMEM:
		say(finding->value, "no memory for a ring (ENOMEM)");
		say(finding->remedy, rings_are_locked(facts)
					     ? "ulimit -l unlimited, or LimitMEMLOCK=infinity"
					     : "raise the control group's memory limit");
		break;
	case EMFILE:
	case ENFILE:
		say(finding->value, "no descriptor left for a ring");
		say(finding->remedy, "ulimit -n 1024");
		break;
	default:
		say(finding->value, "Linux %u.%u is too old for it (%s)", facts->kernel_major,
		    facts->kernel_minor, strerrorname_np(-facts->ring_error));
		say(finding->remedy, "use Linux 5.19 or newer");
		break;
	}
	if (finding->state == DOCTOR_WARN)
		strncat(finding->value, "; epoll runs instead",
			DOCTOR_TEXT_BYTES - 1 - strlen(finding->value));
	return true;
}

static bool judge_kernel(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	say(finding->value, "Linux %u.%u%s%s", facts->kernel_major, facts->kernel_minor,
	    facts->ring_error ? "" : ": ", facts->ring_error ? "" : facts->features);
	if (!facts->ring_error && !strstr(facts->features, "defer_taskrun"))
		warn(finding, "use Linux 6.1 or newer, which interrupts workers less");
	return true;
}

static bool judge_descriptors(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	const struct capacity *capacity = &facts->capacity;
	/* with no room for a single session, the remedy makes room for a thousand */
	uint64_t needed = capacity->descriptors_needed + (capacity->maxconn ? 0 : 2000);

	say(finding->value, "%" PRIu64 ", enough for %u sessions; maxconn is %u",
	    capacity->host.descriptors, capacity->descriptor_sessions, capacity->maxconn);
	if (capacity->descriptor_sessions && capacity->maxconn <= capacity->descriptor_sessions)
		return true;
	warn(finding, "ulimit -Hn %" PRIu64 ", or LimitNOFILE=%" PRIu64, needed, needed);
	if (!capacity->descriptor_sessions)
		finding->state = DOCTOR_FAIL;
	return true;
}

/* False: there is no fault. */
static bool judge_fault(const struct fault *fault, struct doctor_finding *finding)
{
	char text[FAULT_TEXT_BYTES];

	if (!*fault->reason)
		return false;
	finding->state = DOCTOR_FAIL;
	say(finding->value, "%s", fault_print_reason(fault, text));
	say(finding->remedy, "%s", *fault->remedy ? fault->remedy : "give another");
	return true;
}

/* Whether a listener can be bound. */
static bool judge_listener(const struct doctor_listener *listener, struct doctor_finding *finding)
{
	if (!judge_fault(&listener->fault, finding))
		doctor_print_listener(listener, finding->value);
	/* it may be this sixpipe that runs already */
	if (listener->error == -EADDRINUSE)
		finding->state = DOCTOR_WARN;
	return true;
}

static bool judge_ports(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	if (facts->config->forward_count)
		return judge_listener(&facts->listener, finding);
	if (facts->may_bind_low || facts->port_start <= 1)
		say(finding->value, "any can be bound");
	else
		say(finding->value, "from %" PRId64 " on; those below need root",
		    facts->port_start);
	return true;
}

static bool judge_metrics(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	return facts->config->metrics.length_bytes && judge_listener(&facts->metrics, finding);
}

/* Whether IPv6 clients can reach this host. The check applies only where they cannot. */
static bool judge_v6(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	if (!facts->wants_v6)
		return false;
	warn(finding, INTERFACES_V6_REMEDY);
	if (!facts->v6_error && facts->v6 == INTERFACES_V6_ONLY_LOOPBACK) {
		say(finding->value, "off on all interfaces but lo: no other host gets in by IPv6");
		return true;
	}
	finding->state = DOCTOR_FAIL;
	say(finding->value, "off (net.ipv6.conf.INTERFACE.disable_ipv6)");
	if (facts->v6_error) {
		say(finding->value, "no IPv6 socket can be opened");
		say(finding->remedy, "boot without ipv6.disable=1, or allow AF_INET6 sockets");
	}
	return facts->v6_error || facts->v6 == INTERFACES_V6_OFF;
}

static bool judge_source(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	char text[SOURCE_ADDRESS_TEXT_BYTES];

	if (!facts->source)
		return false;
	source_address_print(facts->source, text);
	if (!*facts->source_fault.reason) {
		say(finding->value, "%s can be used", text);
		return true;
	}
	finding->state = DOCTOR_FAIL;
	say(finding->value, "%s: %s", text, facts->source_fault.reason);
	say(finding->remedy, "%s", facts->source_fault.remedy);
	return true;
}

static bool judge_memlock(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	uint64_t needed = (uint64_t)facts->capacity.workers * RING_MEMLOCK_BYTES;
	char limit[UNITS_TEXT_BYTES], wanted[UNITS_TEXT_BYTES];

	if (!rings_are_locked(facts))
		return false;
	if (facts->may_lock_memory) {
		say(finding->value, "no limit (CAP_IPC_LOCK)");
		return true;
	}
	say(finding->value, "%s; the rings take %s", print_about(facts->memlock_bytes, limit),
	    print_about(needed, wanted));
	if (facts->memlock_bytes < needed)
		warn(finding, "ulimit -l unlimited, or LimitMEMLOCK=infinity");
	return true;
}

static bool judge_cpus(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	const struct capacity *capacity = &facts->capacity;
	unsigned right = host_workers_for(capacity->host.cpus, capacity->host.cgroup.cpu_millis);
	char quota[32];

	capacity_print_cpus(capacity->host.cgroup.cpu_millis, quota);
	say(finding->value, "%u%s%s: %u worker%s", capacity->host.cpus,
	    capacity->host.cgroup.cpu_millis ? ", quota " : "",
	    capacity->host.cgroup.cpu_millis ? quota : "", capacity->workers,
	    capacity->workers == 1 ? "" : "s");
	if (capacity->workers > right)
		warn(finding, "--workers %u, or leave it out", right);
	return true;
}

static bool judge_memory(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	const struct capacity *capacity = &facts->capacity;
	uint64_t mib = (capacity->memory_needed_bytes >> 20) + 1;
	char limit[UNITS_TEXT_BYTES];

	if (!capacity->host.cgroup.memory_bytes) {
		say(finding->value, "no limit by a control group");
		return true;
	}
	say(finding->value, "%s, enough for %u sessions",
	    print_about(capacity->host.cgroup.memory_bytes, limit), capacity->memory_sessions);
	if (capacity->maxconn > capacity->memory_sessions)
		warn(finding,
		     "--maxconn %u, docker run --memory %" PRIu64 "m, MemoryMax=%" PRIu64 "M",
		     capacity->memory_sessions, mib, mib);
	return true;
}

/*
 * A peer that does not read fills its socket's send buffer and the other side's receive buffer. If
 * these exceed the second value of tcp_mem, all sockets of the host slow down.
 */
static bool has_write_limit(const struct config_forward_options *options)
{
	return options->tuning.user_timeout_ms || options->timeout_write_ms;
}

/* Whether each forward has a time limit for a peer that does not read. */
static bool has_write_limits(const struct config *config)
{
	for (unsigned i = 0; i < config->forward_count; i++)
		if (!has_write_limit(&config->forwards[i].options))
			return false;
	return config->forward_count || has_write_limit(&config->defaults);
}

static bool judge_tcp_memory(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	uint64_t pressure, stalled;
	char text[UNITS_TEXT_BYTES];

	if (facts->tcp_pressure_pages <= 0 || facts->tcp_wmem_most <= 0 ||
	    facts->tcp_rmem_most <= 0) {
		say(finding->value, "not shown in this network namespace");
		return true;
	}
	pressure = (uint64_t)facts->tcp_pressure_pages * (uint64_t)facts->page_bytes;
	stalled = pressure / (uint64_t)(facts->tcp_wmem_most + facts->tcp_rmem_most);
	say(finding->value, "%s before pressure: %" PRIu64 " of %u sessions may stall",
	    print_about(pressure, text), stalled, facts->capacity.maxconn);
	if (stalled < facts->capacity.maxconn && !has_write_limits(facts->config))
		warn(finding, "--timeout-write 1m");
	return true;
}

static bool judge_backlog(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	uint64_t backlog = config_largest_backlog(facts->config);

	say(finding->value, "%" PRIu64, backlog);
	if (facts->somaxconn != DOCTOR_UNKNOWN && (uint64_t)facts->somaxconn < backlog) {
		say(finding->value, "%" PRIu64 " is cut to %" PRId64 ": net.core.somaxconn",
		    backlog, facts->somaxconn);
		warn(finding, "sysctl -w net.core.somaxconn=%" PRIu64, backlog);
	}
	return true;
}

static bool judge_congestion(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	say(finding->value, "%s", *facts->congestion ? facts->congestion : "not shown");
	if (facts->loopback_congestion) {
		say(finding->value, "%s; %s on loopback", facts->congestion,
		    facts->loopback_congestion);
	} else if (!strncmp(facts->congestion, "bbr", 3)) {
		say(finding->value, "%s, which paces on loopback too", facts->congestion);
		if (*facts->allowed_congestion)
			warn(finding,
			     "sysctl -w net.ipv4.tcp_allowed_congestion_control=\"%s reno\"",
			     facts->allowed_congestion);
		else
			warn(finding, "add reno to net.ipv4.tcp_allowed_congestion_control");
	}
	return true;
}

static bool judge_user(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	const char *user = facts->config->user;

	if (judge_fault(&facts->user_fault, finding))
		return true;
	if (user) {
		say(finding->value, "becomes %.100s", user);
	} else if (facts->root) {
		say(finding->value, "stays root, without capabilities");
		warn(finding, "--user nobody");
	} else {
		say(finding->value, "not root");
	}
	return true;
}

static bool judge_splice(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	if (!facts->splice_error)
		return false;
	say(finding->value, "refused (%s): all bytes are copied, bulk takes more CPU",
	    strerrorname_np(-facts->splice_error));
	warn(finding, "allow splice in the seccomp profile");
	return true;
}

static bool judge_sockmap(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	if (facts->sock_ops_programs <= 0)
		return false;
	say(finding->value,
	    "%d sock_ops program%s on the control group; the kernel may corrupt streams if they "
	    "use a sockmap",
	    facts->sock_ops_programs, facts->sock_ops_programs == 1 ? "" : "s");
	warn(finding, "find the agent ('bpftool cgroup tree') and exclude sixpipe");
	return true;
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
static void explain_pipes(const struct doctor_facts *facts, uint64_t count,
			  char reason[DOCTOR_TEXT_BYTES], struct doctor_finding *finding)
{
	uint64_t pages = pages_of(facts, facts->config->pipe_bytes);
	uint64_t limit = facts->pipe_user_pages > 0 ? (uint64_t)facts->pipe_user_pages : UINT64_MAX;
	uint64_t descriptors = facts->capacity.host.descriptors;
	char size[UNITS_TEXT_BYTES];

	if (facts->pipe_max_bytes > 0 && facts->pipe_bytes < facts->config->pipe_bytes &&
	    facts->config->pipe_bytes > (uint64_t)facts->pipe_max_bytes) {
		say(reason, "fs.pipe-max-size is %s",
		    units_print_size((uint64_t)facts->pipe_max_bytes, size));
		warn(finding, "sysctl -w fs.pipe-max-size=%" PRIu64,
		     pages * (uint64_t)facts->page_bytes);
	} else if (descriptors < 2 * count) {
		say(reason, "descriptors are too few");
		warn(finding, "see the line 'descriptors'");
	} else if (limit < count * pages) {
		say(reason, "a user has %" PRIu64 " pages", limit);
		warn(finding, "sysctl -w fs.pipe-user-pages-soft=%" PRIu64, count * pages);
	} else if (limit != UINT64_MAX) {
		say(reason, "the user's other programs have pipes");
		warn(finding, "use another user, or sysctl -w fs.pipe-user-pages-soft=%" PRIu64,
		     limit + count * pages);
	} else {
		say(reason, "the kernel gives no more");
		warn(finding, "--maxpipes %u", facts->pipes);
	}
}

static bool judge_pipes(const struct doctor_facts *facts, struct doctor_finding *finding)
{
	uint64_t bytes = facts->config->pipe_bytes, pages = pages_of(facts, bytes);
	uint64_t count = (uint64_t)facts->capacity.workers * facts->capacity.pipes_per_worker;
	bool too_large = facts->pipe_max_bytes > 0 && bytes > (uint64_t)facts->pipe_max_bytes;
	uint64_t room =
		facts->pipe_user_pages > 0 ? (uint64_t)facts->pipe_user_pages / pages : count;
	char size[UNITS_TEXT_BYTES], wanted[UNITS_TEXT_BYTES], reason[DOCTOR_TEXT_BYTES];

	units_print_size(facts->pipe_bytes, size);
	units_print_size(bytes, wanted);
	if (facts->pipes < count || facts->pipe_bytes < bytes) {
		explain_pipes(facts, count, reason, finding);
		if (facts->pipe_bytes < bytes)
			say(finding->value, "%u of %s, not %" PRIu64 " of %s: %.40s", facts->pipes,
			    size, count, wanted, reason);
		else
			say(finding->value, "%u of %" PRIu64 " pipes of %s can be had: %.40s",
			    facts->pipes, count, wanted, reason);
	} else if (too_large || room < count) {
		say(finding->value, "%u of %s; an unprivileged user gets %" PRIu64 " (%s)",
		    facts->pipes, wanted, too_large ? 0 : room,
		    too_large ? "fs.pipe-max-size" : "fs.pipe-user-pages-soft");
	} else {
		say(finding->value,
		    "%u of %s; an unprivileged user may have as many, all its programs together",
		    facts->pipes, wanted);
	}
	return true;
}

static const struct doctor_check checks[] = {
	{"io_uring", .judge = judge_ring},
	{"kernel", .judge = judge_kernel},
	{"splice", .judge = judge_splice},
	{"sockmap", .judge = judge_sockmap},
	{"memlock", .judge = judge_memlock},
	{"cpus", .judge = judge_cpus},
	{"memory", .judge = judge_memory},
	{"descriptors", .judge = judge_descriptors},
	{"pipes", .judge = judge_pipes},
	{"tcp_memory", .judge = judge_tcp_memory},
	{"backlog", .judge = judge_backlog},
	{"congestion", .judge = judge_congestion},
	{"ipv6", .judge = judge_v6},
	{"ports", .judge = judge_ports},
	{"metrics", .judge = judge_metrics},
	{"source", .judge = judge_source},
	{"sockets", .fault_at = offsetof(struct doctor_facts, tuning_fault)},
	{"loops", .fault_at = offsetof(struct doctor_facts, loop_fault)},
	{"files", .fault_at = offsetof(struct doctor_facts, file_fault)},
	{"user", .judge = judge_user},
};

const struct doctor_check *doctor_checks(size_t *count)
{
	*count = ARRAY_COUNT(checks);
	return checks;
}

bool doctor_judge(const struct doctor_check *check, const struct doctor_facts *facts,
		  struct doctor_finding *finding)
{
	const char *start = (const char *)facts;

	*finding = (struct doctor_finding){.state = DOCTOR_OK};
	return check->judge ? check->judge(facts, finding)
			    : judge_fault((const struct fault *)(start + check->fault_at), finding);
}
