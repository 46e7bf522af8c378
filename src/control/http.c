/* SPDX-License-Identifier: MIT */
#include "control/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "config/capacity.h"
#include "control/http_listener.h"
#include "os/sock.h"
#include "os/timer.h"
#include "stats/metrics_text.h"

/* Memory for the request and the head of the answer; a longer request is refused. */
#define CONNECTION_BYTES 4096

#define LINE_TYPE	 "text/plain; charset=utf-8"

/* A connection. Its socket is libmicrohttpd's. */
struct slot {
	bool taken;
	bool asked; /* the whole request has come */
	int fd;
	uint64_t number; /* the count of connections before this one */
	uint64_t deadline_ms;
};

struct http {
	struct MHD_Daemon *daemon;
	const struct config *config;
	const struct workers *workers;
	struct http_listener listener;
	bool draining;
	uint64_t accepted_count;
	struct slot slots[CAPACITY_HTTP_CONNECTIONS];
};

/* Slots ---------------------------------------------------------------------------------------- */

static struct slot *find_free(struct http *http)
{
	for (unsigned i = 0; i < CAPACITY_HTTP_CONNECTIONS; i++)
		if (!http->slots[i].taken)
			return &http->slots[i];
	return NULL;
}

/* MHD_NotifyConnectionCallback. libmicrohttpd tells the end before it closes the socket. */
static void on_connection(void *context, struct MHD_Connection *connection, void **slot_at,
			  enum MHD_ConnectionNotificationCode code)
{
	struct http *http = context;
	struct slot *slot = *slot_at;

	if (code != MHD_CONNECTION_NOTIFY_STARTED) {
		*slot = (struct slot){0};
		return;
	}
	slot = find_free(http);
	CHECK(slot); /* accept_waiting() accepts only while a slot is free */
	*slot = (struct slot){
		.taken = true,
		.fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)
			      ->connect_fd,
		.number = http->accepted_count++,
		.deadline_ms = timer_now_ms() + HTTP_REQUEST_LIMIT_MS,
	};
	*slot_at = slot;
}

/* Ends a connection at the next MHD_run(), which finds the end of the stream. */
static void end(const struct slot *slot)
{
	shutdown(slot->fd, SHUT_RDWR);
}

static void end_overdue(struct http *http)
{
	uint64_t now_ms = timer_now_ms();

	for (unsigned i = 0; i < CAPACITY_HTTP_CONNECTIONS; i++)
		if (http->slots[i].taken && now_ms >= http->slots[i].deadline_ms)
			end(&http->slots[i]);
}

/* Whether `a` gives way before `b`: a connection without a whole request first, then by age. */
static bool gives_way_before(const struct slot *a, const struct slot *b)
{
	return a->asked != b->asked ? b->asked : a->number < b->number;
}

/* Ends one connection where all slots are taken, so that the next client finds a free slot. */
static void make_room(struct http *http)
{
	const struct slot *first = &http->slots[0];

	if (find_free(http))
		return;
	for (unsigned i = 1; i < CAPACITY_HTTP_CONNECTIONS; i++)
		if (gives_way_before(&http->slots[i], first))
			first = &http->slots[i];
	end(first);
	MHD_run(http->daemon);
}

/* Backends ------------------------------------------------------------------------------------- */

static const struct pool *pool_of(const struct http *http, unsigned forward)
{
	return upstream_pool(workers_forwards(http->workers)->list[forward].upstream);
}

static size_t backends_limit(const struct http *http)
{
	size_t limit = 0;

	for (unsigned i = 0; i < http->config->forward_count; i++)
		limit += pool_slot_count(pool_of(http, i));
	return limit;
}

static void add_values(struct metrics_backend *row, const struct pool_snapshot *now)
{
	row->values[BACKEND_METRIC_up] |= now->answers;
	row->values[BACKEND_METRIC_sessions] += now->live;
	row->values[BACKEND_METRIC_connects] += now->total;
	row->values[BACKEND_METRIC_connects_failed] += now->failed;
	row->values[BACKEND_METRIC_outages] += now->downs;
}

/* Fills the rows of one forward, one per address and name. Returns their number. */
static size_t collect_forward(const struct http *http, unsigned index, struct metrics_backend *rows)
{
	const struct forward *forward = &workers_forwards(http->workers)->list[index];
	const struct pool *pool = pool_of(http, index);
	uint64_t now_ms = timer_now_ms();
	struct pool_snapshot now;
	size_t count = 0;

	for (unsigned i = 0; i < pool_slot_count(pool); i++) {
		const char *name;
		size_t row = 0;

		pool_snapshot(pool, i, now_ms, &now);
		if (now.state == POOL_EMPTY || now.state == POOL_DRAINING)
			continue;
		name = upstream_configured(forward->upstream, now.group)->name;
		while (row < count && (!addr_equal(&rows[row].address, &now.address) ||
				       strcmp(rows[row].name, name)))
			row++;
		if (row == count)
			rows[count++] = (struct metrics_backend){.forward = forward->config->name,
								 .listen = &forward->listen,
								 .address = now.address,
								 .name = name};
		add_values(&rows[row], &now);
	}
	return count;
}

/* Answers -------------------------------------------------------------------------------------- */

/* Without memory: MHD_NO, which closes the connection. */
static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
			      struct MHD_Response *response)
{
	enum MHD_Result result = MHD_NO;

	if (!response)
		return MHD_NO;
	if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) &&
	    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") &&
	    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close") &&
	    (status != MHD_HTTP_METHOD_NOT_ALLOWED ||
	     MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD")))
		result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer_line(struct MHD_Connection *connection, unsigned status,
				   const char *line)
{
	return answer(connection, status, LINE_TYPE,
		      MHD_create_response_from_buffer(strlen(line), (void *)(uintptr_t)line,
						      MHD_RESPMEM_PERSISTENT));
}

/* A text that is printed and then answered. */
struct page {
	FILE *out;
	char *text;
	size_t bytes;
};

/* The page becomes libmicrohttpd's. */
static enum MHD_Result answer_page(struct MHD_Connection *connection, unsigned status,
				   const char *type, struct page *page)
{
	struct MHD_Response *response = NULL;

	if (!fclose(page->out))
		response = MHD_create_response_from_buffer(page->bytes, page->text,
							   MHD_RESPMEM_MUST_FREE);
	if (!response)
		free(page->text);
	return answer(connection, status, type, response);
}

/* Prints the reasons why new connections should go to another process, one line each. */
static void print_reasons(FILE *out, const struct http *http)
{
	const struct forwards *forwards = workers_forwards(http->workers);
	int failed = workers_failed_listener(http->workers);
	char listen[ADDR_TEXT_BYTES];

	fputs(http->draining ? "draining\n" : "", out);
	if (failed >= 0)
		fprintf(out, "forward %s on %s: its listener has failed; the log says why\n",
			forwards->list[failed].config->name,
			addr_print(&forwards->list[failed].listen, listen));
	for (unsigned i = 0; i < http->config->forward_count; i++)
		if (forward_drains(&forwards->list[i]))
			fprintf(out, "forward %s on %s: draining\n", forwards->list[i].config->name,
				addr_print(&forwards->list[i].listen, listen));
	if (http->config->ready != CONFIG_READY_BACKENDS)
		return;
	for (unsigned i = 0; i < forwards->count; i++)
		if (!pool_up_count(pool_of(http, i)))
			fprintf(out, "forward %s on %s: no backend is up\n",
				forwards->list[i].config->name,
				addr_print(&forwards->list[i].listen, listen));
}

/* "ready", or the reasons against it. */
static enum MHD_Result answer_ready(struct MHD_Connection *connection, const struct http *http)
{
	struct page page = {0};
	bool ready;

	page.out = open_memstream(&page.text, &page.bytes);
	if (!page.out)
		return MHD_NO;
	print_reasons(page.out, http);
	ready = !ftell(page.out);
	fputs(ready ? "ready\n" : "", page.out);
	return answer_page(connection, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
			   LINE_TYPE, &page);
}

static enum MHD_Result answer_metrics(struct MHD_Connection *connection, const struct http *http)
{
	struct metrics_backend *backends = calloc(backends_limit(http), sizeof(*backends));
	struct metrics_totals totals;
	struct page page = {0};
	size_t count = 0;

	page.out = backends ? open_memstream(&page.text, &page.bytes) : NULL;
	if (!page.out) {
		free(backends);
		return MHD_NO;
	}
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		totals.values[i] = workers_metric(http->workers, (enum metric)i);
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		totals.closed_by_reason[i] =
			workers_closed_count(http->workers, (enum close_reason)i);
	for (unsigned i = 0; i < http->config->forward_count; i++)
		count += collect_forward(http, i, backends + count);
	metrics_text_print(page.out, &totals);
	metrics_text_print_backends(page.out, backends, count);
	free(backends);
	return answer_page(connection, MHD_HTTP_OK, METRICS_TEXT_TYPE, &page);
}

/* MHD_AccessHandlerCallback. Answers after the head: the body of a request is never read. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
				  const char *path, const char *method, const char *version,
				  const char *upload, size_t *upload_bytes, void **request_context)
{
	const struct http *http = context;
	struct slot *slot = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
				    ->socket_context;

	(void)version;
	(void)upload;
	(void)upload_bytes;
	(void)request_context;
	slot->asked = true;
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
		return answer_line(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
				   "only GET and HEAD are known here\n");
	if (!strcmp(path, "/live"))
		return answer_line(connection, MHD_HTTP_OK, "live\n");
	if (!strcmp(path, "/ready"))
		return answer_ready(connection, http);
	if (!strcmp(path, "/metrics"))
		return answer_metrics(connection, http);
	return answer_line(connection, MHD_HTTP_NOT_FOUND,
			   "there are /live, /ready and /metrics\n");
}

/* Making --------------------------------------------------------------------------------------- */

static struct MHD_Daemon *start_daemon(struct http *http)
{
	/*
	 * sixpipe accepts connections itself, because libmicrohttpd would retry all the time when
	 * there is no descriptor left. With MHD_USE_EPOLL there is one descriptor to wait for.
	 */
	return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, on_request,
				http, MHD_OPTION_CONNECTION_LIMIT,
				(unsigned)CAPACITY_HTTP_CONNECTIONS,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
				MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
				MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
}

int http_create(struct http **http, const struct config *config, const struct workers *workers,
		struct fault *fault)
{
	struct http *made = calloc(1, sizeof(*made));
	int result;

	fault_set(fault, "metrics", NULL,
		  "its listener cannot be started: no memory or descriptor; raise the descriptor "
		  "limit (ulimit -n)");
	if (!made)
		return -ENOMEM;
	made->config = config;
	made->workers = workers;
	made->daemon = start_daemon(made);
	if (!made->daemon) {
		free(made);
		return -ENOMEM;
	}
	result = http_listener_open(&made->listener, config, fault);
	if (result)
		http_destroy(made);
	else
		*http = made;
	return result;
}

const struct addr *http_address(const struct http *http)
{
	return &http->listener.address;
}

void http_destroy(struct http *http)
{
	if (!http)
		return;
	MHD_stop_daemon(http->daemon);
	http_listener_close(&http->listener);
	free(http);
}

/* In a takeover -------------------------------------------------------------------------------- */

void http_write_socket(const struct http *http, struct carrier *carrier)
{
	http_listener_write(&http->listener, &http->config->metrics, carrier);
}

void http_leave(struct http *http)
{
	http_listener_close(&http->listener);
}

bool http_is_busy(const struct http *http)
{
	for (unsigned i = 0; i < CAPACITY_HTTP_CONNECTIONS; i++)
		if (http->slots[i].taken)
			return true;
	return false;
}

/* Running -------------------------------------------------------------------------------------- */

static int epoll_fd(const struct http *http)
{
	return MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

void http_prepare_poll(struct http *http, struct poll_set *set)
{
	MHD_UNSIGNED_LONG_LONG daemon_ms = 0;
	uint64_t now_ms = timer_now_ms();

	if (find_free(http))
		http_listener_prepare_poll(&http->listener, set);
	poll_set_add(set, epoll_fd(http), POLLIN);
	if (MHD_get_timeout(http->daemon, &daemon_ms))
		poll_set_due(set, now_ms + daemon_ms);
	for (unsigned i = 0; i < CAPACITY_HTTP_CONNECTIONS; i++)
		if (http->slots[i].taken)
			poll_set_due(set, http->slots[i].deadline_ms);
}

static void accept_waiting(struct http *http)
{
	while (find_free(http)) {
		int fd = http_listener_accept(&http->listener);
		struct addr peer;

		if (fd < 0)
			return;
		sock_get_peer(fd, &peer);
		/* MHD_add_connection() closes the socket if it fails. A closed connection has no address. */
		if (peer.length_bytes)
			MHD_add_connection(http->daemon, fd, &peer.any, peer.length_bytes);
		else
			close(fd);
	}
}

void http_run(struct http *http, bool draining)
{
	http->draining = draining;
	accept_waiting(http);
	MHD_run(http->daemon);
	/* after MHD_run(): a request that came in time is answered, however late it is read (SIGSTOP) */
	end_overdue(http);
	make_room(http);
}
