/* SPDX-License-Identifier: MIT */
#include "command/doctor_checks.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "command/doctor.h"
#include "os/engine.h"
#include "support.h"

static struct config config;
static struct doctor_facts facts;

/* A host that lacks nothing, for the configuration as it is by then. */
static void make_good_facts(void)
{
	struct capacity_host host = {.cpus = 4, .descriptors = 1000000};

	facts = (struct doctor_facts){
		.config = &config,
		.kernel_major = 6,
		.kernel_minor = 12,
		.features = "single_issuer,defer_taskrun,submit_all",
		.uring_disabled = 0,
		.memlock_bytes = 8 << 20,
		.pipe_max_bytes = 1 << 20,
		.pipe_user_pages = 16384,
		.page_bytes = 4096,
		.pipes = 64,
		.pipe_bytes = 1 << 20,
		.port_start = 1024,
		.tcp_pressure_pages = 1 << 30,
		.tcp_wmem_most = 4 << 20,
		.tcp_rmem_most = 6 << 20,
		.somaxconn = 4096,
		.congestion = "cubic",
		.wants_v6 = true,
	};

	capacity_compute(&config, &host, &facts.capacity);
}

static void set_up(void)
{
	config_init(&config);
	make_good_facts();
}

static void tear_down(void)
{
	config_finish(&config);
	support_check_leaks();
}

/* Every test begins with a good host and the default configuration, and changes what it is about. */
TestSuite(doctor_checks, .init = set_up, .fini = tear_down);

static void judge(const char *name, struct doctor_finding *finding)
{
	size_t count;
	const struct doctor_check *checks = doctor_checks(&count);

	for (size_t i = 0; i < count; i++)
		if (!strcmp(checks[i].name, name)) {
			cr_assert(doctor_judge(&checks[i], &facts, finding), "%s", name);
			return;
		}
	cr_assert_fail("no check called %s", name);
}

static void expect(const char *name, enum doctor_state state, const char *value, const char *remedy)
{
	struct doctor_finding finding;

	judge(name, &finding);
	cr_expect_eq(finding.state, state, "%s: %d: %s", name, finding.state, finding.value);
	cr_expect_not_null(strstr(finding.value, value), "%s: %s", name, finding.value);
	cr_expect_not_null(strstr(finding.remedy, remedy), "%s: %s", name, finding.remedy);
	cr_expect_eq(!*finding.remedy, state == DOCTOR_OK, "%s: %s", name, finding.remedy);
}

Test(doctor_checks, a_good_host_lacks_nothing)
{
	size_t count;
	const struct doctor_check *checks = doctor_checks(&count);

	for (size_t i = 0; i < count; i++) {
		struct doctor_finding finding;

		if (!doctor_judge(&checks[i], &facts, &finding)) {
			cr_expect(!strcmp(checks[i].name, "memlock") ||
					  !strcmp(checks[i].name, "metrics") ||
					  !strcmp(checks[i].name, "source") ||
					  !strcmp(checks[i].name, "ipv6") ||
					  !strcmp(checks[i].name, "loops") ||
					  !strcmp(checks[i].name, "sockets") ||
					  !strcmp(checks[i].name, "files") ||
					  !strcmp(checks[i].name, "splice") ||
					  !strcmp(checks[i].name, "sockmap"),
				  "%s", checks[i].name);
			continue;
		}
		cr_expect_eq(finding.state, DOCTOR_OK, "%s: %s", checks[i].name, finding.value);
		cr_expect_str_eq(finding.remedy, "", "%s", checks[i].name);
		cr_expect(*finding.value, "%s", checks[i].name);
	}
}

struct ring_row {
	int error, disabled, seccomp;
	bool root;
	unsigned major, minor;
	const char *value, *remedy;
};

/* Who forbids it: the sysctl or a seccomp filter, which answer alike. */
Test(doctor_checks, ring)
{
	static const struct ring_row rows[] = {
		{-EPERM, 2, 0, false, 6, 6, "io_uring_disabled = 2",
		 "sysctl -w kernel.io_uring_disabled=0"},
		{-EPERM, 2, 2, true, 6, 6, "io_uring_disabled = 2", "sysctl -w"},
		{-EPERM, 1, 0, false, 6, 6, "io_uring_disabled = 1", "sysctl -w"},
		{-EPERM, 1, 2, true, 6, 6, "seccomp filter (EPERM)", "--security-opt seccomp="},
		{-EPERM, 0, 2, false, 6, 6, "seccomp filter (EPERM)", "--security-opt seccomp="},
		{-EPERM, -1, 2, false, 5, 19, "seccomp filter (EPERM)", "--security-opt seccomp="},
		{-ENOSYS, 0, 2, false, 6, 6, "seccomp filter (ENOSYS)", "--security-opt seccomp="},
		{-ENOSYS, -1, 0, true, 5, 0, "Linux 5.0 has none", "Linux 5.19"},
		{-EPERM, 0, 0, false, 6, 6, "security module", "journalctl"},
		{-EACCES, 0, 0, false, 6, 6, "(EACCES)", "journalctl"},
		{-EINVAL, -1, 0, false, 5, 4, "Linux 5.4 is too old", "Linux 5.19"},
		{-EOPNOTSUPP, -1, 0, false, 5, 10, "EOPNOTSUPP", "Linux 5.19"},
		{-ENOMEM, -1, 0, false, 5, 10, "ENOMEM", "ulimit -l"},
		{-ENOMEM, 0, 0, false, 6, 6, "ENOMEM", "memory limit"},
		{-EMFILE, 0, 0, false, 6, 6, "descriptor", "ulimit -n"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		make_good_facts();
		facts.ring_error = rows[i].error;
		facts.uring_disabled = rows[i].disabled;
		facts.seccomp_mode = rows[i].seccomp;
		facts.root = rows[i].root;
		facts.kernel_major = rows[i].major;
		facts.kernel_minor = rows[i].minor;
		config.engine = ENGINE_AUTO;
		expect("io_uring", rows[i].error == -EMFILE ? DOCTOR_FAIL : DOCTOR_WARN,
		       rows[i].value, rows[i].remedy);
		expect("kernel", DOCTOR_OK, "Linux", "");
		config.engine = ENGINE_IO_URING;
		expect("io_uring", DOCTOR_FAIL, rows[i].value, rows[i].remedy);
		config.engine = ENGINE_EPOLL;
		expect("io_uring", DOCTOR_OK, "--engine epoll", "");
	}
}

Test(doctor_checks, kernel)
{
	expect("kernel", DOCTOR_OK, "Linux 6.12: single_issuer,defer_taskrun", "");
	strcpy(facts.features, "coop_taskrun,submit_all");
	facts.kernel_major = 5;
	facts.kernel_minor = 19;
	expect("kernel", DOCTOR_WARN, "Linux 5.19: coop_taskrun", "6.1");
}

Test(doctor_checks, memlock_matters_before_5_12)
{
	facts.kernel_major = 5;
	facts.kernel_minor = 11;
	facts.memlock_bytes = 64 << 10;
	expect("memlock", DOCTOR_WARN, "64KiB", "ulimit -l unlimited");
	facts.memlock_bytes = 8 << 20;
	expect("memlock", DOCTOR_OK, "8MiB", "");
	facts.memlock_bytes = 0;
	facts.may_lock_memory = true;
	expect("memlock", DOCTOR_OK, "CAP_IPC_LOCK", "");
}

struct capacity_row {
	const char *check;
	struct capacity_host host;
	uint64_t workers, maxconn;
	enum doctor_state state;
	const char *value, *remedy;
};

#define MIB (1ULL << 20)

Test(doctor_checks, capacity)
{
	static const struct capacity_row rows[] = {
		{"cpus", {4, {0, 0}, 9999, 0}, 0, 0, DOCTOR_OK, "4: 4 workers", ""},
		{"cpus", {4, {1500, 0}, 9999, 0}, 0, 0, DOCTOR_OK, "4, quota 1.5: 2 workers", ""},
		{"cpus", {1, {0, 0}, 9999, 0}, 0, 0, DOCTOR_OK, "1: 1 worker", ""},
		{"cpus",
		 {4, {500, 0}, 9999, 0},
		 2,
		 0,
		 DOCTOR_WARN,
		 "quota 0.5: 2 workers",
		 "--workers 1,"},
		{"cpus", {2, {0, 0}, 9999, 0}, 3, 0, DOCTOR_WARN, "2: 3 workers", "--workers 2,"},
		{"cpus", {4, {0, 0}, 9999, 0}, 2, 0, DOCTOR_OK, "4: 2 workers", ""},
		{"memory", {4, {0, 0}, 9999, 0}, 0, 0, DOCTOR_OK, "no limit", ""},
		{"memory",
		 {4, {0, 64 * MIB}, 99999, 0},
		 0,
		 0,
		 DOCTOR_OK,
		 "64MiB, enough for 1536",
		 ""},
		{"memory",
		 {4, {0, 64 * MIB}, 99999, 0},
		 0,
		 9000,
		 DOCTOR_WARN,
		 "64MiB, enough for 1536",
		 "--maxconn 1536, docker run --memory 298m"},
		{"descriptors", {4, {0, 0}, 1024, 0}, 0, 0, DOCTOR_OK, "1024, enough for 4", ""},
		{"descriptors",
		 {4, {0, 0}, 1024, 0},
		 0,
		 5000,
		 DOCTOR_WARN,
		 "maxconn is 5000",
		 "ulimit -Hn 10164"},
		{"descriptors",
		 {4, {0, 0}, 64, 0},
		 0,
		 0,
		 DOCTOR_FAIL,
		 "enough for 0",
		 "ulimit -Hn 2164"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		config.workers = rows[i].workers;
		config.maxconn = rows[i].maxconn;
		make_good_facts();
		capacity_compute(&config, &rows[i].host, &facts.capacity);
		expect(rows[i].check, rows[i].state, rows[i].value, rows[i].remedy);
	}
}

Test(doctor_checks, source)
{
	struct config_source source = {.kind = CONFIG_SOURCE_POOL};

	facts.source = &source;
	cr_assert_null(cidr_parse("240.0.0.0/4", &source.pool));
	expect("source", DOCTOR_OK, "240.0.0.0/4 can be used", "");
	source.embedded = true;
	facts.source_fault = (struct fault){.reason = "what it is", .remedy = "do this"};
	expect("source", DOCTOR_FAIL, "embedded,240.0.0.0/4: what it is", "do this");
	source.kind = CONFIG_SOURCE_NONE;
	expect("source", DOCTOR_FAIL, "embedded: what it is", "do this");
}

Test(doctor_checks, tcp_memory)
{
	facts.tcp_pressure_pages = 256000; /* 1000 MiB, and 10 MiB for a session */
	expect("tcp_memory", DOCTOR_WARN, "1000MiB before pressure: 100 of", "--timeout-write");
	config.defaults.timeout_write_ms = 60000;
	expect("tcp_memory", DOCTOR_OK, "100 of", "");
	config.defaults.timeout_write_ms = 0;
	facts.capacity.maxconn = 100;
	expect("tcp_memory", DOCTOR_OK, "100 of 100", "");
	facts.tcp_pressure_pages = DOCTOR_UNKNOWN;
	expect("tcp_memory", DOCTOR_OK, "not shown", "");
}

Test(doctor_checks, backlog_and_congestion)
{
	facts.somaxconn = 128;
	expect("backlog", DOCTOR_WARN, "1024 is cut to 128", "net.core.somaxconn=1024");
	facts.somaxconn = DOCTOR_UNKNOWN;
	expect("backlog", DOCTOR_OK, "1024", "");
	strcpy(facts.congestion, "bbr");
	expect("congestion", DOCTOR_WARN, "bbr",
	       "add reno to net.ipv4.tcp_allowed_congestion_control");
	strcpy(facts.allowed_congestion, "bbr dctcp");
	expect("congestion", DOCTOR_WARN, "bbr",
	       "sysctl -w net.ipv4.tcp_allowed_congestion_control=\"bbr dctcp reno\"");
	facts.loopback_congestion = "cubic";
	expect("congestion", DOCTOR_OK, "bbr; cubic on loopback", "");
}

/* What cannot be listened on is told as the start tells it: listener_describe_error(). */
Test(doctor_checks, ports)
{
	expect("ports", DOCTOR_OK, "from 1024 on", "");
	facts.may_bind_low = true;
	expect("ports", DOCTOR_OK, "any", "");
	support_must_set(&config, "listen", "[::]:80");
	facts.listener.address = config.forwards[0].listen;
	expect("ports", DOCTOR_OK, "[::]:80 can be bound", "");
	facts.listener.fault =
		(struct fault){.reason = "cannot listen on [::]:80: so", .remedy = "start as root"};
	facts.listener.error = -EACCES;
	expect("ports", DOCTOR_FAIL, "cannot listen on [::]:80: so", "start as root");
	facts.listener.error = -EADDRINUSE;
	expect("ports", DOCTOR_WARN, "cannot listen on [::]:80: so", "start as root");
}

static void expect_no_row_ipv6(void)
{
	struct doctor_finding finding;
	size_t count;
	const struct doctor_check *checks = doctor_checks(&count);

	for (size_t i = 0; i < count; i++)
		if (!strcmp(checks[i].name, "ipv6"))
			cr_expect(!doctor_judge(&checks[i], &facts, &finding));
}

Test(doctor_checks, ipv6)
{
	expect_no_row_ipv6();
	facts.v6 = INTERFACES_V6_ONLY_LOOPBACK;
	expect("ipv6", DOCTOR_WARN, "but lo", "disable_ipv6=0");
	facts.v6 = INTERFACES_V6_OFF;
	expect("ipv6", DOCTOR_FAIL, "off", "disable_ipv6=0");
	facts.v6_error = -EAFNOSUPPORT;
	expect("ipv6", DOCTOR_FAIL, "no IPv6 socket", "ipv6.disable=1");
	facts.wants_v6 = false;
	expect_no_row_ipv6();
}

Test(doctor_checks, splice_and_sockmap)
{
	facts.splice_error = -EPERM;
	expect("splice", DOCTOR_WARN, "refused (EPERM)", "seccomp profile");
	facts.sock_ops_programs = 2;
	expect("sockmap", DOCTOR_WARN, "2 sock_ops programs", "bpftool cgroup tree");
}

Test(doctor_checks, metrics)
{
	support_must_set(&config, "metrics", "[::1]:9006");
	facts.metrics.address = config.metrics;
	expect("metrics", DOCTOR_OK, "[::1]:9006 can be bound", "");
	facts.metrics.fault =
		(struct fault){.reason = "cannot listen on [::1]:9006: so", .remedy = "do this"};
	facts.metrics.error = -EADDRINUSE;
	expect("metrics", DOCTOR_WARN, "[::1]:9006: so", "do this");
}

Test(doctor_checks, user)
{
	expect("user", DOCTOR_OK, "not root", "");
	facts.root = true;
	expect("user", DOCTOR_WARN, "stays root", "--user nobody");
	config.user = "nobody";
	expect("user", DOCTOR_OK, "becomes nobody", "");
	fault_set(&facts.user_fault, "user", "x", "no such user; create it (useradd --system)");
	expect("user", DOCTOR_FAIL, "--user 'x': no such user", "create it");
}

/* Everything is lacking at once, on an old kernel, with large numbers. */
static void make_bad_facts(void)
{
	struct capacity_host host = {.cpus = 1, .cgroup = {1, 1 << 24}, .descriptors = 10};

	config.maxconn = 8000000;
	config.workers = 256;
	config.maxpipes = 65536;
	config.pipe_bytes = 1 << 30;
	config.defaults.backlog = 65535;
	support_must_set(&config, "listen", "[::]:80");
	make_good_facts();
	capacity_compute(&config, &host, &facts.capacity);
	facts.kernel_major = 5;
	facts.kernel_minor = 4;
	facts.ring_error = -EPERM;
	facts.seccomp_mode = 2;
	facts.memlock_bytes = 0;
	facts.pipe_user_pages = 1;
	facts.pipes = 1024;
	facts.pipe_bytes = 8192;
	facts.tcp_pressure_pages = 1;
	facts.somaxconn = 1;
	strcpy(facts.congestion, "bbr");
	facts.listener.address = config.forwards[0].listen;
	facts.listener.error = -EACCES;
	facts.listener.fault = (struct fault){
		.reason = "cannot listen on [::]:80: Permission denied", .remedy = "start as root"};
	facts.root = true;
}

Test(doctor_checks, fit_a_screen_whatever_is_lacking)
{
	char *text = NULL;
	unsigned lines = 0;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	make_bad_facts();
	cr_expect_not(doctor_print(out, &facts, false));
	fclose(out);
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
		size_t columns = strcspn(line, "\n");

		lines++;
		cr_expect_leq(columns, 80, "%.*s", (int)columns, line);
	}
	cr_expect_leq(lines, 24, "%u lines:\n%s", lines, text);
	cr_expect_not_null(strstr(text, "FAIL"));
	free(text);
}

/* No remedy is a command cut off in the middle: all fit the screen's line. */
Test(doctor_checks, remedies_fit_their_line)
{
	size_t count;
	const struct doctor_check *checks = doctor_checks(&count);

	make_bad_facts();
	for (size_t i = 0; i < count; i++) {
		struct doctor_finding finding;

		if (!doctor_judge(&checks[i], &facts, &finding))
			continue;
		cr_expect_leq(strlen(finding.remedy), 64, "%s: %s", checks[i].name, finding.remedy);
		cr_expect_leq(strlen(finding.value), 61, "%s: %s", checks[i].name, finding.value);
	}
}

Test(doctor_checks, loops)
{
	fault_set(&facts.loop_fault, "listen", "x", "would come back; give another");
	expect("loops", DOCTOR_FAIL, "--listen 'x': would come back", "give another");
}

Test(doctor_checks, options_of_sockets)
{
	fault_set(&facts.tuning_fault, "tos", NULL, "no; not so; run: x");
	expect("sockets", DOCTOR_FAIL, "--tos: no; not so", "run: x");
}
