/* SPDX-License-Identifier: MIT */
#include "admin/admin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/admin_job.h"
#include "base/check.h"
#include "base/json.h"
#include "base/log.h"
#include "os/sock.h"
#include "os/timer.h"

/* The pause in accepting without descriptors; a waiting connection wakes the loop all the time. */
#define STARVED_PAUSE_MS 100

enum connection_state {
	CONNECTION_NONE,
	CONNECTION_READING, /* the request has yet to come */
	CONNECTION_WAITING, /* its job runs, or waits for the jobs before it */
	CONNECTION_WISHING, /* waits for a takeover */
	CONNECTION_WRITING, /* the answer has yet to be taken */
};

struct connection {
	enum connection_state state;
	int fd;
	uid_t uid;
	uint64_t number; /* the count of connections before this one */
	uint64_t deadline_ms;
	uint64_t job_number; /* while waiting: the connection with the lowest is next */
	unsigned takeover;   /* while wishing: the number of the takeover; 0: not known yet */
	char line[ADMIN_REQUEST_BYTES];
	size_t line_bytes;
	struct admin_request request;
	struct admin_answer answer;
	size_t sent_bytes;
};

struct admin {
	struct admin_socket socket;
	struct admin_tools tools;
	struct admin_job job;
	struct admin_process process;
	struct runtime_changes changes;
	struct connection *served; /* the connection whose job runs; NULL: no job runs */
	uint64_t job_count;
	uint64_t accepted_count;
	uint64_t accept_again_ms;
	bool left; /* another process has taken over */
	struct connection connections[ADMIN_CONNECTIONS];
};

/* Making --------------------------------------------------------------------------------------- */

int admin_create(struct admin **admin, const struct admin_setup *setup, struct fault *fault)
{
	const struct config *config = setup->forwards->config;
	bool for_group = config->admin_mode != 0;
	struct admin *made = calloc(1, sizeof(*made));
	int result = made ? 0 : -ENOMEM;

	fault_set(fault, "admin", NULL,
		  "there is no memory for it; lower --workers, or leave it out");
	if (result)
		return result;
	made->socket.fd = -1;
	made->process.started_ms = timer_now_ms();
	made->tools = (struct admin_tools){.forwards = setup->forwards,
					   .workers = setup->workers,
					   .process = &made->process,
					   .changes = &made->changes};
	result = bans_create(&made->tools.bans);
	if (!result)
		result = workers_attach(setup->workers, made->tools.bans, &made->tools.queries);
	if (!result)
		result = admin_job_init(&made->job, &made->tools);
	if (!result &&
	    !admin_socket_inherit(&made->socket, config->admin, for_group, config->inherited))
		result = admin_socket_open(&made->socket, config->admin, for_group, setup->owner,
					   fault);
	if (result)
		admin_destroy(made);
	else
		*admin = made;
	return result;
}

static void drop(struct connection *connection)
{
	close(connection->fd);
	free(connection->answer.text);
	*connection = (struct connection){.state = CONNECTION_NONE};
}

void admin_destroy(struct admin *admin)
{
	if (!admin)
		return;
	for (unsigned i = 0; i < ADMIN_CONNECTIONS; i++)
		if (admin->connections[i].state != CONNECTION_NONE)
			drop(&admin->connections[i]);
	admin_socket_close(&admin->socket);
	admin_job_finish(&admin->job);
	queries_destroy(admin->tools.queries);
	bans_destroy(admin->tools.bans);
	free(admin);
}

/* In a takeover -------------------------------------------------------------------------------- */

void admin_settle(struct admin *admin)
{
	admin_socket_settle(&admin->socket);
	runtime_changes_log_lost(&admin->changes);
}

void admin_write_socket(const struct admin *admin, struct carrier *carrier)
{
	admin_socket_write(&admin->socket, carrier);
}

void admin_leave(struct admin *admin, bool undone)
{
	if (undone)
		runtime_changes_log_undone(&admin->changes);
	admin->left = true;
	admin_socket_close(&admin->socket);
}

bool admin_is_busy(const struct admin *admin)
{
	for (unsigned i = 0; i < ADMIN_CONNECTIONS; i++)
		if (admin->connections[i].state != CONNECTION_NONE)
			return true;
	return false;
}

void admin_write(const struct admin *admin, struct carrier *carrier)
{
	bans_write(admin->tools.bans, carrier);
}

void admin_write_before(const struct admin *admin, struct carrier *carrier, bool changes)
{
	carrier_begin(carrier, CARRIER_SERVICE);
	carrier_put(carrier, admin->process.started_ms);
	carrier_end(carrier);
	if (changes)
		runtime_changes_write(&admin->changes, carrier);
}

int admin_read(struct admin *admin, struct carrier *carrier, enum carrier_kind kind)
{
	if (kind == CARRIER_CHANGE)
		return admin_job_read_change(&admin->job, carrier);
	if (kind == CARRIER_BAN)
		return bans_read(admin->tools.bans, carrier);
	admin->process.started_ms = carrier_take(carrier);
	return carrier_is_whole(carrier) ? 0 : -EBADMSG;
}

/* Waiting -------------------------------------------------------------------------------------- */

static struct connection *find_free(struct admin *admin)
{
	for (unsigned i = 0; i < ADMIN_CONNECTIONS; i++)
		if (admin->connections[i].state == CONNECTION_NONE)
			return &admin->connections[i];
	return NULL;
}

static bool has_deadline(const struct connection *connection)
{
	return connection->state == CONNECTION_READING || connection->state == CONNECTION_WRITING;
}

void admin_prepare_poll(struct admin *admin, struct poll_set *set)
{
	poll_set_due(set, bans_next_expiry_ms(admin->tools.bans));
	poll_set_due(set, admin_job_next_drain_ms(&admin->tools));
	if (timer_now_ms() < admin->accept_again_ms)
		poll_set_due(set, admin->accept_again_ms);
	else if (find_free(admin))
		poll_set_add(set, admin->socket.fd, POLLIN);
	for (unsigned i = 0; i < ADMIN_CONNECTIONS; i++) {
		const struct connection *connection = &admin->connections[i];
		bool writing = connection->state == CONNECTION_WRITING;

		if (!has_deadline(connection))
			continue;
		poll_set_add(set, connection->fd, writing ? POLLOUT : POLLIN);
		poll_set_due(set, connection->deadline_ms);
	}
}

/* Connections ---------------------------------------------------------------------------------- */

/* Sends what the socket takes. Ends the connection when all is sent or the peer is gone. */
static void write_answer(struct connection *connection)
{
	const struct admin_answer *answer = &connection->answer;

	while (connection->sent_bytes < answer->bytes) {
		ssize_t sent = send(connection->fd, answer->text + connection->sent_bytes,
				    answer->bytes - connection->sent_bytes, MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent < 0)
			break;
		connection->sent_bytes += (size_t)sent;
	}
	drop(connection);
}

/* An answer for which there was no memory is empty: the connection just ends. */
static void begin_answer(struct connection *connection)
{
	connection->state = CONNECTION_WRITING;
	connection->deadline_ms = timer_now_ms() + ADMIN_TIMEOUT_MS;
	write_answer(connection);
}

static void answer_bad_request(struct connection *connection, const char *problem)
{
	char message[512];

	snprintf(message, sizeof(message), "the request %s", problem);
	admin_answer_line(&connection->answer, ADMIN_BAD, message);
	begin_answer(connection);
}

static void log_wish(const struct connection *connection)
{
	struct log_line line;

	if (!log_begin(&line, LOG_EVENT_changed))
		return;
	log_text(&line, "command", connection->request.line);
	log_number(&line, "uid", connection->uid);
	log_end(&line);
}

static void on_line(struct admin *admin, struct connection *connection, size_t length)
{
	const char *problem = "holds a NUL";

	connection->line[length] = '\0';
	if (admin->left) {
		admin_answer_line(&connection->answer, ADMIN_NOBODY,
				  "another process serves now; ask again");
		begin_answer(connection);
		return;
	}
	if (strlen(connection->line) == length)
		problem = admin_request_parse(connection->line, &connection->request);
	if (problem) {
		answer_bad_request(connection, problem);
		return;
	}
	if (connection->request.verb == ADMIN_RELOAD || connection->request.verb == ADMIN_UPGRADE) {
		connection->state = CONNECTION_WISHING;
		log_wish(connection);
		return;
	}
	connection->state = CONNECTION_WAITING;
	connection->job_number = admin->job_count++;
}

static void read_request(struct admin *admin, struct connection *connection)
{
	char *line = connection->line;
	ssize_t got = recv(connection->fd, line + connection->line_bytes,
			   sizeof(connection->line) - connection->line_bytes, 0);
	const char *end;

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0) {
		drop(connection);
		return;
	}
	connection->line_bytes += (size_t)got;
	end = memchr(line, '\n', connection->line_bytes);
	if (end)
		on_line(admin, connection, (size_t)(end - line));
	else if (connection->line_bytes == sizeof(connection->line))
		answer_bad_request(connection, "is too long");
}

static void log_refused(const struct ucred *peer)
{
	struct log_line line;

	if (!log_begin(&line, LOG_EVENT_admin_refused))
		return;
	log_number(&line, "uid", peer->uid);
	log_number(&line, "gid", peer->gid);
	log_number(&line, "pid", (uint64_t)peer->pid);
	log_end(&line);
}

/* ADMIN_CONNECTIONS at a time: a refused connection frees its slot at once. */
static void accept_waiting(struct admin *admin)
{
	struct connection *connection;

	for (unsigned i = 0; i < ADMIN_CONNECTIONS && (connection = find_free(admin)); i++) {
		struct ucred peer;
		bool admitted;
		int fd = sock_accept(admin->socket.fd);

		if (fd < 0) {
			if (sock_classify(fd) == SOCK_DESCRIPTORS)
				admin->accept_again_ms = timer_now_ms() + STARVED_PAUSE_MS;
			return;
		}
		*connection = (struct connection){
			.state = CONNECTION_READING,
			.fd = fd,
			.number = admin->accepted_count++,
			.deadline_ms = timer_now_ms() + ADMIN_TIMEOUT_MS,
		};
		admitted = admin_socket_admits(&admin->socket, fd, &peer);
		connection->uid = peer.uid;
		if (!admitted) {
			log_refused(&peer);
			admin_answer_line(&connection->answer, ADMIN_NOBODY,
					  "refused: this user may not ask");
			begin_answer(connection);
		}
	}
}

/* Whether `a` gives way before `b`: root's last; others without a request first, then by age. */
static bool gives_way_before(const struct connection *a, const struct connection *b)
{
	if (!a->uid != !b->uid)
		return !b->uid;
	if (a->state != b->state)
		return a->state == CONNECTION_READING;
	return a->number < b->number;
}

/*
 * Ends one connection where all slots are taken, so that the next client finds a free slot. A
 * request that has come is always answered: if all have come, the next client waits for the first
 * answer.
 */
static void make_room(struct admin *admin)
{
	struct connection *first = NULL;

	if (find_free(admin))
		return;
	for (unsigned i = 0; i < ADMIN_CONNECTIONS; i++) {
		struct connection *connection = &admin->connections[i];

		if (has_deadline(connection) && (!first || gives_way_before(connection, first)))
			first = connection;
	}
	if (first && first->state == CONNECTION_READING) {
		admin_answer_line(&first->answer, ADMIN_NOBODY,
				  "refused: too many ask at the same time; ask again");
		begin_answer(first);
	} else if (first) {
		drop(first);
	}
}

/* Running -------------------------------------------------------------------------------------- */

static struct connection *find_next(struct admin *admin)
{
	struct connection *next = NULL;

	for (unsigned i = 0; i < ADMIN_CONNECTIONS; i++) {
		struct connection *connection = &admin->connections[i];

		if (connection->state == CONNECTION_WAITING &&
		    (!next || connection->job_number < next->job_number))
			next = connection;
	}
	return next;
}

/* Runs jobs until one has to wait for the workers. */
static void run_jobs(struct admin *admin)
{
	for (;;) {
		if (!admin->served) {
			admin->served = find_next(admin);
			if (!admin->served)
				return;
			admin_job_begin(&admin->job, &admin->served->request, admin->served->uid);
		}
		if (!admin_job_continue(&admin->job, &admin->served->answer))
			return;
		begin_answer(admin->served);
		admin->served = NULL;
	}
}

enum admin_wish admin_take_wish(struct admin *admin, unsigned number)
{
	enum admin_wish wish = ADMIN_WISHES_NOTHING;

	for (unsigned i = 0; i < ADMIN_CONNECTIONS; i++) {
		struct connection *connection = &admin->connections[i];
		enum admin_wish own = connection->request.verb == ADMIN_UPGRADE
					      ? ADMIN_WISHES_UPGRADE
					      : ADMIN_WISHES_RELOAD;

		if (connection->state != CONNECTION_WISHING || connection->takeover)
			continue;
		connection->takeover = number;
		wish = MAX(wish, own);
	}
	return wish;
}

static void print_outcome(const struct connection *connection, const struct admin_outcome *outcome,
			  FILE *out)
{
	const char *word = connection->request.verb == ADMIN_UPGRADE ? "upgrade" : "reload";
	const char *text = outcome->text;

	if (connection->request.json && outcome->code) {
		fprintf(out, "{\"%s\":\"failed\",\"error\":", word);
		json_print_string(out, text);
		fputs("}\n", out);
	} else if (connection->request.json) {
		fprintf(out, "{\"%s\":\"done\",\"sessions\":%" PRIu64 ",\"left\":%" PRIu64 "}\n",
			word, outcome->moved_count, outcome->left_count);
	} else if (outcome->code) {
		fprintf(out, "%s\n", text);
	} else {
		fprintf(out, "%s=done sessions=%" PRIu64 " left=%" PRIu64 "\n", word,
			outcome->moved_count, outcome->left_count);
	}
}

void admin_answer_wishes(struct admin *admin, const struct admin_outcome *outcome)
{
	for (unsigned i = 0; i < ADMIN_CONNECTIONS; i++) {
		struct connection *connection = &admin->connections[i];
		struct admin_answer *answer = &connection->answer;
		FILE *out;

		if (connection->state != CONNECTION_WISHING || !connection->takeover ||
		    connection->takeover > outcome->number)
			continue;
		out = open_memstream(&answer->text, &answer->bytes);
		if (out) {
			fprintf(out, "%d%s\n", outcome->code,
				outcome->code ? " nothing has changed" : "");
			print_outcome(connection, outcome, out);
			fclose(out);
		}
		begin_answer(connection);
	}
}

bool admin_take_drain(struct admin *admin)
{
	bool asked = admin->process.drain_asked;

	admin->process.drain_asked = false;
	return asked;
}

void admin_run(struct admin *admin, bool ending)
{
	uint64_t now_ms = timer_now_ms();

	admin->process.ending = ending;
	admin_job_expire(&admin->tools);
	admin_job_expire_drains(&admin->tools);
	if (now_ms >= admin->accept_again_ms)
		accept_waiting(admin);
	for (unsigned i = 0; i < ADMIN_CONNECTIONS; i++) {
		struct connection *connection = &admin->connections[i];

		if (connection->state == CONNECTION_READING)
			read_request(admin, connection);
		else if (connection->state == CONNECTION_WRITING)
			write_answer(connection);
		if (has_deadline(connection) && now_ms >= connection->deadline_ms)
			drop(connection);
	}
	run_jobs(admin);
	make_room(admin);
}
