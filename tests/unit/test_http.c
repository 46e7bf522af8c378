/* SPDX-License-Identifier: MIT */
#include "control/http.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/util.h"
#include "config/capacity.h"
#include "os/timer.h"
#include "relay/worker_parts.h"
#include "support.h"
#include "takeover_fixture.h"

TestSuite(http, .fini = support_check_leaks);

static const struct workers no_workers;

/* Without workers: /metrics is asked of the whole program, in tests/integration/test_http.py. */
static struct http *create(struct addr *address)
{
	static struct config config;
	struct fault fault = {0};
	struct http *http = NULL;

	cr_assert_null(addr_parse("127.0.0.1:0", &config.metrics));
	cr_assert_eq(http_create(&http, &config, &no_workers, &fault), 0, "%s",
		     support_text(&fault));
	*address = *http_address(http);
	cr_assert_neq(addr_port(address), 0);
	cr_expect_eq(addr_port(&config.metrics), 0, "the configuration stays as it was");
	return http;
}

/* As http_run() is told of it. */
enum state { READY, DRAINING };

/* A turn of the control loop that waits at most `limit_ms`; false when it has waited for nothing. */
static bool turn(struct http *http, enum state state, int limit_ms)
{
	struct poll_set set;
	bool woken;

	poll_set_begin(&set);
	http_prepare_poll(http, &set);
	woken = support_wait(&set, limit_ms);
	http_run(http, state);
	return woken;
}

/* The milliseconds until http_run() is due without an event; -1: never. */
static int due_in_ms(struct http *http, struct poll_set *set)
{
	poll_set_begin(set);
	http_prepare_poll(http, set);
	return set->due_ms == POLL_SET_NEVER ? -1 : (int)(set->due_ms - timer_now_ms());
}

/* Turns until there is nothing left to do. */
static void settle(struct http *http)
{
	while (turn(http, READY, 20))
		;
}

/* Sends the request on `fd` and turns the loop until the connection is closed. */
static void ask(struct http *http, enum state state, int fd, const char *request, char *answer,
		size_t answer_bytes)
{
	uint64_t end_ms = timer_now_ms() + SUPPORT_PATIENCE_MS;
	size_t length = 0;
	ssize_t got = -1;

	support_send(fd, request, strlen(request));
	while (got) {
		cr_assert_lt(timer_now_ms(), end_ms, "no end: '%.*s'", (int)length, answer);
		turn(http, state, 10);
		got = recv(fd, answer + length, answer_bytes - 1 - length, MSG_DONTWAIT);
		if (got > 0)
			length += (size_t)got;
		else if (got < 0 && errno == ECONNRESET)
			got = 0;
		else
			cr_assert(!got || errno == EAGAIN, "recv: %s", strerror(errno));
	}
	answer[length] = '\0';
	close(fd);
}

struct ask_row {
	enum state state;
	const char *request;
	const char *status;
	const char *body;
};

Test(http, answers)
{
	static const struct ask_row rows[] = {
		{READY, "GET /ready HTTP/1.0", "200", "\nready\n"},
		{DRAINING, "GET /ready HTTP/1.0", "503", "\ndraining\n"},
		{READY, "GET /ready?full=1 HTTP/1.0", "200", "\nready\n"},
		{READY, "GET /live HTTP/1.0", "200", "\nlive\n"},
		{DRAINING, "GET /live HTTP/1.0", "200", "\nlive\n"},
		{READY, "HEAD /ready HTTP/1.0", "200", "\r\n\r\n"},
		{READY, "GET / HTTP/1.0", "404", "/live, /ready and /metrics\n"},
		{READY, "GET /ready/ HTTP/1.0", "404", "/live, /ready and /metrics\n"},
		{READY, "DELETE /ready HTTP/1.0", "405", "only GET and HEAD are known here\n"},
		{READY, "POST /x HTTP/1.0\r\nContent-Length: 9", "405", "GET and HEAD"},
	};
	struct addr address;
	struct http *http = create(&address);

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char request[128], answer[2048];

		snprintf(request, sizeof(request), "%s\r\n\r\n", rows[i].request);
		ask(http, rows[i].state, support_connect(&address), request, answer,
		    sizeof(answer));
		cr_expect_eq(strncmp(answer, "HTTP/1.", 7), 0, "row %zu: %s", i, answer);
		cr_expect_eq(strncmp(answer + 9, rows[i].status, 3), 0, "row %zu: %s", i, answer);
		cr_expect_not_null(strstr(answer, rows[i].body), "row %zu: %s", i, answer);
		cr_expect_not_null(strstr(answer, "Cache-Control: no-store\r\n"), "row %zu", i);
		cr_expect_not_null(strstr(answer, "Content-Type: text/plain"), "row %zu", i);
	}
	http_destroy(http);
}

/* What does not fit, or is no HTTP, gets an error or a closed connection, and others their answer. */
Test(http, strange_requests)
{
	static char endless[64 << 10];
	static const char *const rows[] = {"\r\n", "nonsense\r\n\r\n", "GET\r\n\r\n",
					   "GET /ready HTTP/9.9\r\n\r\n", endless};
	struct addr address;
	struct http *http = create(&address);
	char answer[4096];

	memset(endless, 'x', sizeof(endless) - 1);
	memcpy(endless, "GET /", 5);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		int fd = support_connect(&address);

		support_send(fd, rows[i], strlen(rows[i]));
		shutdown(fd, SHUT_WR);
		settle(http);
		answer[0] = '\0';
		if (recv(fd, answer, sizeof(answer), MSG_DONTWAIT) > 0)
			cr_expect_neq(strncmp(answer + 9, "200", 3), 0, "row %zu: %s", i, answer);
		close(fd);
	}
	ask(http, READY, support_connect(&address), "GET /live HTTP/1.0\r\n\r\n", answer,
	    sizeof(answer));
	cr_expect_not_null(strstr(answer, "live\n"));
	http_destroy(http);
}

/* Whether the peer has ended the connection. */
static bool is_ended(int fd)
{
	char byte;
	ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);

	return !got || (got < 0 && errno == ECONNRESET);
}

/* However many connections are slow to ask, the loop sleeps, and whoever asks is answered at once. */
Test(http, the_oldest_without_a_request_makes_room)
{
	int fds[3 * CAPACITY_HTTP_CONNECTIONS];
	struct addr address;
	unsigned before = support_count_descriptors();
	struct http *http = create(&address);
	char answer[2048];

	for (unsigned i = 0; i < ARRAY_COUNT(fds); i++) {
		fds[i] = support_connect(&address);
		support_send(fds[i], "GET /live", 9);
		settle(http);
		cr_expect_leq(support_count_descriptors(),
			      before + i + 1 + CAPACITY_HTTP_DESCRIPTORS);
	}
	cr_expect(!turn(http, READY, 50), "those that are slow keep the loop turning");
	for (unsigned i = 0; i < ARRAY_COUNT(fds); i++) {
		bool stays = i > ARRAY_COUNT(fds) - CAPACITY_HTTP_CONNECTIONS;

		cr_expect_eq(is_ended(fds[i]), !stays, "connection %u", i);
	}
	ask(http, READY, support_connect(&address), "GET /live HTTP/1.0\r\n\r\n", answer,
	    sizeof(answer));
	cr_expect_not_null(strstr(answer, "live\n"), "%s", answer);
	for (unsigned i = 0; i < ARRAY_COUNT(fds) - 1; i++)
		close(fds[i]);
	ask(http, READY, fds[ARRAY_COUNT(fds) - 1], " HTTP/1.0\r\n\r\n", answer, sizeof(answer));
	cr_expect_not_null(strstr(answer, "live\n"), "the latest is served: %s", answer);
	http_destroy(http);
	cr_expect_eq(support_count_descriptors(), before);
}

/* The time that a request may take counts from its connection's beginning, not from its latest byte. */
Test(http, bytes_do_not_extend_a_request)
{
	struct addr address;
	struct http *http = create(&address);
	struct poll_set set;
	int fd = support_connect(&address);
	uint64_t due_ms = 0;

	for (unsigned i = 0; i < 5; i++) {
		uint64_t before_ms;
		int wait_ms;

		support_send(fd, "G", 1);
		settle(http);
		before_ms = timer_now_ms();
		wait_ms = due_in_ms(http, &set);
		cr_assert_geq(wait_ms, 0);
		if (i)
			cr_expect_leq(before_ms + (uint64_t)wait_ms, due_ms, "after %u bytes",
				      i + 1);
		else
			due_ms = timer_now_ms() + (uint64_t)wait_ms;
	}
	close(fd);
	settle(http);
	cr_expect_eq(due_in_ms(http, &set), -1);
	http_destroy(http);
}

/* Out of descriptors, the connection that waits does not keep the loop turning. */
Test(http, without_descriptors_accepting_pauses)
{
	struct addr address;
	struct http *http = create(&address);
	int client = support_connect(&address);
	struct poll_set set;
	struct rlimit limit, none;
	char answer[2048];
	int wait_ms;

	support_send(client, "GET /ready HTTP/1.0\r\n", 21);
	cr_assert(!getrlimit(RLIMIT_NOFILE, &limit));
	none = limit;
	none.rlim_cur = 3;
	cr_assert(!setrlimit(RLIMIT_NOFILE, &none));
	http_run(http, READY);
	wait_ms = due_in_ms(http, &set);
	cr_assert(!setrlimit(RLIMIT_NOFILE, &limit));
	cr_expect_eq(set.count, 1, "the listener is left out");
	cr_expect(wait_ms > 0 && wait_ms <= 100, "%d ms", wait_ms);
	ask(http, READY, client, "\r\n", answer, sizeof(answer));
	cr_expect_not_null(strstr(answer, "ready\n"), "%s", answer);
	http_destroy(http);
}

Test(http, nothing_to_wait_for_without_connections)
{
	struct addr address;
	struct http *http = create(&address);
	struct poll_set set;

	http_run(http, READY);
	cr_expect_eq(due_in_ms(http, &set), -1);
	cr_expect_eq(set.count, 2, "the listener and libmicrohttpd's epoll");
	http_destroy(http);
}

Test(http, an_address_in_use)
{
	struct fault fault = {0};
	char where[ADDR_TEXT_BYTES];
	unsigned before = support_count_descriptors();
	static struct config config;
	struct http *http = NULL;
	int holder = support_listen(&config.metrics, 1);

	cr_expect_eq(http_create(&http, &config, &no_workers, &fault), -EADDRINUSE);
	cr_expect_null(http);
	cr_expect_not_null(strstr(support_text(&fault), addr_print(&config.metrics, where)), "%s",
			   support_text(&fault));
	cr_expect_not_null(strstr(support_text(&fault), "; stop the program"), "%s",
			   support_text(&fault));
	close(holder);
	cr_expect_eq(support_count_descriptors(), before);
}

static void write_socket(const void *http, struct carrier *carrier)
{
	http_write_socket(http, carrier);
}

/* In a takeover both processes have the listener, and each answers the connections it accepted. */
Test(http, a_listener_goes_on_in_the_next_process)
{
	static struct config config;
	struct inherited inherited;
	struct fault fault = {0};
	struct addr address;
	char answer[1024];
	unsigned before = support_count_descriptors();
	struct http *old = create(&address), *new = NULL;
	int early = support_connect(&address), late;

	config.inherited = &inherited;
	config.metrics = address;
	takeover_carry(write_socket, old, &inherited);
	cr_expect_eq(http_create(&new, &config, &no_workers, &fault), -EADDRINUSE);
	cr_expect_not_null(strstr(support_text(&fault), "restart sixpipe"), "port 0 was given: %s",
			   support_text(&fault));
	addr_set_port(&config.metrics, 0);
	cr_assert_eq(http_create(&new, &config, &no_workers, &fault), 0, "%s",
		     support_text(&fault));
	cr_expect(addr_equal(http_address(new), &address));
	cr_expect(!http_is_busy(old));
	support_send(early, "GET", 3);
	while (!http_is_busy(old))
		turn(old, READY, 10);
	http_leave(old);
	late = support_connect(&address);
	ask(new, READY, late, "GET /live HTTP/1.0\r\n\r\n", answer, sizeof(answer));
	cr_expect_not_null(strstr(answer, "live\n"), "%s", answer);
	ask(old, READY, early, " /live HTTP/1.0\r\n\r\n", answer, sizeof(answer));
	cr_expect_not_null(strstr(answer, "live\n"), "%s", answer);
	turn(old, READY, 10);
	cr_expect(!http_is_busy(old));
	http_destroy(old);
	http_destroy(new);
	takeover_forget(&inherited);
	cr_expect_eq(support_count_descriptors(), before);
}
