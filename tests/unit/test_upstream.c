/* SPDX-License-Identifier: MIT */
#include "forward/upstream.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "support.h"

TestSuite(upstream, .fini = support_check_leaks);

#define BACKENDS 3
#define THREADS	 4
#define CHOICES	 3000
#define NOW_MS	 1000

struct setting {
	const char *name;
	const char *value;
};

/* What a session has of an upstream. */
struct journey {
	struct upstream_claim claim;
	struct pool_tried tried;
};

static struct config config;
static struct upstream *upstreams[2];

/* A forward with these options, and a second forward with one backend. */
static void make(const struct setting *settings, size_t count)
{
	struct fault fault = {0};

	config_init(&config);
	support_must_set(&config, "listen", "[::1]:2000");
	for (size_t i = 0; i < count; i++)
		support_must_set(&config, settings[i].name, settings[i].value);
	support_must_set(&config, "listen", "[::1]:2001");
	support_must_set(&config, "backend", "127.0.0.1:9");
	cr_assert_eq(support_check(&config, &fault), 0, "%s", support_text(&fault));
	for (unsigned i = 0; i < ARRAY_COUNT(upstreams); i++) {
		const struct config_forward *forward = &config.forwards[i];

		cr_assert_eq(upstream_create(&upstreams[i], forward, &forward->listen,
					     &forward->options.tuning),
			     0);
	}
}

static void finish(void)
{
	for (unsigned i = 0; i < ARRAY_COUNT(upstreams); i++)
		upstream_destroy(upstreams[i]);
	config_finish(&config);
}

/* Of both forwards. */
static uint64_t metric(enum metric metric)
{
	return upstream_metric(upstreams[0], metric) + upstream_metric(upstreams[1], metric);
}

static const struct setting three[] = {
	{"backend", "127.0.0.1:1"}, {"backend", "127.0.0.1:2"}, {"backend", "127.0.0.1:3"}};

static int choose(unsigned forward, struct journey *path, uint64_t now_ms)
{
	static const struct addr client;

	const struct upstream_ask ask = {
		.tried = &path->tried, .client = &client, .now_ms = now_ms};

	return upstream_choose(upstreams[forward], &path->claim, &ask);
}

/* Opens and ends a session; returns the port of its backend, or 0 if there was no backend. */
static unsigned port_of_one(unsigned forward)
{
	struct journey path = {0};
	unsigned port;

	if (choose(forward, &path, NOW_MS))
		return 0;
	port = addr_port(upstream_address(upstreams[forward], &path.claim));
	cr_expect_eq(port, addr_port(&upstream_backend(upstreams[forward], &path.claim)->addr));
	upstream_answered(upstreams[forward], &path.claim, 0, NOW_MS);
	upstream_leave(upstreams[forward], &path.claim);
	cr_expect_null(upstream_address(upstreams[forward], &path.claim));
	cr_expect_null(upstream_backend(upstreams[forward], &path.claim));
	return port;
}

Test(upstream, backends_take_turns)
{
	make(three, ARRAY_COUNT(three));
	for (unsigned i = 0; i < 10; i++) {
		cr_expect_eq(port_of_one(0), 1 + i % BACKENDS);
		/* every forward goes round its own backends */
		cr_expect_eq(port_of_one(1), 9);
	}
	finish();
}

/* Adds a backend at run time; returns its address. */
static struct addr add_backend(const char *text)
{
	struct fault fault;
	int group = upstream_add(upstreams[0], text, &fault);

	cr_assert_geq(group, 0);
	return upstream_configured(upstreams[0], (unsigned)group)->addr;
}

/* Records of ended sessions have the address. */
Test(upstream, the_name_of_a_removed_backend_stays)
{
	struct addr first;
	char text[ADDR_TEXT_BYTES];

	make(three, ARRAY_COUNT(three));
	first = add_backend("unix:/run/first.sock");
	upstream_remove(upstreams[0], BACKENDS);
	/* in the same place */
	(void)add_backend("unix:/run/other.sock");
	cr_expect_str_eq(addr_print(&first, text), "unix:/run/first.sock");
	finish();
}

/* Fails each choice until there is none left. Returns the last refusal, and the ports chosen. */
static int exhaust(struct journey *path, int error, unsigned *ports, unsigned *count)
{
	int choice;

	*count = 0;
	while (!(choice = choose(0, path, NOW_MS))) {
		ports[(*count)++] = addr_port(upstream_address(upstreams[0], &path->claim));
		upstream_answered(upstreams[0], &path->claim, error, NOW_MS);
		cr_assert_leq(*count, BACKENDS);
	}
	return choice;
}

Test(upstream, each_backend_is_tried_once)
{
	make(three, ARRAY_COUNT(three));
	for (unsigned first = 0; first < BACKENDS; first++) {
		struct journey path = {0};
		unsigned ports[BACKENDS], count, seen = 0;

		/* a reset does not count against a backend, so all are still up */
		cr_expect_eq(exhaust(&path, -ECONNRESET, ports, &count), POOL_ALL_TRIED);
		cr_assert_eq(count, BACKENDS);
		for (unsigned i = 0; i < count; i++)
			seen |= 1U << ports[i];
		cr_expect_eq(seen, 2 + 4 + 8);
		/* the last backend is known until the end of the session */
		cr_expect_eq(addr_port(upstream_address(upstreams[0], &path.claim)),
			     ports[count - 1]);
		upstream_leave(upstreams[0], &path.claim);
		upstream_leave(upstreams[0], &path.claim);
	}
	cr_expect_eq(metric(METRIC_backends_up), BACKENDS + 1);
	finish();
}

Test(upstream, retries_are_further_backends)
{
	static const char *const texts[] = {"0", "1", "2", "9"};
	static const unsigned tried[] = {1, 2, 3, 3};

	for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
		struct setting settings[4] = {three[0], three[1], three[2], {"retries", texts[i]}};
		struct journey path = {0};
		unsigned ports[BACKENDS], count;

		make(settings, ARRAY_COUNT(settings));
		cr_expect_eq(exhaust(&path, -ECONNREFUSED, ports, &count), POOL_ALL_TRIED);
		cr_expect_eq(count, tried[i], "--retries %s: %u", texts[i], count);
		upstream_leave(upstreams[0], &path.claim);
		finish();
	}
}

/* Which errors take a backend down. */
Test(upstream, failures_are_the_backends_or_ours)
{
	static const struct {
		int error;
		enum upstream_fault fault;
	} rows[] = {
		{ECONNREFUSED, UPSTREAM_FAULT_BACKEND}, {ETIMEDOUT, UPSTREAM_FAULT_BACKEND},
		{EHOSTUNREACH, UPSTREAM_FAULT_BACKEND}, {ENETUNREACH, UPSTREAM_FAULT_BACKEND},
		{EACCES, UPSTREAM_FAULT_BACKEND},	{EINVAL, UPSTREAM_FAULT_BACKEND},
		{EPERM, UPSTREAM_FAULT_BACKEND},	{ENETDOWN, UPSTREAM_FAULT_BACKEND},
		{EHOSTDOWN, UPSTREAM_FAULT_BACKEND},	{ENODEV, UPSTREAM_FAULT_BACKEND},
		{EAFNOSUPPORT, UPSTREAM_FAULT_BACKEND}, {ENOENT, UPSTREAM_FAULT_BACKEND},
		{EPROTOTYPE, UPSTREAM_FAULT_BACKEND},	{EMFILE, UPSTREAM_FAULT_HERE},
		{ENFILE, UPSTREAM_FAULT_HERE},		{ENOBUFS, UPSTREAM_FAULT_HERE},
		{ENOMEM, UPSTREAM_FAULT_HERE},		{ENOSPC, UPSTREAM_FAULT_HERE},
		{EADDRNOTAVAIL, UPSTREAM_FAULT_HERE},	{EAGAIN, UPSTREAM_FAULT_PASSING},
		{ECONNRESET, UPSTREAM_FAULT_PASSING},	{EPIPE, UPSTREAM_FAULT_PASSING},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		bool blamed = rows[i].fault == UPSTREAM_FAULT_BACKEND;
		struct journey path = {0};

		cr_expect_eq(upstream_fault_of(rows[i].error), rows[i].fault, "%s",
			     strerror(rows[i].error));
		cr_expect_eq(upstream_fault_of(-rows[i].error), rows[i].fault);
		make(three, ARRAY_COUNT(three));
		cr_assert_eq(choose(0, &path, NOW_MS), 0);
		upstream_answered(upstreams[0], &path.claim, -rows[i].error, NOW_MS);
		upstream_leave(upstreams[0], &path.claim);
		cr_expect_eq(metric(METRIC_backend_downs), blamed, "%s", strerror(rows[i].error));
		cr_expect_eq(metric(METRIC_backends_down), blamed);
		finish();
	}
}

Test(upstream, the_only_backend_is_always_tried)
{
	static const struct setting one[] = {{"backend", "127.0.0.1:1"}};

	make(one, ARRAY_COUNT(one));
	for (unsigned i = 0; i < 5; i++) {
		struct journey path = {0};
		unsigned ports[BACKENDS], count;

		cr_expect_eq(exhaust(&path, -ECONNREFUSED, ports, &count), POOL_ALL_TRIED);
		cr_expect_eq(count, 1);
		upstream_leave(upstreams[0], &path.claim);
	}
	finish();
}

Test(upstream, all_down_is_told_from_all_full_and_all_tried)
{
	static const struct setting settings[] = {{"backend", "127.0.0.1:1 maxconn=1"},
						  {"backend", "127.0.0.1:2"}};
	struct journey failing = {0}, holding = {0}, late = {0};

	make(settings, ARRAY_COUNT(settings));
	cr_assert_eq(choose(0, &holding, NOW_MS), 0);
	cr_assert_eq(addr_port(upstream_address(upstreams[0], &holding.claim)), 1);
	upstream_answered(upstreams[0], &holding.claim, 0, NOW_MS);
	cr_assert_eq(choose(0, &failing, NOW_MS), 0);
	upstream_answered(upstreams[0], &failing.claim, -ECONNREFUSED, NOW_MS);
	cr_expect_eq(choose(0, &failing, NOW_MS), POOL_ALL_FULL);
	upstream_leave(upstreams[0], &holding.claim);
	/* the backend has room again: the same session may choose it */
	cr_assert_eq(choose(0, &failing, NOW_MS), 0);
	upstream_answered(upstreams[0], &failing.claim, -ECONNREFUSED, NOW_MS);
	cr_expect_eq(choose(0, &failing, NOW_MS), POOL_ALL_TRIED);
	cr_expect_eq(choose(0, &late, NOW_MS), POOL_ALL_DOWN);
	upstream_leave(upstreams[0], &failing.claim);
	cr_expect_eq(metric(METRIC_backend_downs), 2);
	finish();
}

/* If a session gives up a probe without an answer, the next session makes the probe. */
Test(upstream, a_path_that_is_left_says_nothing)
{
	struct journey paths[BACKENDS] = {0};
	struct journey probe = {0};
	uint64_t late_ms = NOW_MS + 10000;

	make(three, ARRAY_COUNT(three));
	for (unsigned i = 0; i < BACKENDS; i++) {
		cr_assert_eq(choose(0, &paths[i], NOW_MS), 0);
		upstream_answered(upstreams[0], &paths[i].claim, -ECONNREFUSED, NOW_MS);
		upstream_leave(upstreams[0], &paths[i].claim);
	}
	for (unsigned i = 0; i < 2 * BACKENDS; i++) {
		cr_assert_eq(choose(0, &probe, late_ms), 0);
		upstream_leave(upstreams[0], &probe.claim);
	}
	cr_expect_eq(metric(METRIC_backend_ups), 0);
	cr_assert_eq(choose(0, &probe, late_ms), 0);
	upstream_answered(upstreams[0], &probe.claim, 0, late_ms);
	upstream_leave(upstreams[0], &probe.claim);
	cr_expect_eq(metric(METRIC_backend_ups), 1);
	cr_expect_eq(metric(METRIC_backends_up), 2);
	finish();
}

Test(upstream, parameters_and_checks_reach_the_pool)
{
	static const struct setting settings[] = {
		{"rise", "1"},
		{"fall", "1"},
		{"backend", "127.0.0.1:1 weight=2 check"},
		{"backend", "127.0.0.1:2 down"},
		{"backend", "127.0.0.1:3 backup"},
	};
	struct upstream_verdict verdict = {.fault = "no answer"};
	struct pool_snapshot snapshot;
	struct journey path = {0};

	make(settings, ARRAY_COUNT(settings));
	cr_expect_eq(metric(METRIC_backends_off), 1);
	for (unsigned i = 0; i < 4; i++)
		cr_expect_eq(port_of_one(0), 1);
	pool_snapshot(upstream_pool(upstreams[0]), 0, NOW_MS, &snapshot);
	cr_expect_eq(snapshot.weight, 2);
	verdict.generation = snapshot.generation;
	verdict.address = &snapshot.address;
	upstream_checked(upstreams[0], &verdict, NOW_MS);
	cr_expect_eq(port_of_one(0), 3);
	verdict.fault = NULL;
	upstream_checked(upstreams[0], &verdict, NOW_MS);
	cr_expect_eq(port_of_one(0), 1);
	cr_expect_eq(metric(METRIC_checks), 2);
	cr_expect_eq(metric(METRIC_checks_failed), 1);
	cr_expect_eq(metric(METRIC_backend_downs), 1);
	cr_expect_eq(metric(METRIC_backend_ups), 1);

	/* the backup has no checks: sessions take it down and bring it up */
	verdict.fault = "no answer";
	upstream_checked(upstreams[0], &verdict, NOW_MS);
	cr_assert_eq(choose(0, &path, NOW_MS), 0);
	upstream_answered(upstreams[0], &path.claim, -ECONNREFUSED, NOW_MS);
	upstream_leave(upstreams[0], &path.claim);
	path = (struct journey){0};
	cr_expect_eq(choose(0, &path, NOW_MS), POOL_ALL_DOWN);
	cr_expect_eq(choose(0, &path, NOW_MS + 10000), 0);
	upstream_leave(upstreams[0], &path.claim);
	finish();
}

static void *choose_many(void *argument)
{
	_Atomic unsigned *chosen = argument;

	for (unsigned i = 0; i < CHOICES; i++)
		chosen[port_of_one(0)]++;
	return NULL;
}

/* All workers share the order of the backends: no choice is lost or made twice. */
Test(upstream, threads_share_the_turns)
{
	_Atomic unsigned chosen[BACKENDS + 1] = {0};

	make(three, ARRAY_COUNT(three));
	support_run_threads(choose_many, chosen, 0, THREADS);
	for (unsigned i = 1; i <= BACKENDS; i++)
		cr_expect_eq(chosen[i], THREADS * CHOICES / BACKENDS, "backend %u: %u", i,
			     chosen[i]);
	finish();
}

/* Sets addresses from 127.0.HIGH.1 on, with port 80. */
static struct addr_set addresses(unsigned high, unsigned count)
{
	struct addr_set set = {0};

	for (unsigned i = 0; i < count; i++) {
		char text[ADDR_TEXT_BYTES];
		struct addr address;

		snprintf(text, sizeof(text), "127.0.%u.%u:80", high, i + 1);
		cr_assert_null(addr_parse(text, &address));
		addr_set_insert(&set, &address);
	}
	return set;
}

static unsigned set_addresses(unsigned backend, unsigned high, unsigned count)
{
	const struct addr_set set = addresses(high, count);
	unsigned left_out;
	int result = upstream_set_addresses(upstreams[0], backend, &set, &left_out);

	cr_expect_eq(result, left_out ? -ENOSPC : 0);
	return left_out;
}

/* A name gives a member for each of its addresses, with the parameters of the backend. */
Test(upstream, names_bring_backends)
{
	static const struct setting named[] = {{"backend", "web.example:80 weight=2"},
					       {"backend", "db.example:80 backup"}};
	struct journey path = {0};
	const struct config_backend *first;

	make(named, ARRAY_COUNT(named));
	first = config.forwards[0].backends;
	cr_expect_eq(choose(0, &path, NOW_MS), POOL_ALL_DOWN);
	cr_expect_eq(set_addresses(0, 0, 2), 0);
	cr_expect_eq(set_addresses(1, 1, 1), 0);
	cr_expect_eq(metric(METRIC_backends_up), 4);
	cr_expect_eq(choose(0, &path, NOW_MS), 0);
	cr_expect_eq(upstream_backend(upstreams[0], &path.claim), first);
	upstream_answered(upstreams[0], &path.claim, 0, NOW_MS);
	/* the member has gone, and the session continues */
	cr_expect_eq(set_addresses(0, 2, 1), 0);
	cr_expect_eq(upstream_backend(upstreams[0], &path.claim), first);
	cr_expect_neq(upstream_address(upstreams[0], &path.claim), NULL);
	cr_expect_eq(metric(METRIC_backends_up), 3);
	upstream_leave(upstreams[0], &path.claim);
	finish();
}

/* A pool with names has 256 slots. */
Test(upstream, more_addresses_than_places)
{
	static const struct setting named[] = {{"backend", "a:80"}, {"backend", "b:80"},
					       {"backend", "c:80"}, {"backend", "d:80"},
					       {"backend", "e:80"}, {"backend", "127.9.9.9:80"}};

	make(named, ARRAY_COUNT(named));
	for (unsigned i = 0; i < 3; i++)
		cr_expect_eq(set_addresses(i, i, 64), 0);
	cr_expect_eq(set_addresses(3, 3, 63), 0);
	cr_expect_eq(set_addresses(4, 4, 5), 5);
	cr_expect_eq(set_addresses(3, 3, 60), 0);
	cr_expect_eq(set_addresses(4, 4, 5), 2);
	cr_expect_eq(set_addresses(0, 0, 1), 0);
	cr_expect_eq(set_addresses(4, 4, 5), 0);
	cr_expect_eq(metric(METRIC_backends_up), 1 + 64 + 64 + 60 + 5 + 1 + 1);
	finish();
}
