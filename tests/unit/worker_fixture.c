/* SPDX-License-Identifier: MIT */
#include "worker_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "engine_fixture.h"
#include "forward/forward_carry.h"
#include "os/timer.h"
#include "relay/worker_parts.h"
#include "support.h"

#define TEXT_BYTES 1024

const bool fixture_all[CONFIG_FORWARD_LIMIT] = {[0 ... CONFIG_FORWARD_LIMIT - 1] = true};

#define WORKERS_MOST 8 /* of one place */

void fixture_open_log(void)
{
	signal(SIGPIPE, SIG_IGN); /* as the program does: signals_ignore() */
	log_init(LOG_ERROR, LOG_LOGFMT);
	cr_assert_eq(log_start(WORKERS_MOST), 0);
}

void fixture_close_log(void)
{
	log_stop(LOG_FLUSH_LIMIT_S);
	support_check_leaks();
}

static void parse(struct fixture_place *place, const char *words)
{
	struct command_line line = {.config = &place->config};
	char text[TEXT_BYTES], *argv[FIXTURE_WORDS_MOST];
	char *rest = text;
	struct fault fault;
	int argc = 0;

	if (strstr(words, "--engine"))
		snprintf(text, sizeof(text), "sixpipe %s", words);
	else
		snprintf(text, sizeof(text), "sixpipe --engine %s %s",
			 fixture_is_epoll() ? "epoll" : "io_uring", words);
	while ((argv[argc] = strsep(&rest, " ")))
		cr_assert_lt(++argc, FIXTURE_WORDS_MOST);
	cr_assert_eq(support_parse(&line, argc, argv, &fault), 0, "%s", support_text(&fault));
}

static void inherit(struct fixture_place *place, const struct fixture_place *before)
{
	place->inherited = (struct inherited){
		.old_maxconn = workers_slot_count(before->workers),
		.old_workers = before->limits.workers,
		.boot_id = workers_boot_id(before->workers),
	};
	place->config.inherited = &place->inherited;
}

void fixture_make(struct fixture_place *place, const struct fixture_place *before,
		  const char *words)
{
	struct workers_setup setup = {.config = &place->config, .limits = &place->limits};
	struct config_errors errors = {0};
	struct capacity_host host;
	struct engine *engine = fixture_create(); /* skips the test where there is none */

	engine_destroy(engine);
	memset(place, 0, sizeof(*place));
	config_init(&place->config);
	if (before)
		inherit(place, before);
	parse(place, words);
	capacity_read_host("", &host);
	capacity_compute(&place->config, &host, &place->limits);
	cr_assert_eq(forwards_create(&place->forwards, &place->config, &errors), 0);
	cr_assert_eq(forwards_make_sources(place->forwards, &errors), 0);
	cr_assert_eq(forwards_make_admission(place->forwards, place->limits.maxconn, &errors), 0);
	setup.forwards = place->forwards;
	cr_assert_eq(workers_create(&place->workers, &setup, &errors), 0, "%s",
		     errors.count ? support_text(&errors.list[0]) : "");
}

void fixture_start(struct fixture_place *place)
{
	if (place->standing)
		workers_serve(place->workers);
	else
		cr_assert_eq(workers_start(place->workers), 0);
	place->started = true;
}

void fixture_stand(struct fixture_place *place)
{
	cr_assert_eq(workers_start_still(place->workers), 0);
	place->standing = true;
}

void fixture_end(struct fixture_place *place)
{
	if (place->started) {
		workers_enter(place->workers, WORKER_STOP);
		workers_join(place->workers);
		cr_expect_eq(workers_error(place->workers), 0);
		cr_expect_eq(workers_metric(place->workers, METRIC_sessions_open), 0);
		cr_expect_eq(workers_metric(place->workers, METRIC_stale_events), 0);
	}
	workers_destroy(place->workers);
	forwards_destroy(place->forwards);
	config_finish(&place->config);
}

/* The reader is a thread: the records need more room than a socket has. */
struct reading {
	struct workers *workers;
	struct carrier *carrier;
	enum carrier_kind kind;
	int result;
};

static void *read_all(void *argument)
{
	struct reading *reading = argument;

	while (!(reading->result = carrier_next(reading->carrier, &reading->kind)) &&
	       reading->kind != CARRIER_STATE_END) {
		reading->result = workers_read(reading->workers, reading->carrier, reading->kind);
		if (reading->result == -ENOTSUP)
			reading->result = forwards_read(workers_forwards(reading->workers),
							reading->carrier, reading->kind);
		if (reading->result)
			break;
	}
	return NULL;
}

void fixture_freeze(struct fixture_place *place)
{
	cr_assert_eq(workers_freeze(place->workers, timer_now_ms() + SUPPORT_PATIENCE_MS), 0);
}

void fixture_carry(struct fixture_place *before, struct fixture_place *place, const bool *moves)
{
	struct reading reading = {.workers = place->workers};
	struct carrier *carrier;
	pthread_t thread;
	int fds[2];

	cr_assert_eq(carrier_pair(fds), 0);
	cr_assert_eq(carrier_create(&carrier, fds[0]), 0);
	cr_assert_eq(carrier_create(&reading.carrier, fds[1]), 0);
	cr_assert_eq(pthread_create(&thread, NULL, read_all, &reading), 0);
	forwards_write(before->forwards, carrier);
	workers_write(before->workers, carrier, moves);
	carrier_begin(carrier, CARRIER_STATE_END);
	carrier_end(carrier);
	cr_assert_eq(carrier_flush(carrier), 0);
	pthread_join(thread, NULL);
	cr_assert_eq(reading.result, 0, "record %u: %s", reading.kind, strerror(-reading.result));
	cr_assert_eq(workers_complete(place->workers), 0);
	carrier_destroy(carrier);
	carrier_destroy(reading.carrier);
}

void fixture_move(struct fixture_place *before, struct fixture_place *place)
{
	fixture_stand(place);
	fixture_freeze(before);
	fixture_carry(before, place, fixture_all);
	fixture_start(place);
	workers_await_sessions(place->workers, timer_now_ms() + SUPPORT_PATIENCE_MS);
	workers_leave(before->workers, fixture_all);
}

void fixture_await(const struct fixture_place *place, enum metric metric, uint64_t value)
{
	uint64_t deadline_ms = timer_now_ms() + SUPPORT_PATIENCE_MS;

	while (workers_metric(place->workers, metric) != value) {
		cr_assert_lt(timer_now_ms(), deadline_ms, "metric %u is %" PRIu64 ", not %" PRIu64,
			     (unsigned)metric, workers_metric(place->workers, metric), value);
		usleep(500);
	}
}

const struct addr *fixture_address(const struct fixture_place *place, unsigned index)
{
	return &place->forwards->list[index].listen;
}
