/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_WAIT 128

/* A thread opens so many connections at a time, so that opening them does not test backlogs. */
#define OPENING_LIMIT	 64u

#define CONNECT_LIMIT_MS 60000u
#define DRAIN_LIMIT_MS	 20000u

static void worker_start_run(struct worker *worker)
{
	const struct client_options *options = worker->client->options;
	uint64_t run_ns = atomic_load(&worker->client->run_ns);

	for (unsigned i = 0; i < worker->small_count && options->interval_ns > 0; i++)
		worker->conns[worker->small_first + i].due_ns =
			run_ns + options->interval_ns * i / worker->small_count;
	worker->next_due = 0;
	for (unsigned i = 0; i < worker->conn_count; i++) {
		if (worker->conns[i].up)
			conn_start_run(worker, &worker->conns[i]);
		else
			conn_give_up(worker, &worker->conns[i], "not up in time");
	}
}

static void worker_enter_phase(struct worker *worker)
{
	enum client_phase phase = atomic_load(&worker->client->phase);
	uint64_t count;

	if (read(worker->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		perror("load: eventfd");
	while (worker->phase < phase) {
		worker->phase++;
		if (worker->phase == PHASE_RUN)
			worker_start_run(worker);
		for (unsigned i = 0; i < worker->conn_count && worker->phase == PHASE_DRAIN; i++)
			conn_start_drain(worker, &worker->conns[i]);
		for (unsigned i = 0; i < worker->conn_count && worker->phase == PHASE_CLOSE; i++) {
			if (!worker->conns[i].drained)
				conn_give_up(worker, &worker->conns[i], "not drained in time");
		}
	}
}

static void worker_open_some(struct worker *worker)
{
	while (worker->phase == PHASE_CONNECT && worker->opened < worker->conn_count &&
	       worker->pending < worker->client->options->ramp) {
		worker->pending++;
		conn_open(worker, &worker->conns[worker->opened++]);
	}
}

/*
 * Sends the requests that are due at fixed times. Connections are due one after the other. A
 * connection whose response is late is skipped and catches up; its latency counts from the time
 * when the request was due. Returns the time until the next request is due, or -1 if there is none.
 */
static int64_t worker_send_due(struct worker *worker)
{
	const struct client_options *options = worker->client->options;
	uint64_t run_ns = atomic_load_explicit(&worker->client->run_ns, memory_order_relaxed);

	if (worker->phase != PHASE_RUN || options->interval_ns == 0 || worker->small_count == 0)
		return -1;
	for (;;) {
		unsigned turn = worker->next_due / worker->small_count;
		unsigned index = worker->next_due % worker->small_count;
		uint64_t due_ns = run_ns + options->interval_ns * turn +
				  options->interval_ns * index / worker->small_count;
		uint64_t now = net_now_ns();
		struct conn *conn = &worker->conns[worker->small_first + index];

		if (due_ns > now)
			return (int64_t)(due_ns - now);
		worker->next_due++;
		if (conn->state == CONN_OPEN && !conn->busy && conn->due_ns <= now)
			conn_send_due(worker, conn);
	}
}

static void *worker_main(void *argument)
{
	struct worker *worker = argument;
	struct epoll_event events[EVENTS_PER_WAIT];

	prctl(PR_SET_TIMERSLACK, 1ul);
	if (worker->background)
		net_yield_cpu();
	while (worker->phase != PHASE_CLOSE) {
		int64_t wait_ns = worker_send_due(worker);
		struct timespec wait = {wait_ns / 1000000000, wait_ns % 1000000000};
		int count;

		worker_open_some(worker);
		count = epoll_pwait2(worker->epoll_fd, events, EVENTS_PER_WAIT,
				     wait_ns < 0 ? NULL : &wait, NULL);
		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == NULL)
				worker_enter_phase(worker);
			else
				conn_on_event(worker, events[i].data.ptr, events[i].events);
		}
	}
	for (unsigned i = 0; i < worker->conn_count; i++) {
		if (worker->conns[i].state == CONN_OPEN)
			close(worker->conns[i].fd);
	}
	return NULL;
}

static void client_set_phase(struct client *client, enum client_phase phase)
{
	const uint64_t one = 1;

	atomic_store(&client->phase, phase);
	for (unsigned i = 0; i < client->worker_count; i++) {
		if (write(client->workers[i].wake_fd, &one, sizeof(one)) < 0)
			perror("load: eventfd");
	}
}

static void client_wait(const struct client *client, const atomic_uint *count, unsigned limit_ms)
{
	for (unsigned i = 0; i < limit_ms && atomic_load(count) < client->conn_count; i++)
		usleep(1000);
}

/* With --sync: prints the phase of the run, and goes on when a line comes. */
static void client_sync(const struct client *client, const char *word)
{
	char line[64];

	if (!client->options->sync)
		return;
	puts(word);
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin) == NULL)
		exit(1);
}

static void client_sleep(double seconds)
{
	struct timespec rest = {
		.tv_sec = (time_t)seconds,
		.tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9),
	};

	while (nanosleep(&rest, &rest) != 0)
		continue;
}

/* Gives the worker its part of a role's connections: part `index` of `of` equal parts. */
static void worker_deal(struct worker *worker, enum conn_role role, unsigned index, unsigned of)
{
	unsigned all = worker->client->options->role_counts[role];
	unsigned part = all / of + (index < all % of ? 1u : 0u);

	if (role == ROLE_SMALL) {
		worker->small_first = worker->conn_count;
		worker->small_count = part;
	}
	for (unsigned i = 0; i < part; i++)
		worker->conns[worker->conn_count + i].role = role;
	worker->conn_count += part;
}

static bool worker_init(struct worker *worker, struct client *client, unsigned first_conn)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

	worker->client = client;
	worker->conns = &client->conns[first_conn];
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	worker->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return worker->epoll_fd >= 0 && worker->wake_fd >= 0 &&
	       epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->wake_fd, &event) == 0;
}

static bool client_init(struct client *client, const struct client_options *options)
{
	unsigned per_kind = options->thread_count;
	unsigned bulk_count = options->role_counts[ROLE_BULK];
	unsigned first_bulk;
	unsigned next = 0;

	client->options = options;
	for (unsigned role = 0; role < ROLE_COUNT; role++)
		client->conn_count += options->role_counts[role];
	first_bulk = client->conn_count > bulk_count ? per_kind : 0;
	client->worker_count = first_bulk + (bulk_count > 0 ? per_kind : 0);
	client->workers = calloc(client->worker_count + 1u, sizeof(*client->workers));
	client->conns = calloc(client->conn_count + 1u, sizeof(*client->conns));
	if (client->workers == NULL || client->conns == NULL)
		return false;
	for (unsigned i = 0; i < client->conn_count; i++)
		client->conns[i].flow = i;
	for (unsigned i = 0; i < client->worker_count; i++) {
		struct worker *worker = &client->workers[i];

		if (!worker_init(worker, client, next))
			return false;
		worker->background = i >= first_bulk && options->background_bulk;
		if (i >= first_bulk)
			worker_deal(worker, ROLE_BULK, i - first_bulk, per_kind);
		for (unsigned role = 0; role < ROLE_COUNT && i < first_bulk; role++) {
			if (role != ROLE_BULK)
				worker_deal(worker, role, i, per_kind);
		}
		next += worker->conn_count;
		if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0)
			return false;
	}
	return true;
}

static void client_print(const struct client_stats *sum, double seconds)
{
	const struct histogram *latency = &sum->latency;

	printf("{\"seconds\": %.6f, \"up_bytes\": %lu, \"down_bytes\": %lu, \"flows\": %lu, "
	       "\"requests\": %lu, \"exchanges\": %lu, \"connections\": %lu, \"opened\": %lu, ",
	       seconds, sum->up_bytes, sum->down_bytes, sum->flows, sum->requests, sum->exchanges,
	       sum->connections, sum->opened);
	printf("\"latency_us\": {\"samples\": %lu, \"p50\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f, "
	       "\"max\": %.1f}, ",
	       latency->count, (double)histogram_percentile_ns(latency, 0.5) / 1e3,
	       (double)histogram_percentile_ns(latency, 0.99) / 1e3,
	       (double)histogram_percentile_ns(latency, 0.999) / 1e3,
	       (double)latency->max_ns / 1e3);
	printf("\"errors\": %lu, \"first_error\": \"%s\", \"cpu_seconds\": %.6f}\n", sum->errors,
	       sum->first_error, net_cpu_seconds());
	fflush(stdout);
}

static void stats_add(struct client_stats *sum, const struct client_stats *part)
{
	sum->up_bytes += part->up_bytes;
	sum->down_bytes += part->down_bytes;
	sum->flows += part->flows;
	sum->requests += part->requests;
	sum->exchanges += part->exchanges;
	sum->connections += part->connections;
	sum->opened += part->opened;
	sum->errors += part->errors;
	if (part->errors > 0 && sum->first_error[0] == '\0')
		memcpy(sum->first_error, part->first_error, sizeof(sum->first_error));
	histogram_add(&sum->latency, &part->latency);
}

int client_run(const struct client_options *options)
{
	static struct client client;
	static struct client_stats sum;
	double seconds;

	if (!client_init(&client, options)) {
		perror("load: cannot start");
		return 1;
	}
	client_wait(&client, &client.up_count, CONNECT_LIMIT_MS);
	client_sync(&client, "ready");

	atomic_store(&client.run_ns, net_now_ns());
	client_set_phase(&client, PHASE_RUN);
	if (options->seconds > 0)
		client_sleep(options->seconds);
	else
		client_sync(&client, "running");
	client_set_phase(&client, PHASE_DRAIN);
	client_wait(&client, &client.drained_count, DRAIN_LIMIT_MS);
	seconds = (double)(atomic_load(&client.drained_ns) - client.run_ns) / 1e9;
	client_sync(&client, "drained");

	client_set_phase(&client, PHASE_CLOSE);
	for (unsigned i = 0; i < client.worker_count; i++) {
		pthread_join(client.workers[i].thread, NULL);
		stats_add(&sum, &client.workers[i].stats);
	}
	client_print(&sum, seconds);
	return sum.errors == 0 ? 0 : 1;
}
