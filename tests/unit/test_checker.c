/* SPDX-License-Identifier: MIT */
#include "control/checker.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "os/sock.h"
#include "os/timer.h"
#include "support.h"

TestSuite(checker, .fini = support_check_leaks);

#define MOST_BACKENDS 4

/* What a backend does with a check's connection, once the request has come. */
enum behaviour {
	SILENT,	 /* nothing */
	ANSWERS, /* sends its answer */
	ENDS,	 /* ... and closes */
};

static struct config config;
static struct forwards *forwards;
static struct checker *checker;

static struct backend {
	int listen_fd;
	struct addr address;
	enum behaviour behaviour;
	const char *answer;
	unsigned accepted_count;
	uint64_t accepted_ms;
	int fd; /* of the last check; -1: none */
	bool answered;
} backends[MOST_BACKENDS];

static void set(const char *name, const char *value)
{
	support_must_set(&config, name, value);
}

static void add_backend(struct backend *backend, const char *parameters)
{
	char text[ADDR_TEXT_BYTES + 32], printed[ADDR_TEXT_BYTES];

	if (!backend->address.length_bytes)
		backend->listen_fd = support_listen(&backend->address, 100);
	backend->fd = -1;
	snprintf(text, sizeof(text), "%s%s", addr_print(&backend->address, printed), parameters);
	set("backend", text);
}

static void make(void)
{
	struct config_errors errors = {0};

	cr_assert_eq(config_check(&config), 0);
	cr_assert_eq(forwards_create(&forwards, &config, &errors), 0);
	cr_assert_eq(forwards_make_upstreams(forwards), 0);
	cr_assert_eq(checker_create(&checker, forwards), 0);
}

static void finish(void)
{
	if (checker)
		checker_destroy(checker);
	forwards_destroy(forwards);
	config_finish(&config);
	for (unsigned i = 0; i < MOST_BACKENDS; i++) {
		if (!backends[i].address.length_bytes)
			continue;
		if (backends[i].fd >= 0)
			close(backends[i].fd);
		close(backends[i].listen_fd);
		backends[i] = (struct backend){0};
	}
}

static void serve(struct backend *backend)
{
	bool wants_request = config.forwards[0].options.check_send.count;
	char request[64];

	if (sock_is_ready(backend->listen_fd, POLLIN)) {
		if (backend->fd >= 0)
			close(backend->fd);
		backend->fd = sock_accept(backend->listen_fd);
		cr_assert_geq(backend->fd, 0);
		backend->answered = false;
		backend->accepted_ms = timer_now_ms();
		backend->accepted_count++;
	}
	if (backend->fd < 0 || backend->answered || backend->behaviour == SILENT ||
	    (wants_request && recv(backend->fd, request, sizeof(request), MSG_DONTWAIT) <= 0))
		return;
	backend->answered = true;
	support_send(backend->fd, backend->answer, strlen(backend->answer));
	if (backend->behaviour == ENDS)
		shutdown(backend->fd, SHUT_WR);
}

/* One pass of the control loop; backends that accept nothing are left out. */
static void pass(unsigned serving_count)
{
	struct poll_set set;

	poll_set_begin(&set);
	for (unsigned i = 0; i < serving_count; i++)
		poll_set_add(&set, backends[i].listen_fd, POLLIN);
	checker_prepare_poll(checker, &set);
	support_wait(&set, 5);
	for (unsigned i = 0; i < serving_count; i++)
		serve(&backends[i]);
	checker_run(checker, &set);
}

static void await_checks(uint64_t count, unsigned serving_count)
{
	uint64_t end_ms = timer_now_ms() + SUPPORT_PATIENCE_MS;

	while (forwards_metric(forwards, METRIC_checks) < count) {
		cr_assert_lt(timer_now_ms(), end_ms, "no verdict");
		pass(serving_count);
	}
}

struct verdict_row {
	const char *send, *expect;
	enum behaviour behaviour;
	const char *answer;
	const char *fault; /* NULL: the backend is fit */
};

static void judge(const struct verdict_row *row, size_t i)
{
	char *log;

	config_init(&config);
	set("listen", "[::1]:2000");
	backends[0].behaviour = row->behaviour;
	backends[0].answer = row->answer;
	add_backend(&backends[0], "");
	set("check-backends", "yes");
	set("check-timeout", "100ms");
	if (*row->send)
		set("check-send", row->send);
	if (*row->expect)
		set("check-expect", row->expect);
	make();
	support_capture_begin();
	await_checks(1, 1);
	log = support_capture_end();
	cr_expect_eq(forwards_metric(forwards, METRIC_checks_failed), row->fault != NULL, "row %zu",
		     i);
	cr_expect_eq(strstr(log, "event=backend_down") != NULL, row->fault != NULL, "row %zu: %s",
		     i, log);
	if (row->fault)
		cr_expect_not_null(strstr(log, row->fault), "row %zu: %s", i, log);
	free(log);
	finish();
}

Test(checker, verdicts)
{
	static char endless[CHECKER_ANSWER_BYTES + 1];
	static const struct verdict_row rows[] = {
		{"", "", SILENT, "", NULL},
		{"", "fit", ANSWERS, "fit", NULL},
		{"", "fit", ENDS, "I am fit.", NULL},
		{"ping", "", SILENT, "", NULL},
		{"ping", "pong", ANSWERS, "pong", NULL},
		{"ping", "pong", ENDS, "pon",
		 "the answer ended without the text of --check-expect"},
		{"", "fit", ENDS, "", "the answer ended without the text of --check-expect"},
		{"", "fit", SILENT, "", "within --check-timeout"},
		{"", "fit", ANSWERS, "fi", "within --check-timeout"},
		{"", "fit", ANSWERS, endless, "of the answer lack the text of --check-expect"},
	};

	memset(endless, 'x', CHECKER_ANSWER_BYTES);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		judge(&rows[i], i);
}

Test(checker, nobody_listens)
{
	config_init(&config);
	set("listen", "[::1]:2000");
	add_backend(&backends[0], " check");
	close(backends[0].listen_fd);
	make();
	await_checks(1, 0);
	cr_expect_eq(forwards_metric(forwards, METRIC_checks_failed), 1);
	backends[0].address.length_bytes = 0;
	finish();
}

/* Each backend once per interval, spread over it; those without `check` never. */
Test(checker, when_each_backend_is_checked)
{
	uint64_t begin_ms;

	config_init(&config);
	set("listen", "[::1]:2000");
	set("check-interval", "300ms");
	add_backend(&backends[0], " check");
	add_backend(&backends[1], " check");
	add_backend(&backends[2], "");
	add_backend(&backends[3], " check");
	begin_ms = timer_now_ms();
	make();
	await_checks(3, MOST_BACKENDS);
	cr_expect_leq(backends[0].accepted_ms, backends[1].accepted_ms);
	cr_expect_geq(backends[1].accepted_ms, begin_ms + 100);
	cr_expect_geq(backends[3].accepted_ms, begin_ms + 200);
	await_checks(4, MOST_BACKENDS);
	cr_expect_geq(backends[0].accepted_ms, begin_ms + 300);
	cr_expect_eq(backends[0].accepted_count, 2);
	cr_expect_eq(backends[1].accepted_count, 1);
	cr_expect_eq(backends[2].accepted_count, 0);
	cr_expect_eq(backends[3].accepted_count, 1);
	finish();
}

/* Checks that hang: CHECKER_PARALLEL_LIMIT run at most, and one listener leaves half of these to others. */
static void hang(bool is_shared)
{
	unsigned expected = is_shared ? CHECKER_PARALLEL_LIMIT / 2 : CHECKER_PARALLEL_LIMIT;
	uint64_t end_ms = timer_now_ms() + SUPPORT_PATIENCE_MS;
	unsigned before, running;

	config_init(&config);
	set("listen", "[::1]:2000");
	set("check-backends", "yes");
	set("check-interval", "10ms");
	set("check-timeout", "1h");
	set("check-expect", "x");
	for (unsigned i = 0; i < CHECKER_PARALLEL_LIMIT + 10; i++)
		add_backend(&backends[0], "");
	set("listen", "[::1]:2001");
	set("check-interval", "10ms");
	add_backend(&backends[1], is_shared ? " check" : "");
	make();
	before = support_count_descriptors();
	if (is_shared)
		await_checks(5, 0);
	while (support_count_descriptors() - before < expected) {
		cr_assert_lt(timer_now_ms(), end_ms, "fewer checks run than may");
		pass(0);
	}
	for (unsigned i = 0; i < 10; i++)
		pass(0);
	/* a check of the second listener may just run, every 10 ms */
	running = support_count_descriptors() - before;
	cr_expect(running == expected || (is_shared && running == expected + 1), "%u run", running);
	cr_expect_eq(forwards_metric(forwards, METRIC_checks_failed), 0);
	finish();
}

Test(checker, checks_that_hang)
{
	hang(false);
	hang(true);
}

Test(checker, nothing_to_check)
{
	config_init(&config);
	set("listen", "[::1]:2000");
	add_backend(&backends[0], "");
	make();
	cr_expect_null(checker);
	finish();
}
